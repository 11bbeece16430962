from pathlib import Path

import pytest
import torch

from helpers.data import catalog, images
from helpers.data.collect import Collecting, collect_folder, manifest_from_folder
from helpers.data.protocol import ManifestDataset, Protocol
from helpers.evaluation.audit import audit
from helpers.evaluation.metrics import auc
from helpers.lessons.lesson00 import collecting
from helpers.pixels.resynthesis import PatchModel, fit_patch_model


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    return images.center_crop(catalog.photograph("coffee"), 230)


@pytest.fixture(scope="module")
def model(photograph: torch.Tensor) -> PatchModel:
    return fit_patch_model([photograph], patches=800, components=32)


def test_careless_collection(model: PatchModel, photograph: torch.Tensor, tmp_path: Path) -> None:
    files = dict(collecting.careless_files({"coffee": photograph, "tea": photograph}, model, count=3))
    assert len(files) == 12
    infos = {name: images.probe(data) for name, data in files.items()}
    real = [info for name, info in infos.items() if name.startswith("real")]
    fake = [info for name, info in infos.items() if name.startswith("fake")]
    assert {info.format for info in real} == {"JPEG"}
    assert {(info.format, info.width, info.height) for info in fake} == {("PNG", 128, 128)}
    assert len({(info.width, info.height) for info in real}) > 1
    assert min(min(info.width, info.height) for info in real) >= 96
    assert dict(collecting.careless_files({"coffee": photograph}, model, count=2)) == dict(
        collecting.careless_files({"coffee": photograph}, model, count=2)
    )
    more = {name.replace("coffee", f"scene{i}"): data for i in range(2) for name, data in files.items()}
    folder = collecting.write_files(tmp_path / "set", more.items())
    df = collect_folder(folder, Collecting(test_only=True)).rows  # all of it is one photograph, so it is not split
    assert set(df["source"]) == {"scene0", "scene1", "tea"}


def test_history_collection_differs_in_its_past_only(photograph: torch.Tensor) -> None:
    files = dict(collecting.history_files({"coffee": photograph}, count=3, side=100))
    infos = [images.probe(data) for data in files.values()]
    assert {(info.format, info.width, info.height, info.metadata) for info in infos} == {("PNG", 100, 100, ())}
    assert len(files) == 6


def test_grid_evidence_finds_an_earlier_grid_and_ignores_the_last_one(photograph: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    saved = images.decode(images.encode_jpeg(photograph, 30))
    for _ in range(5):
        top, left = (int(torch.randint(1, 8, (), generator=generator)) for _ in range(2))
        twice, once = (
            images.decode(images.encode_jpeg(images.crop(img, top, left, 200, 200), 90)) for img in (saved, photograph)
        )
        assert collecting.jpeg_grid_evidence(twice) > 2 * collecting.jpeg_grid_evidence(once)
    aligned = images.decode(images.encode_jpeg(images.crop(photograph, 0, 0, 200, 200), 30))
    assert collecting.jpeg_grid_evidence(aligned) < 0.2  # its only grid is the last one


def scenes() -> dict[str, torch.Tensor]:
    df = catalog.photographs()
    everyday = df[(df["scene"] == "everyday") & (df["name"] != "motorcycle_right")]
    return {name: catalog.photograph(name) for name in everyday["name"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_bands_of_lesson_00_hold_for_other_seeds(seed: int, tmp_path: Path) -> None:
    """The sweep behind the bands that the notebook prints: other crops, other patches, other folds."""
    photographs = scenes()
    model = fit_patch_model(list(photographs.values())[:4], seed=seed)
    careless = collecting.write_files(tmp_path / "a", collecting.careless_files(photographs, model, seed=seed))
    report = audit(manifest_from_folder(careless), careless, n_draws=20, seed=seed)
    assert report.result("raw files", "container").auc.value == 1.0
    matched = report.result("matched protocol", "container")
    assert 0.35 <= matched.auc.value <= 0.65  # chance alone: seed 2 draws qualities that differ; no leak is proved
    assert not matched.leaky
    past = collecting.write_files(tmp_path / "b", collecting.history_files(photographs, count=24, seed=seed))
    df = manifest_from_folder(past)
    matched = audit(df, past, Protocol(crop=96), n_draws=20, seed=seed)
    assert 0.4 <= matched.result("matched protocol", "container").auc.value <= 0.6
    views = list(ManifestDataset(df, past, Protocol(crop=96), seed=seed))
    evidence = [collecting.jpeg_grid_evidence(view["image"]) for view in views]
    assert 0.75 <= auc([1 - int(view["label"]) for view in views], evidence) <= 0.95
