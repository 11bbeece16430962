from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from helpers.data import catalog, images
from helpers.data import protocol as datasets
from helpers.data.collect import manifest_from_folder
from helpers.data.images import ImageError
from helpers.data.manifest import ManifestError
from helpers.data.protocol import ManifestDataset, Protocol
from helpers.data.seeds import item_generator


def noisy(seed: int, height: int = 40, width: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for number in range(4):
        for name in (f"real/r{number}.png", f"fake/gan/f{number}.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(images.encode_png(noisy(number + 100 * ("fake" in name))))
    return root


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return manifest_from_folder(folder)


SMALL = Protocol(crop=16)


def collect(data: ManifestDataset, workers: int = 0, **options: object) -> dict[int, tuple[torch.Tensor, int]]:
    loader = DataLoader(data, batch_size=3, num_workers=workers, **options)
    return {
        int(index): (image, int(label))
        for batch in loader
        for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True)
    }


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key][0], second[key][0]) and first[key][1] == second[key][1] for key in first
    )


def test_items(table: pd.DataFrame, folder: Path) -> None:
    data = ManifestDataset(table, folder, SMALL, crops_per_image=2)
    assert len(data) == 16
    item = data[5]
    assert (item["image"].dtype, item["image"].shape) == (torch.uint8, (3, 16, 16))
    assert (item["label"].dtype, item["label"].shape, item["index"]) == (torch.int64, (), 5)
    labels = [int(data[index]["label"]) for index in range(16)]
    assert labels == [int(label == "fake") for label in table["label"] for _ in range(2)]
    with pytest.raises(IndexError):
        data[16]


def test_two_workers_change_nothing(table: pd.DataFrame, folder: Path) -> None:
    data = ManifestDataset(table, folder, SMALL, seed=3, crops_per_image=2)
    alone = collect(data)
    assert same(alone, collect(data, workers=2))
    assert same(alone, collect(data, shuffle=True))


def test_workers_that_stay_see_the_next_epoch(table: pd.DataFrame, folder: Path) -> None:
    data = ManifestDataset(table, folder, SMALL)
    loader = DataLoader(data, batch_size=8, num_workers=1, persistent_workers=True)
    passes = []
    for epoch in (0, 1, 0):
        data.epoch = epoch
        passes.append(next(iter(loader))["image"])
    data.epoch = 1
    expected = torch.stack([data[index]["image"] for index in range(8)])
    assert torch.equal(passes[1], expected)
    assert torch.equal(passes[0], passes[2])
    assert not torch.equal(passes[0], passes[1])


def test_deterministic_in_seed_epoch_and_index(table: pd.DataFrame, folder: Path) -> None:
    first, second = (ManifestDataset(table, folder, SMALL, seed=1) for _ in range(2))
    torch.manual_seed(0)
    expected = collect(first)
    torch.manual_seed(99)
    assert same(expected, collect(second))
    second.epoch = 4
    assert not same(expected, collect(second))
    assert second.epoch == 4
    assert not same(expected, collect(ManifestDataset(table, folder, SMALL, seed=2)))


def test_the_label_plays_no_part(table: pd.DataFrame, folder: Path) -> None:
    swapped = table.assign(
        label=table["label"].map({"real": "fake", "fake": "real"}),
        generator=np.where(table["label"] == "real", "gan", ""),
    )
    first, second = (collect(ManifestDataset(df, folder, SMALL)) for df in (table, swapped))
    assert all(torch.equal(first[key][0], second[key][0]) for key in first)
    assert all(first[key][1] == 1 - second[key][1] for key in first)


def test_pixels_play_no_part_in_the_draw() -> None:
    """Place and encoder settings are the same for any two images of one size."""
    protocol = Protocol(crop=16, qualities=(30, 100))
    for index in range(20):
        infos = [
            images.probe(datasets.matched_bytes(img, protocol, item_generator(0, 0, index)))
            for img in (noisy(1), torch.zeros(3, 40, 50, dtype=torch.uint8))
        ]
        assert infos[0].quantisation == infos[1].quantisation
        assert infos[0].subsampling == infos[1].subsampling


def test_settings_cover_the_distribution() -> None:
    protocol = Protocol(crop=16, qualities=(80, 82))
    tables = {
        images.probe(images.encode_jpeg(noisy(0, 16, 16), quality)).quantisation: quality for quality in (80, 81, 82)
    }
    seen: dict[tuple[int, str], int] = {}
    for index in range(240):
        info = images.probe(datasets.matched_bytes(noisy(0), protocol, item_generator(0, 0, index)))
        key = (tables[info.quantisation], str(info.subsampling))
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 6
    assert min(seen.values()) > 20  # 40 expected


def test_without_reencoding_the_view_is_a_native_crop() -> None:
    img = torch.arange(40 * 50).reshape(1, 40, 50).remainder(256).to(torch.uint8).expand(3, -1, -1)
    img = img.clone()
    img[1] = torch.arange(40).reshape(40, 1)
    view = datasets.matched_view(img, Protocol(crop=8, reencode=False), item_generator(0, 0, 1))
    row = int(view[1, 0, 0])
    windows = img[:, row : row + 8].unfold(2, 8, 1).permute(2, 0, 1, 3)
    assert (windows == view).flatten(1).all(1).any()


def test_matched_view_is_the_decoded_jpeg_of_the_crop() -> None:
    img, protocol = noisy(5), Protocol(crop=24, qualities=(90, 90), subsamplings=("4:4:4",))
    generator = item_generator(7, 0, 2)
    crop = images.random_crop(img, 24, item_generator(7, 0, 2))
    expected = images.decode(images.encode_jpeg(crop, 90, "4:4:4"))
    assert torch.equal(datasets.matched_view(img, protocol, generator), expected)


def test_too_small_missing_and_damaged_name_the_file(table: pd.DataFrame, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"real/r0\.png: 50 x 40 pixels are smaller"):
        ManifestDataset(table[table["path"] == "real/r0.png"], folder, Protocol(crop=41))[0]
    with pytest.raises(ImageError, match=r"r0\.png: no such file"):
        ManifestDataset(table[table["path"] == "real/r0.png"], tmp_path, SMALL)[0]
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "r0.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"real/r0\.png: not an image"):
        ManifestDataset(table[table["path"] == "real/r0.png"], tmp_path, SMALL)[0]


def test_errors_come_back_from_workers_as_image_errors(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        collect(ManifestDataset(table, tmp_path, SMALL), workers=1)


def test_cache_changes_nothing_but_reads_once(
    table: pd.DataFrame, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = collect(ManifestDataset(table, folder, SMALL, crops_per_image=3))
    data = ManifestDataset(table, folder, SMALL, crops_per_image=3, cache=True)
    reads = []
    original = datasets.read_bytes
    monkeypatch.setattr(datasets, "read_bytes", lambda path: reads.append(path) or original(path))
    assert same(plain, collect(data))
    assert len(reads) == len(table)


def test_embedded_photographs_need_no_root() -> None:
    df = catalog.photographs()
    data = ManifestDataset(df[df["name"] == "chelsea"], None)
    assert data[0]["image"].shape == (3, 64, 64)
    assert int(data[0]["label"]) == 0


@pytest.mark.parametrize(
    "settings",
    [{"crop": 0}, {"qualities": (90, 80)}, {"qualities": (0, 80)}, {"subsamplings": ()}, {"subsamplings": ("4:1:1",)}],
)
def test_impossible_protocols(settings: dict[str, object]) -> None:
    with pytest.raises(ImageError):
        Protocol(**settings)


def test_impossible_arguments(table: pd.DataFrame, folder: Path) -> None:
    with pytest.raises(ManifestError):
        ManifestDataset(table, folder, SMALL, crops_per_image=0)
    with pytest.raises(ManifestError):
        ManifestDataset(table, folder, SMALL, seed=-1)
    with pytest.raises(ManifestError):
        ManifestDataset(table, folder, SMALL).epoch = -1


def test_generators_of_neighbours_are_unrelated() -> None:
    draws = {
        (seed, epoch, index): int(torch.randint(2**62, (), generator=item_generator(seed, epoch, index)))
        for seed in range(4)
        for epoch in range(4)
        for index in range(4)
    }
    assert len(set(draws.values())) == len(draws)
