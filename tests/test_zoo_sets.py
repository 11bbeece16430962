"""The zoo as sets: fakes of chosen generators beside photographs that fit the split."""

import functools

import pytest
import torch

from helpers.data.crops import zoo_photographs
from helpers.data.image_set import TrainingDataError
from helpers.generators import zoo_images
from helpers.generators.sets import zoo_set

decoded_once = functools.cache(zoo_images)


@pytest.fixture(autouse=True)
def _decode_the_zoo_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helpers.generators.sets.zoo_images", decoded_once)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_set_holds_photographs_and_the_chosen_fakes(split: str) -> None:
    result = zoo_set(split, ["edm", "dcgan"], reals=12)
    df, fakes = result.manifest, decoded_once(split)
    assert df["label"].tolist() == ["real"] * 12 + ["fake"] * (len(fakes["edm"]) + len(fakes["dcgan"]))
    assert set(df["split"]) == {split}
    assert list(df.loc[df["label"] == "fake", "generator"].unique()) == ["edm", "dcgan"]
    assert torch.equal(result.image(12), fakes["edm"][0])
    assert torch.equal(result.image(len(df) - 1), fakes["dcgan"][-1])
    assert all(img.shape == (3, 64, 64) for img in result.images())
    scenes = {picture.source for picture in zoo_photographs(split)}
    assert set(df.loc[df["label"] == "real", "source"]) <= scenes
    assert set(df.columns) >= {"path", "label", "generator", "family", "source", "split"}
    assert df["path"].is_unique


def test_splits_share_neither_photographs_nor_fakes() -> None:
    sets = {split: zoo_set(split, ["ddpm"], reals=40) for split in ("train", "val", "test")}
    scenes = [set(s.manifest.loc[s.manifest["label"] == "real", "source"]) for s in sets.values()]
    pixels = [{bytes(img.numpy().tobytes()) for img in s.images()} for s in sets.values()]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not scenes[first] & scenes[second]
        assert not pixels[first] & pixels[second]


def test_the_same_call_gives_the_same_images() -> None:
    first, second = (zoo_set("val", ["style"], reals=6) for _ in range(2))
    assert all(map(torch.equal, first.images(), second.images()))
    assert first.manifest.equals(second.manifest)


def test_all_twelve_generators_by_default() -> None:
    df = zoo_set("test", reals=2).manifest
    assert df.loc[df["label"] == "fake", "generator"].nunique() == 12
    assert zoo_set("test", [], reals=2).manifest["label"].tolist() == ["real"] * 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="no such split or generator: tests"):
        zoo_set("tests")
    with pytest.raises(TrainingDataError, match="midjourney"):
        zoo_set("train", ["midjourney"])
