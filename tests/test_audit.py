import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from helpers.data import collect, images, manifest
from helpers.data.images import ImageError
from helpers.data.manifest import ManifestError
from helpers.data.protocol import Protocol
from helpers.data.select import sample_rows
from helpers.evaluation import audit
from helpers.evaluation.audit import AuditReport
from helpers.evaluation.metrics import Interval


def scene(seed: int, height: int = 72, width: int = 80, shift: int = 0) -> torch.Tensor:
    """Smooth random content; `shift` brightens it."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(40, 180, (1, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    return (smooth + torch.from_numpy(rng.normal(0, 6, (3, height, width))) + shift).clamp(0, 255).to(torch.uint8)


def build(root: Path, make, count: int = 24, sources: int = 6) -> pd.DataFrame:
    """Write `count` images of each label; `make(label, number)` returns an image file's bytes and its ending."""
    for label, place in (("real", "real/s{}"), ("fake", "fake/gan/t{}")):
        for number in range(count):
            data, ending = make(label, number)
            path = root / place.format(number % sources) / f"{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return collect.collect_folder(root, collect.Collecting(test_only=True)).rows  # copies of one file share a split


def plain(label: str, number: int) -> tuple[bytes, str]:
    """No cue at all: same size, same encoder, content drawn from one distribution."""
    return images.encode_jpeg(scene(number + 1000 * (label == "fake")), 90), "jpg"


def run(root: Path, make, **options) -> AuditReport:
    sources = options.pop("sources", 6)
    return audit.audit(build(root, make, sources=sources), root, Protocol(crop=32), n_draws=60, **options)


def test_a_clean_set_is_not_leaky(tmp_path: Path) -> None:
    report = run(tmp_path, plain)
    for cue in ("format", "size", "quantisation", "subsampling", "metadata", "container"):
        result = report.result("raw files", cue)
        assert (result.auc.value, result.auc.low, result.auc.high) == (0.5, 0.5, 0.5), cue
        assert result.folds == "source"
        assert result.auc.n == 12
    assert not [cue for cue in report.leaky_cues if cue in audit.CONTAINER_CUES]
    assert (report.images, report.real, report.fake, report.skipped) == (48, 24, 24, 0)


def test_file_types_leak_until_they_are_matched(tmp_path: Path) -> None:
    def make(label: str, number: int) -> tuple[bytes, str]:
        img = scene(number + 1000 * (label == "fake"))
        return (images.encode_png(img), "png") if label == "fake" else (images.encode_jpeg(img, 90), "jpg")

    report = run(tmp_path, make)
    for cue in ("format", "quantisation", "subsampling", "bytes"):
        assert report.result("raw files", cue).auc.value == 1.0, cue
        assert report.result("raw files", cue).leaky
    assert report.result("raw files", "size").auc.value == 0.5
    assert report.result("matched protocol", "format").auc.value == 0.5
    assert "format" not in report.leaky_cues


def picture_with(**options: object) -> bytes:
    buffer = io.BytesIO()
    images.to_pil(scene(1)).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("cue", "fake", "real"),
    [
        ("size", images.encode_jpeg(scene(1, 64, 64), 90), images.encode_jpeg(scene(1, 72, 80), 90)),
        ("quantisation", images.encode_jpeg(scene(1), 75), images.encode_jpeg(scene(1), 90)),
        ("subsampling", images.encode_jpeg(scene(1), 90, "4:4:4"), images.encode_jpeg(scene(1), 90, "4:2:0")),
        ("metadata", picture_with(comment=b"made by a model"), picture_with()),
        ("colour", images.encode_jpeg(scene(1, shift=40), 90), images.encode_jpeg(scene(1), 90)),
    ],
)
def test_each_cue_is_found_and_named(tmp_path: Path, cue: str, fake: bytes, real: bytes) -> None:
    report = run(tmp_path, lambda label, number: (fake if label == "fake" else real, "jpg"))
    assert report.result("raw files", cue).auc.value == 1.0
    others = [c for c in audit.CONTAINER_CUES if c != cue]
    assert {other: report.result("raw files", other).auc.value for other in others} == dict.fromkeys(others, 0.5)
    matched = report.result("matched protocol", cue)
    if cue == "colour":  # content survives any encoding, and is named as such
        assert matched.kind == "content"
        assert matched.leaky
        assert "colour" in report.leaky_cues
    else:
        assert matched.kind == "container"
        assert not matched.leaky


def test_one_source_falls_back_to_images_and_says_so(tmp_path: Path) -> None:
    df = build(tmp_path, plain)
    df.loc[df["label"] == "real", "source"] = "one"
    mixed = audit.audit(df, tmp_path, Protocol(crop=32), n_draws=20).result("raw files", "colour")
    assert (mixed.folds, mixed.clusters, mixed.auc.n) == ("image", "mixed", 24 + 6)
    df.loc[df["label"] == "fake", "source"] = "two"
    single = audit.audit(df, tmp_path, Protocol(crop=32), n_draws=20).result("raw files", "colour")
    assert (single.folds, single.clusters, single.auc.n) == ("image", "image", 48)


def test_folds_by_source_do_not_reward_memorised_sources() -> None:
    """A feature that names the source tells all by image, and nothing that carries over to other sources."""
    labels = np.repeat([0, 1], 60)
    sources = np.repeat([f"s{i}" for i in range(12)], 10)
    features = pd.DataFrame({"cue_format_name": sources})
    by_image, kept, _ = audit.leak_auc(features, labels, sources, folds_by="image", n_draws=20)
    assert (by_image.value, kept) == (1.0, "image")
    by_source, kept, _ = audit.leak_auc(features, labels, sources, n_draws=20)
    assert kept == "source"
    assert by_source.value == 0.5


def test_leak_auc_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 100)
    sources = np.array([f"s{i}" for i in range(200)])
    values = rng.normal(labels * 0.8, 1.0)
    got, _, _ = audit.leak_auc(pd.DataFrame({"x": values}), labels, sources, n_draws=20, seed=1)
    folds, _ = audit._folds(labels, sources, "source", 1)
    wins = pairs = 0.0
    for fold in range(5):
        test = folds == fold
        model = LogisticRegression(class_weight="balanced").fit(values[~test, None], labels[~test])
        size = (labels[test] == 1).sum() * (labels[test] == 0).sum()
        wins += size * roc_auc_score(labels[test], model.decision_function(values[test, None]))
        pairs += size
    assert got.value == pytest.approx(wins / pairs, abs=1e-3)
    assert got.low < got.value < got.high


def test_direction_is_learnt_not_folded() -> None:
    """A cue whose direction turns round between sources ends below 0.5: it is not folded to the upper half."""
    labels = np.tile([0, 1], 40)
    sources = np.array([f"{label}{i // 40}" for i, label in enumerate(labels)])
    turned = np.where(np.arange(80) < 40, labels, 1 - labels).astype(float)
    got, kept, _ = audit.leak_auc(pd.DataFrame({"x": turned}), labels, sources, n_draws=20)
    assert kept == "source"
    assert got.value <= 0.5


def test_small_images_are_counted_not_stretched(tmp_path: Path) -> None:
    def make(label: str, number: int) -> tuple[bytes, str]:
        side = 20 if number == 0 else 48
        return images.encode_jpeg(scene(number, side, side), 90), "jpg"

    report = run(tmp_path, make)
    assert report.skipped == 2
    with pytest.raises(ImageError, match="no image is as large"):
        audit.audit(collect.manifest_from_folder(tmp_path), tmp_path, Protocol(crop=64), n_draws=5)


def test_too_few_images(tmp_path: Path) -> None:
    df = build(tmp_path, plain)
    with pytest.raises(ManifestError, match="at least two"):
        audit.audit(df[df["label"] == "real"], tmp_path)
    with pytest.raises(ManifestError, match="by source or by image"):
        audit.audit(df, tmp_path, folds_by="moon", n_draws=5)


def test_originals_are_audited_where_they_are_known(tmp_path: Path) -> None:
    df = build(tmp_path, plain)
    png = (df["label"] == "fake") & (np.arange(len(df)) % 12 != 0)
    df = df.assign(orig_format=np.where(png, "PNG", "JPEG"), orig_width="512", orig_height="512", orig_quality="")
    report = audit.audit(df, tmp_path, Protocol(crop=32), n_draws=30)
    share = png.sum() / (df["label"] == "fake").sum()
    assert report.result("original files", "is it a PNG").auc.value == pytest.approx(0.5 + share / 2)
    assert report.result("original files", "size").auc.value == 0.5
    with pytest.raises(KeyError):
        report.result("original files", "colour")
    assert audit.original_features(df.drop(columns="orig_quality")) is None


def test_report_is_plain_data_and_repeats(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", plain), run(tmp_path / "b", plain)
    assert json.loads(json.dumps(first.to_dict())) == json.loads(json.dumps(second.to_dict()))
    frame = first.to_frame()
    assert list(frame.columns) == ["view", "cue", "kind", "auc", "low", "high", "folds", "clusters", "verdict"]
    assert len(frame) == 2 * (len(audit.CUES) + 2)


def test_sample_keeps_shares() -> None:
    df = pd.DataFrame({"label": ["real"] * 300 + ["fake"] * 100, "generator": "", "source": ["a", "b"] * 200})
    df["path"] = [f"{i}" for i in range(400)]
    few = sample_rows(df, 40, seed=1)
    assert len(few) == 40
    assert few["label"].value_counts().to_dict() == {"real": 30, "fake": 10}
    assert few["source"].value_counts().to_dict() == {"a": 20, "b": 20}
    assert few.index.is_monotonic_increasing
    assert sample_rows(df, 400) is df
    assert set(sample_rows(df, 40, seed=2)["path"]) != set(few["path"])


@pytest.mark.slow
def test_benchmark_is_matched_and_its_originals_were_not(benchmark_root: Path) -> None:
    df = manifest.read_manifest(benchmark_root / "manifest.csv")
    tested = df[(df["track"] == "main-240") & (df["split"] == "test") & (df["tier"] != "unseen-source")]
    report = audit.audit(sample_rows(tested, 600), benchmark_root, n_draws=50)
    for cue in audit.CONTAINER_CUES:
        assert report.result("raw files", cue).auc.value == 0.5
        assert not report.result("matched protocol", cue).leaky
    assert 0.95 < report.result("original files", "is it a PNG").auc.value < 0.99


# Order of rows


def shuffled(df: pd.DataFrame, seed: int = 5) -> pd.DataFrame:
    return df.sample(frac=1, random_state=seed).reset_index(drop=True)


def test_the_order_of_rows_plays_no_part(tmp_path: Path) -> None:
    def mixed(label: str, number: int) -> tuple[bytes, str]:
        img = scene(number + 1000 * (label == "fake"), shift=10 * (label == "fake"))
        return (images.encode_png(img), "png") if number % 3 else (images.encode_jpeg(img, 80 + number % 15), "jpg")

    df = build(tmp_path, mixed)
    df = df.assign(orig_format="PNG", orig_width="512", orig_height=np.arange(len(df)) + 500, orig_quality="")
    reports = [audit.audit(rows, tmp_path, Protocol(crop=32), n_draws=40) for rows in (df, shuffled(df))]
    assert reports[0].to_dict() == reports[1].to_dict()


def test_an_image_keeps_its_settings_in_a_smaller_set(tmp_path: Path) -> None:
    df = build(tmp_path, plain)
    whole, part = df.sort_values("path").reset_index(drop=True), df[df["path"] > df["path"].min()]
    features = [audit._read_features(rows, tmp_path, Protocol(crop=32), 0, iter)[1] for rows in (whole, part)]
    assert features[0].iloc[1:].reset_index(drop=True).equals(features[1].reset_index(drop=True))


def test_samples_do_not_depend_on_the_order_of_rows() -> None:
    df = pd.DataFrame({"label": ["real", "fake"] * 60, "generator": "", "source": ["a", "b", "c"] * 40})
    df["path"] = [f"{i}.png" for i in range(len(df))]
    assert set(sample_rows(df, 30)["path"]) == set(sample_rows(shuffled(df), 30)["path"])


# Verdicts


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.60, 0.24, 0.97, "cannot tell"),
        (0.07, 0.02, 0.15, "leaky"),
        (0.90, 0.80, 0.97, "leaky"),
        (0.70, 0.55, 0.85, "cannot tell"),
        (0.45, 0.30, 0.55, "cannot tell"),
        (0.52, 0.45, 0.59, "not leaky"),
        (0.50, 0.50, 0.50, "not leaky"),
        (1.00, 1.00, 1.00, "leaky"),
        (0.00, 0.00, 0.00, "leaky"),
    ],
)
def test_the_interval_decides(value: float, low: float, high: float, said: str) -> None:
    area = Interval(value, low, high, 0.95, 10)
    assert audit.verdict(area) == said
    result = audit.CueResult("matched protocol", "format", "container", area, "source", "source")
    assert (result.verdict, result.leaky) == (said, said == "leaky")


def test_one_source_of_a_label_is_said_to_be_no_proof(tmp_path: Path) -> None:
    df = build(tmp_path, plain)
    assert audit.audit(df, tmp_path, Protocol(crop=32), n_draws=20).confounded == ""
    single = df.assign(source=df["source"].mask(df["label"] == "real", "one"))
    report = audit.audit(single, tmp_path, Protocol(crop=32), n_draws=20)
    assert "cannot tell a mark of the label from a mark of a source" in report.confounded
    assert "1 real, 6 fake" in report.confounded
    assert audit.audit(single, tmp_path, Protocol(crop=32), n_draws=20, folds_by="image").confounded == ""


@pytest.mark.parametrize("cell", ["", "512x", "8.5", "-3"])
def test_original_sizes_that_are_no_numbers_are_named_before_the_work(tmp_path: Path, cell: str) -> None:
    df = build(tmp_path, plain)
    df = df.assign(orig_format="PNG", orig_width="512.0", orig_height="512", orig_quality="85.0")
    assert audit.original_features(df) is not None
    df.loc[3, "orig_width"] = cell
    with pytest.raises(ManifestError) as caught:
        audit.audit(df, tmp_path / "absent", n_draws=5, name="m.csv")
    assert str(caught.value).startswith("m.csv: orig_width must hold whole numbers")
    assert df["path"][3] in str(caught.value)
