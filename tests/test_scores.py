"""Kept scores: a hit proves that nothing has changed, and damage costs time alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from tiny_images import made_up
from torchvision.transforms.v2.functional import gaussian_blur

from helpers.data.collect import manifest_from_folder
from helpers.data.images import encode_png
from helpers.data.manifest import ManifestError, write_manifest
from helpers.detectors import baselines, scores
from helpers.detectors.registry import config_from, make_detector
from helpers.detectors.scores import cached_table


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NATURAL_TRACES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scores"


def write_set(folder: Path, blurred: bool = False) -> pd.DataFrame:
    """Four photographs and four fakes under the same names; blurred, they are other images."""
    images = made_up("test")
    for row in (0, 1, 2, 3, 16, 17, 18, 19):
        label = "real" if row < 16 else "fake/checkers"
        img = images.image(row)
        path = folder / label / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(gaussian_blur(img, [3, 3]) if blurred else img))
    df = manifest_from_folder(folder)
    write_manifest(df, folder / "m.csv")
    return df


def train_spectrum(folder: Path, **settings: int) -> Path:
    detector = make_detector(config_from({"detector": "spectrum", "size": 32, "window": 48, **settings}))
    images = made_up()
    detector.linear.fit(detector.embed(torch.stack(list(images.images()))), images.labels)
    detector.note_history(images, made_up("val"), detector.calibrate(made_up("val")))
    detector.save(folder)
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_spectrum(tmp_path_factory.mktemp("detector"))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the images that are decoded."""
    seen: list[int] = []
    original = scores.decode

    def decode(data: bytes, name: str = "<bytes>") -> object:
        seen.append(1)
        return original(data, name)

    monkeypatch.setattr(scores, "decode", decode)
    return seen


def test_nothing_is_scored_twice_and_the_numbers_are_the_same(
    cache: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df, seen = write_set(tmp_path / "a"), counted(monkeypatch)
    first = cached_table(detector, df, tmp_path / "a", 0)
    assert len(seen) == 8
    assert len(list(cache.glob("*.json"))) == 1
    again = cached_table(detector, df.iloc[::-1], tmp_path / "a", 0)
    assert len(seen) == 8
    pd.testing.assert_frame_equal(again.iloc[::-1], first)
    without = cached_table(detector, df, tmp_path / "a", 0, cache=False)
    assert len(seen) == 16
    assert without["score"].to_numpy() == pytest.approx(first["score"].to_numpy(), rel=1e-5)
    assert not list(detector.glob("scores*"))


def test_other_pixels_under_the_same_names_are_not_taken_for_the_first(
    cache: Path, detector: Path, tmp_path: Path
) -> None:
    """The case `cache_other_root`: another root, the same manifest."""
    df, other = write_set(tmp_path / "a"), write_set(tmp_path / "b", blurred=True)
    first = cached_table(detector, df, tmp_path / "a", 0)
    with pytest.raises(ManifestError, match=r"fake/checkers/16.png: the file differs from its sha256 in the manifest"):
        cached_table(detector, df, tmp_path / "b", 0)
    second = cached_table(detector, other, tmp_path / "b", 0)
    assert not np.isclose(first["score"], second["score"]).any()


def test_evaluate_refuses_files_that_differ_and_folders_that_do_not_exist(
    cache: Path, detector: Path, tmp_path: Path
) -> None:
    write_set(tmp_path / "a"), write_set(tmp_path / "b", blurred=True)
    words = ("evaluate", "--detector", detector, "--manifest", tmp_path / "a" / "m.csv", "--split", "all", "--draws", 2)
    assert run(*words, "--root", tmp_path / "a").exit_code == 0
    for root, message in (("b", "differs from its sha256"), ("absent", "no such file")):
        done = run(*words, "--root", tmp_path / root)
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    done = run(*words, "--device", "nonsense")
    assert (done.exit_code, "nonsense: no such device here" in done.stderr) == (2, True)


@pytest.mark.parametrize("change", ["windows", "weights", "jpeg", "version", "code"])
def test_whatever_changes_a_score_makes_it_anew(
    change: str, cache: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = write_set(tmp_path / "a")
    cached_table(detector, df, tmp_path / "a", 0)
    own, jpeg = tmp_path / "own", 0
    own.mkdir()
    for path in detector.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    card = json.loads((own / "card.json").read_text())
    if change == "windows":
        card["config"]["windows"] = 1
    elif change == "weights":
        train_spectrum(own, seed=1)
        card = json.loads((own / "card.json").read_text())
        (own / "weights.safetensors").write_bytes((own / "weights.safetensors").read_bytes()[:-1] + b"\1")
    elif change == "jpeg":
        jpeg = 50
    elif change == "version":
        monkeypatch.setattr(scores, "SCORING_VERSION", 99)
    else:
        monkeypatch.setattr(scores.inspect, "getsourcefile", lambda kind: __file__)
    (own / "card.json").write_text(json.dumps(card))
    seen = counted(monkeypatch)
    cached_table(own, df, tmp_path / "a", jpeg)
    assert len(seen) >= 8


def test_the_threshold_is_applied_afterwards(
    cache: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df, own = write_set(tmp_path / "a"), tmp_path / "own"
    first = cached_table(detector, df, tmp_path / "a", 0)
    own.mkdir()
    for path in detector.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    card = json.loads((own / "card.json").read_text())
    card["calibration"]["bias"] += 1
    (own / "card.json").write_text(json.dumps(card))
    seen = counted(monkeypatch)
    again = cached_table(own, df, tmp_path / "a", 0)
    assert not seen
    assert again["score"].equals(first["score"])
    assert (again["probability"] > first["probability"]).all()


def _flip(data: bytes) -> bytes:
    document = json.loads(data)
    name = next(iter(document["scores"]))
    document["scores"][name] += 1
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:-20], lambda data: b"\xff\xfe no scores", lambda data: b"[1]", _flip,
     lambda data: json.dumps({**json.loads(data), "key": {}}).encode()],
    ids=["empty", "cut", "foreign", "list", "changed", "other key"],
)  # fmt: skip
def test_damaged_files_cost_time_alone(damage, cache: Path, detector: Path, tmp_path: Path) -> None:
    df = write_set(tmp_path / "a")
    first = cached_table(detector, df, tmp_path / "a", 0)
    (path,) = cache.glob("*.json")
    path.write_bytes(damage(path.read_bytes()))
    said: list[str] = []
    again = cached_table(detector, df, tmp_path / "a", 0, say=said.append)
    pd.testing.assert_frame_equal(again, first)
    assert len(said) == 1
    assert "scoring anew" in said[0]
    cached_table(detector, df, tmp_path / "a", 0, say=said.append)
    assert len(said) == 1  # mended


def test_finished_scores_survive_an_error(
    cache: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = write_set(tmp_path / "a")
    monkeypatch.setattr(scores, "PART", 2)
    last = tmp_path / "a" / df["path"].iloc[-1]
    kept = last.read_bytes()
    last.write_bytes(b"x")
    with pytest.raises(ManifestError):
        cached_table(detector, df, tmp_path / "a", 0)
    last.write_bytes(kept)
    seen = counted(monkeypatch)
    cached_table(detector, df, tmp_path / "a", 0)
    assert len(seen) <= 2


# ------------------------------------------------------------------------------------------------- training anew


def test_training_is_not_continued_on_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case `train_resumes_on_other_images`: the same paths and labels, other pixels."""
    original = baselines.examples
    monkeypatch.setattr(baselines, "examples", lambda crops, count: original(crops, 40))
    (tmp_path / "c.toml").write_text('detector = "spectrum"\nsize = 32\n')
    words = ("train", tmp_path / "c.toml", "--out", tmp_path / "run", "--manifest", tmp_path / "ds" / "m.csv")
    for blurred, status in ((False, 0), (False, 0), (True, 2)):
        df = write_set(tmp_path / "ds", blurred)
        write_manifest(df.assign(split=["train", "val"] * 4), tmp_path / "ds" / "m.csv")
        done = run(*words)
        assert done.exit_code == status, done.stderr
    assert "holds a run with other images: choose another folder" in done.stderr
