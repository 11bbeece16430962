"""Holding out: nothing of a held-out generator or photo source is learnt from, and no test image is read."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers.cli import main
from helpers.data.image_set import ImageSet
from helpers.data.images import encode_png
from helpers.detectors import baselines
from helpers.detectors.config import DetectorError
from helpers.detectors.ntf.detector import SCORES, NaturalTraceConfig
from helpers.detectors.registry import config_from
from helpers.selection.holdout import folds, holdout, holdout_whole, means

CONFIG = NaturalTraceConfig(
    backbone="cooccurrence",
    size=48,
    jpeg=0.0,
    pool=210,
    batch_size=32,
    mapping_steps=2,
    steps=20,
    prototypes=4,
    subspace=5,
    score="all",
)


def rows(count: int = 8) -> pd.DataFrame:
    """Two generators and two photo sources in both splits."""
    kinds = [("fake", "one", "a"), ("fake", "two", "b"), ("real", "", "sea"), ("real", "", "town")]
    table = [(*kind, split) for split in ("train", "val") for kind in kinds for _ in range(count)]
    df = pd.DataFrame(table, columns=["label", "generator", "source", "split"])
    return df.assign(family="gan", path=[f"{row}.png" for row in range(len(df))])


def made_up(df: pd.DataFrame) -> ImageSet:
    """White noise for photographs, smoothed noise for fakes."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for label in df["label"]:
        img = 128 + 20 * torch.randn(1, 3, 64, 64, generator=generator)
        img = torch.nn.functional.avg_pool2d(img, 3, 1, 1) * 2 - 128 if label == "fake" else img
        images.append(img[0].clamp(0, 255).byte())
    return ImageSet.of(images, df)


def test_a_fold_learns_from_neither_the_generator_nor_the_source() -> None:
    df = rows()
    result = list(folds(df))
    assert [(fold.generator, fold.source) for fold in result] == [
        ("one", "sea"),
        ("one", "town"),
        ("two", "sea"),
        ("two", "town"),
    ]
    for fold in result:
        learn, fakes, known, foreign = (df.iloc[rows] for rows in (fold.learn, fold.fakes, fold.known, fold.foreign))
        assert set(learn["split"]) == {"train"}
        assert fold.generator not in set(learn["generator"])
        assert fold.source not in set(learn["source"])
        assert len(learn) == 16  # the other generator's eight and the other source's eight
        assert set(fakes["generator"]) == {fold.generator}
        assert set(known["source"]) == {"sea", "town"} - {fold.source}
        assert set(known["split"]) == {"val"}
        assert set(foreign["source"]) == {fold.source}
        assert (len(fakes), len(known), len(foreign)) == (16, 8, 16)
        assert not set(fold.learn) & (set(fold.fakes) | set(fold.known) | set(fold.foreign))


def test_test_images_are_refused() -> None:
    df = rows()
    df.loc[3, "split"] = "test"
    with pytest.raises(DetectorError, match="test images"):
        list(folds(df))


@pytest.mark.parametrize(("column", "value"), [("generator", "one"), ("source", "sea")])
def test_two_generators_and_two_sources_are_needed(column: str, value: str) -> None:
    df = rows()
    with pytest.raises(DetectorError, match="two"):
        list(folds(df[df[column] != value].reset_index(drop=True)))


def test_every_score_ranks_what_was_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = made_up(rows())
    first = next(folds(images.manifest))
    monkeypatch.setattr("helpers.selection.holdout.folds", lambda manifest: [first])
    result = holdout(images, CONFIG, tmp_path)
    assert [row["score"] for row in result] == list(SCORES)
    assert {(row["generator"], row["source"]) for row in result} == {("one", "sea")}
    for score in ("subspace", "all"):  # smoothed noise is easy
        assert min(row[tier] for row in result if row["score"] == score for tier in ("known", "foreign")) > 0.8


def test_any_kind_of_detector_can_be_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = made_up(rows())
    original = baselines.examples
    monkeypatch.setattr(baselines, "examples", lambda crops, count: original(crops, 40))
    result = holdout_whole(images, config_from({"detector": "spectrum", "size": 48, "jpeg": 0.0}), tmp_path)
    assert [(row["generator"], row["source"]) for row in result] == [
        (fold.generator, fold.source) for fold in folds(images.manifest)
    ]
    assert {row["score"] for row in result} == {"spectrum"}
    assert min(row[tier] for row in result for tier in ("known", "foreign")) > 0.9  # smoothed noise is easy


def test_means_are_over_folds() -> None:
    result = [
        {"generator": name, "source": "sea", "score": score, "known": known, "foreign": known - 0.2}
        for name, score, known in (("one", "head", 0.9), ("two", "head", 0.8), ("one", "all", 0.7), ("two", "all", 0.7))
    ]
    assert means(result) == [
        {"score": "head", "known": 0.85, "foreign": 0.65, "mean": 0.75},
        {"score": "all", "known": 0.7, "foreign": 0.5, "mean": 0.6},
    ]


def test_a_configuration_without_a_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="pool"):
        holdout(made_up(rows()), NaturalTraceConfig(), tmp_path)


def test_the_command_reads_no_test_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = made_up(rows())
    for name, img in zip(images.manifest["path"], images.images(), strict=True):
        (tmp_path / name).write_bytes(encode_png(img))
    df = pd.concat([images.manifest, images.manifest.iloc[:1].assign(split="test", path="missing.png")])
    df.assign(width=64, height=64, format="PNG", sha256="0" * 64, licence="CC0", origin="made up").to_csv(
        tmp_path / "m.csv", index=False
    )
    seen = []

    def watched(images: ImageSet, config: NaturalTraceConfig, out: Path, **_: object) -> list[dict[str, object]]:
        seen.append((images.manifest["split"].unique().tolist(), config.pool, config.seed))
        return [{"generator": "one", "source": "sea", "score": "head", "known": 0.9, "foreign": 0.8}]

    monkeypatch.setattr("helpers.selection.holdout.holdout", watched)
    words = ["holdout", "ntf", "--manifest", str(tmp_path / "m.csv"), "--set", "pool=210", "--seeds", "2", "--json"]
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
    assert seen == [(["train", "val"], 210, 0), (["train", "val"], 210, 1)]
    result = json.loads(capsys.readouterr().out)
    assert [row["seed"] for row in result["folds"]] == [0, 1]
    assert result["means"] == means(result["folds"])
