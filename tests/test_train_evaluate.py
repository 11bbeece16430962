"""`train` and `evaluate` end to end, on tiny folders of made-up images with names that nobody has heard of."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_images import checkered, noise_photograph

from helpers import cli
from helpers.cli import bench
from helpers.cli.common import only_run
from helpers.data.collect import manifest_from_folder
from helpers.data.files import write_atomic
from helpers.data.image_set import ImageSet
from helpers.data.images import encode_png
from helpers.data.manifest import ManifestError, write_manifest
from helpers.data.select import select
from helpers.detectors import speed
from helpers.detectors.base import Detector
from helpers.detectors.config import changes_from
from helpers.detectors.registry import find_detector, load_detector
from helpers.evaluation.report import METRICS

SETTINGS = ("--set", "size=32", "--set", "jpeg=0", "--set", "window=48")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of a folder with two generators for training and one more in the test split; it has no tier."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    parts = {"real/beach": 14, "real/forest": 14, "real/attic": 14}
    parts |= {"fake/glimmer": 14, "fake/quirk": 14, "fake/zonk 9": 8}
    for part, count in parts.items():
        (root / part).mkdir(parents=True)
        for number in range(count):
            img = noise_photograph(generator)
            img = checkered(img, 14.0) if part.startswith("fake") else img
            (root / part / f"{number}.png").write_bytes(encode_png(img))
    df = manifest_from_folder(root)
    number = df["path"].map(lambda path: int(Path(path).stem))
    split = pd.Series("train", df.index).mask(number >= 6, "val").mask(number >= 10, "test")
    split = split.mask(df["source"] == "attic", "test").mask(df["generator"] == "zonk 9", "test")
    path = root / "manifest.csv"
    write_manifest(df.assign(split=split), path)
    return path


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text('detector = "cross_entropy"\nview = "difference"\nsteps = 25\nbatch_size = 8\nembedding = 8\n')
    return path


@pytest.fixture(scope="module")
def trained(table: Path, configuration: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one detector, and beside them a report of training."""
    out = tmp_path_factory.mktemp("runs")
    folders = [out / "0", out / "1"]
    for seed, folder in enumerate(folders):
        words = ("train", configuration, "--out", folder, "--manifest", table, "--seed", seed, *SETTINGS)
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        assert not ended.value.code
    return folders


# ------------------------------------------------------------------------------------------------------------ train


def test_train_leaves_a_detector_and_tells_what_it_saw(trained: list[Path]) -> None:
    result = load_detector(trained[1])
    assert (result.name, result.config.seed, result.config.size) == ("cross_entropy", 1, 32)
    assert result.history["generators"] == ["glimmer", "quirk"]
    assert result.history["validation_auc"] > 0.9
    card = json.loads((trained[1] / "card.json").read_text())
    assert (card["manifest"], card["where"]) == ("manifest.csv", [])
    assert "attic" not in card["training"]["sources"]


def test_training_again_continues_and_reports_as_json(
    trained: list[Path], table: Path, configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained[0] / "weights.safetensors").read_bytes()
    status, out, _ = call(capsys, "train", configuration, "--out", trained[0], "--manifest", table, *SETTINGS, "--json")
    result = json.loads(out)
    assert status == 0
    assert result["detector"] == "cross_entropy"
    assert (result["real"], result["fake"]) == (12, 12)
    assert (trained[0] / "weights.safetensors").read_bytes() == before


def test_train_on_chosen_rows(table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "spectrum.toml").write_text('detector = "spectrum"\n')
    words = ("train", tmp_path / "spectrum.toml", "--out", tmp_path / "run", "--manifest", table, *SETTINGS)
    status, out, _ = call(capsys, *words, "--where", "generator!=quirk", "--where", "source!=forest")
    assert status == 0
    assert out.startswith("spectrum: ")
    assert out.count("\n") == 1
    history = load_detector(tmp_path / "run").history
    assert history["generators"] == ["glimmer"]
    assert "forest" not in history["sources"]


def test_a_second_training_into_one_folder_names_the_first(
    table: Path, configuration: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("train", configuration, "--out", tmp_path / "run", "--manifest", table, *SETTINGS)
    with only_run(tmp_path / "run"):
        status, _, err = call(capsys, *words)
    assert status == 2
    assert f"process {os.getpid()} is writing here; wait for it, or choose another --out" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("step", "kept"), [(3, "holds no checkpoint yet"), (1000, "keeps the last checkpoint")])
def test_an_interrupted_training_says_what_is_kept(
    step: int,
    kept: str,
    table: Path,
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(detector: Detector, images: ImageSet, out: Path) -> None:
        if step > 250:
            write_atomic(out / "stage" / "checkpoint.safetensors", b"")
        raise KeyboardInterrupt

    monkeypatch.setattr(find_detector("cross_entropy"), "fit_weights", interrupted)
    status, out, err = call(capsys, "train", configuration, "--out", tmp_path, "--manifest", table, *SETTINGS)
    assert (status, out) == (2, "")
    assert err.startswith("error: interrupted: ")
    assert kept in err
    assert not list(tmp_path.glob(".lock*"))


# --------------------------------------------------------------------------------------------------------- evaluate


def test_evaluate_reports_every_generator_and_source_without_a_tier_column(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    both = [word for folder in trained for word in ("--detector", folder)]
    scores = tmp_path / "scores.csv"
    status, out, _ = call(capsys, "evaluate", *both, "--manifest", table, "--draws", "20", "--scores", scores, "--json")
    assert status == 0
    result = json.loads(out)
    assert (result["images"], result["runs"], result["seeds"], result["split"]) == (38, 2, [0, 1], "test")
    rows = {(row["tier"], row["generator"]): row for row in result["generators"]}
    assert set(rows) == {
        (tier, name) for tier in ("seen-source", "unseen-source") for name in ("glimmer", "quirk", "zonk 9")
    }
    assert {name: row["seen"] for (_, name), row in rows.items()} == {"glimmer": True, "quirk": True, "zonk 9": False}
    assert (rows["seen-source", "quirk"]["n_real"], rows["unseen-source", "quirk"]["n_real"]) == (8, 14)
    for row in rows.values():
        assert set(row["metrics"]) == set(METRICS)
        assert row["metrics"]["ap"]["value"] > 0.85  # the same checkerboard, whatever its generator's name
        assert all(part["low"] <= part["value"] <= part["high"] for part in row["metrics"].values())
    assert {(mean["tier"], mean["over"]) for mean in result["means"]} == {
        (tier, over) for tier in ("seen-source", "unseen-source") for over in ("seen", "unseen")
    }
    written = pd.read_csv(scores, keep_default_na=False)
    assert list(written["run"].value_counts()) == [38, 38]
    assert written["probability"].between(0, 1).all()


def test_evaluate_agrees_with_scoring_by_hand(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scores = tmp_path / "scores.csv"
    call(capsys, "evaluate", "--detector", trained[0], "--manifest", table, "--draws", 2, "--scores", scores, "--json")
    df = pd.read_csv(scores, keep_default_na=False)
    detector = load_detector(trained[0])
    expected = detector.score_files([table.parent / path for path in df["path"]])
    assert df["score"].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_evaluate_prints_a_table(trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "evaluate", "--detector", trained[0], "--manifest", table, "--draws", "20")
    assert status == 0
    assert out.startswith("cross_entropy: 38 images, 1 run(s)")
    assert "zonk 9" in out
    assert "mean of 1 unseen" in out


def test_evaluate_a_strange_manifest_after_jpeg(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Generators and sources that training never saw, all splits, a further column to resample by."""
    df = pd.read_csv(table, dtype=str, keep_default_na=False)
    df["generator"] = df["generator"].map(lambda name: f"{name} 2" if name else "")
    df["source"] = "somewhere-" + df["source"]
    df["camera"] = [f"c{number % 5}" for number in range(len(df))]
    strange = tmp_path / "strange.csv"
    df.to_csv(strange, index=False)
    words = ("evaluate", "--detector", trained[0], "--manifest", strange, "--root", table.parent, "--split", "all")
    status, out, _ = call(capsys, *words, "--jpeg", "80", "--cluster", "camera", "--draws", "10", "--json")
    result = json.loads(out)
    assert status == 0
    assert (result["images"], result["jpeg"], result["bootstrap"]["cluster"]) == (78, 80, "camera")
    assert {row["tier"] for row in result["generators"]} == {"unseen-source"}
    assert not any(row["seen"] for row in result["generators"])
    assert result["generators"][0]["real_clusters"] == {"unit": "camera", "n": 5}


def test_compare_two_detectors(trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", "--detector", trained[0], "--against", trained[0], "--manifest", table, "--draws", 10)
    status, out, _ = call(capsys, *words, "--json")
    result = json.loads(out)
    assert status == 0
    assert result["kind"] == "differences"
    assert all(row["metrics"]["ap"]["value"] == 0 for row in result["generators"])


# ------------------------------------------------------------------------------------------------- errors, one line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--manifest", "absent.csv"), "absent.csv: no such manifest"),
        (("--where", "colour=red"), "'colour=red': needs column=value or column!=value"),
        (("--where", "split=none"), "no image meets 'split=none'; split holds test, train, val"),
        (("--where", "label=real"), "the training images hold none that is fake"),
        (("--where", "split=train"), "the validation images hold none that is fake or real"),
        (("--set", "colour=1"), "tiny.toml: colour: no such setting of cross_entropy"),
        (("--set", "steps"), "'steps': needs entry=value"),
        (("--set", "steps=many"), "steps cannot be 'many'"),
        (("--set", "detector=oracle"), "oracle: no such detector"),
        (("--set", "backbone=oracle"), "oracle: neither tracenet"),
        (("--set", "view=sepia"), "sepia: no such view"),
        (("--set", "size=64"), "56 x 56 pixels are fewer than the 64 x 64 needed, like 23 more"),
    ],
)
def test_train_says_in_one_line_what_is_wrong(
    words: tuple[str, ...],
    message: str,
    table: Path,
    configuration: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    base = ("train", configuration, "--out", tmp_path / "run", "--manifest", table, *SETTINGS)
    status, out, err = call(capsys, *base, *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("rate", ["1e30", "1e9"])
def test_a_learning_rate_that_diverges_is_one_line(
    rate: str, table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("train", "ntf_pixels", "--out", tmp_path, "--manifest", table, *SETTINGS, "--set", "mapping_steps=30")
    few = ("--set", "steps=3", "--set", "prototypes=2", "--set", "batch_size=8")
    status, out, err = call(capsys, *words, *few, "--set", f"learning_rate={rate}")
    assert (status, out) == (2, "")
    assert "the last good checkpoint is kept" in err
    assert err.count("\n") == 1


def test_train_needs_a_configuration(table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = call(capsys, "train", "absent", "--out", tmp_path, "--manifest", table)
    assert status == 2
    assert err.startswith("error: absent: cannot be read")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "holdout"), "no image of split holdout"),
        (("--where", "label=fake"), "holds no real image"),
        (("--cluster", "planet"), "cluster must be auto, source, image or a column"),
        (("--detector", "absent"), "absent: holds no detector"),
    ],
)
def test_evaluate_says_in_one_line_what_is_wrong(
    words: tuple[str, ...], message: str, trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("evaluate", "--detector", trained[0], "--manifest", table, "--draws", 2)
    status, out, err = call(capsys, *base, *words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_evaluate_names_a_file_that_is_damaged_or_too_small(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    df = pd.read_csv(table, dtype=str, keep_default_na=False).iloc[[0, -1]].assign(split="test")
    for path in df["path"]:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(encode_png(noise_photograph(torch.Generator().manual_seed(1))))
    base = ("evaluate", "--detector", trained[0], "--manifest", tmp_path / "m.csv", "--draws", 2)
    bad = tmp_path / df["path"].iloc[1]

    def spoil(data: bytes) -> None:
        """Spoil the second file; its hash in the manifest is that of what lies there."""
        bad.write_bytes(data)
        hashes = [hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in df["path"]]
        df.assign(sha256=hashes).to_csv(tmp_path / "m.csv", index=False)

    spoil(encode_png(torch.zeros(3, 20, 50, dtype=torch.uint8)))
    status, _, err = call(capsys, *base)
    assert status == 2
    assert f"{bad.name}: an image of 50 x 20 pixels is too small" in err
    spoil(b"\x89PNG and nothing")
    status, _, err = call(capsys, *base)
    assert status == 2
    assert bad.name in err
    assert err.count("\n") == 1


# ----------------------------------------------------------------------------------------------------------- pieces


def test_conditions_on_generators_concern_fakes_alone() -> None:
    rows = [("real", "", "a"), ("real", "", "b"), ("fake", "g", "a"), ("fake", "h", "b")]
    df = pd.DataFrame(rows, columns=["label", "generator", "source"])
    assert select(df, ["generator=g"])["generator"].tolist() == ["", "", "g"]
    assert select(df, ["generator!=g"])["generator"].tolist() == ["", "", "h"]
    assert select(df, ["generator=g,h", "source=a"])["generator"].tolist() == ["", "g"]
    assert select(df, []).equals(df)
    for wrong in ("generator", "colour=1"):
        with pytest.raises(ManifestError, match="needs column=value"):
            select(df, [wrong])


def test_settings_are_json_or_text() -> None:
    result = changes_from(["steps=5", "score=head", "qualities=[70, 80]", 'terms={"variance": 0}', "jpeg=0.25"])
    assert result == {"steps": 5, "score": "head", "qualities": [70, 80], "terms": {"variance": 0}, "jpeg": 0.25}


# ------------------------------------------------------------------------------------------------------------ bench


def test_the_bench_times_scoring_and_learning(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(
        'detector = "ntf"\nsize = 32\nbatch_size = 8\nembedding = 8\nprototypes = 3\nwindow = 64\n'
    )
    words = ("bench", "detector", "--config", tmp_path / "b.toml", "--images", 4, "--side", 96, "--steps", 2)
    status, out, _ = call(capsys, *words, "--processes", 0, "--json")
    assert status == 0
    result = json.loads(out)
    parts = {row["part"]: row for row in result["rows"]}
    assert set(parts) >= {"decoding", "windows", "network", "all of it", "stage 1", "stage 2"}
    assert all(row["per_second"] > 0 for row in result["rows"])
    assert "of the steps with input that costs nothing" in parts["stage 2"]["note"]
    assert result["peak_memory_mb"] is None or result["peak_memory_mb"] > 50
    bench._print(result, [speed.Row("network", "image", 21.34, float("nan"), "on a GPU")])
    out = capsys.readouterr().out
    assert "CPU ms each" in out
    assert "21.3" in out


# ------------------------------------------------------------------------------ what practitioners ask first, and skip


def test_evaluate_tells_each_photo_source_and_pairs(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    df = pd.read_csv(table, dtype=str, keep_default_na=False)
    df["scene"] = [Path(path).stem for path in df["path"]]
    df["track"], df["origin_path"] = "made up", "elsewhere/" + df["path"]
    df.to_csv(tmp_path / "m.csv", index=False)
    words = ("evaluate", "--detector", trained[0], "--manifest", tmp_path / "m.csv", "--root", table.parent)
    scores = tmp_path / "scores.csv"
    status, out, _ = call(capsys, *words, "--draws", 20, "--pair", "scene", "--scores", scores, "--json")
    result = json.loads(out)
    assert status == 0
    assert [(one["source"], one["tier"], one["images"]) for one in result["photo_sources"]] == [
        ("attic", "unseen-source", 14), ("beach", "seen-source", 4), ("forest", "seen-source", 4),
    ]  # fmt: skip
    assert all(0 <= one["false_positive_rate"]["value"] <= 1 for one in result["photo_sources"])
    assert (result["pairs"]["column"], result["pairs"]["pairs"]) == ("scene", 12)
    assert result["refused"] == []
    written = pd.read_csv(scores, keep_default_na=False)
    assert {"track", "origin", "origin_path", "family"} <= set(written.columns)
    _, out, _ = call(capsys, *words, "--draws", 20, "--pair", "scene")
    assert "False-positive rate of each photo source" in out
    assert "pairs by scene: the generated one ranks higher in " in out


def test_photographs_alone_give_error_rates_alone(
    trained: list[Path], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", "--detector", trained[0], "--manifest", table, "--where", "label=real", "--draws", 20)
    status, out, _ = call(capsys, *words, "--json")
    result = json.loads(out)
    assert status == 0
    assert "means" not in result
    pooled = {one["tier"]: one for one in result["photographs"]}
    assert {tier: (one["source"], one["images"]) for tier, one in pooled.items()} == {
        "seen-source": ("all", 8), "unseen-source": ("all", 14),
    }  # fmt: skip
    beach, forest = (
        one["false_positive_rate"]["value"] for one in result["photo_sources"] if one["tier"] == "seen-source"
    )
    assert pooled["seen-source"]["false_positive_rate"]["value"] == pytest.approx((beach + forest) / 2, abs=1e-4)
    assert "called generated" in call(capsys, *words)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--where", "label=fake"), "split test holds no real image"),
        (("--where", "label=real", "--against", "zoo"), "--against needs both photographs and generated images"),
        (("--scores", "absent/scores.csv"), "--scores needs a file in a folder that exists"),
        (("--pair", "moon"), "moon: no such column"),
        (("--pair", "generator"), "no value of this column has both"),
        (("--cluster", "moon"), "cluster must be auto, source, image or a column of the manifest (path, label"),
        (("--where", "generator=moon"), "no image meets 'generator=moon'; generator holds '', glimmer, quirk"),
    ],
)
def test_evaluate_refuses_before_anything_is_scored(
    words: tuple[str, ...],
    message: str,
    trained: list[Path],
    table: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("helpers.detectors.scores.cached_table", lambda *_, **__: pytest.fail("scored"))
    status, out, err = call(capsys, "evaluate", "--detector", trained[0], "--manifest", table, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("extra", "kept"), [((), "lies in the cache folder"), (("--no-cache",), "nothing is kept")])
def test_an_interrupted_evaluation_says_what_is_kept(
    extra: tuple[str, ...],
    kept: str,
    trained: list[Path],
    table: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.detectors.scores.score_table", interrupted)
    status, out, err = call(capsys, "evaluate", "--detector", trained[0], "--manifest", table, *extra)
    assert (status, out) == (2, "")
    assert err.startswith("error: interrupted: ")
    assert kept in err
    assert err.count("\n") == 1


@pytest.fixture
def damaged(table: Path, tmp_path: Path) -> Path:
    """The set with one file of each split cut off."""
    df = pd.read_csv(table, dtype=str, keep_default_na=False)
    for path in df["path"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((table.parent / path).read_bytes())
    for path in df.groupby("split")["path"].first():
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes()[:100])
        df.loc[df["path"] == path, "sha256"] = hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
    df.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def test_every_command_can_leave_damaged_files_out(
    damaged: Path, trained: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "spectrum.toml").write_text('detector = "spectrum"\n')
    commands = {
        "train": ("train", tmp_path / "spectrum.toml", "--out", tmp_path / "run", "--manifest", damaged, *SETTINGS),
        "evaluate": ("evaluate", "--detector", trained[0], "--manifest", damaged, "--draws", 5),
        "audit": ("audit", damaged, "--draws", 5, "--crop", 48),
    }
    for name, words in commands.items():
        status, out, err = call(capsys, *words, "--json")
        assert (status, out) == (2, ""), name
        assert err.count("\n") == 1
        again = [tmp_path / "another run" if word == tmp_path / "run" else word for word in words]
        status, out, err = call(capsys, *again, "--on-error", "skip", "--json")
        refused = json.loads(out)["refused"]
        assert status == 2
        assert len(refused) == {"train": 2, "evaluate": 1, "audit": 3}[name]
        assert err.count("left out: ") == len(refused)
        assert all(one["path"] in err for one in refused)
        assert all(one["error"] for one in refused)
