"""The study of lesson 05: its set, its measures against second implementations, its record, its figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from typer.testing import CliRunner

from helpers.cli import embeddings as command
from helpers.cli.common import one_line_numbers
from helpers.data.image_set import ImageSet
from helpers.detectors.ntf.detector import NaturalTraceDetector
from helpers.evaluation.embeddings import Floats, map_trust, neighbour_purity
from helpers.generators import RECIPES
from helpers.lessons.lesson05 import figures as plots
from helpers.lessons.lesson05 import study
from helpers.lessons.lesson05.exercises import purity_elsewhere, trust_from_ranks


@pytest.fixture(scope="module")
def detector() -> NaturalTraceDetector:
    return study.study_detector()


@pytest.fixture(scope="module")
def images(detector: NaturalTraceDetector) -> ImageSet:
    return study.study_set(detector)


@pytest.fixture(scope="module")
def embeddings(detector: NaturalTraceDetector, images: ImageSet) -> dict[str, Floats]:
    return study.stage_embeddings(detector, images)


@pytest.fixture(scope="module")
def record() -> dict:
    return study.read_record()


def distances(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows[:, None] - rows[None], axis=2)


# The set


def test_every_photograph_and_generator_has_as_many_images(images: ImageSet) -> None:
    counts = images.manifest.groupby(["label", "source"]).size()
    assert len(images) == 480
    assert set(counts["real"]) == set(counts["fake"]) == {24}
    assert set(counts["fake"].index) == set(RECIPES)
    assert all(tuple(img.shape) == (3, 64, 64) for img in images.images())


def test_seen_is_what_the_detector_learnt_from(images: ImageSet, detector: NaturalTraceDetector) -> None:
    df = images.manifest
    assert set(df["source"][df["seen"]]) == set(detector.history["sources"])
    assert set(df["split"][df["seen"] & (df["label"] == "real")]) == {"train"}


def test_redrawn_crops_keep_their_content(images: ImageSet) -> None:
    rows, crops = study.redrawn_crops(images)
    assert set(images.manifest["split"].iloc[rows]) == {"test"}
    originals = torch.stack([images.image(int(row)) for row in rows]).float()
    own = (originals - crops.float()).abs().mean()
    other = (originals.roll(1, 0) - crops.float()).abs().mean()
    assert own < 0.5 * other


# Embeddings


def test_stages_are_three_different_unit_embeddings(embeddings: dict[str, Floats]) -> None:
    assert tuple(embeddings) == study.STAGES
    for rows in embeddings.values():
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    first, second, third = embeddings.values()
    assert min(np.abs(a - b).max() for a, b in ((first, second), (second, third), (first, third))) > 0.1


def test_last_stage_is_what_the_detector_judges_by(
    detector: NaturalTraceDetector, images: ImageSet, embeddings: dict[str, Floats]
) -> None:
    batch = torch.stack([images.image(row) for row in range(5)])
    with torch.no_grad():
        expected = detector.embed(batch.float()).numpy()
    np.testing.assert_allclose(embeddings[study.STAGES[2]][:5], expected, atol=1e-4)


def test_each_trace_has_a_crop_of_its_own(
    detector: NaturalTraceDetector, images: ImageSet, embeddings: dict[str, Floats]
) -> None:
    rows = study.representatives(detector, images, embeddings[study.STAGES[1]])
    assert len(set(rows.tolist())) == len(detector.bank)
    assert set(images.manifest["split"].iloc[rows]) == {"train"}
    assert set(images.manifest["label"].iloc[rows]) == {"real"}


# Measures


def test_gap_of_islands_and_of_a_mixture() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    assert study.gap(labels[:, None] * [10.0, 0.0] + 0.01 * rng.normal(size=(100, 2)), labels) > 0.99
    assert abs(study.gap(rng.normal(size=(100, 2)), labels)) < 0.05


def test_trust_and_continuity_agree_with_a_second_implementation() -> None:
    rows = np.random.default_rng(1).normal(size=(80, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = rows[:, :2]
    trust = trust_from_ranks(distances(rows), distances(points), 7)
    assert map_trust(rows, points, 7) == pytest.approx(trust, abs=1e-6)
    swapped = trust_from_ranks(distances(points), distances(rows), 7)
    assert study.continuity(rows, points, 7) == pytest.approx(swapped, abs=1e-6)
    assert trust < swapped


def test_purity_of_the_exercise_agrees_with_the_package() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(90, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, photographs = rng.choice(["real", "fake"], 90), rng.choice(list("abcdefgh"), 90)
    expected = neighbour_purity(rows, labels, 6, groups=photographs).purity.value
    assert purity_elsewhere(rows @ rows.T, labels, photographs, 6) == pytest.approx(expected)


def test_purities_of_an_embedding_that_knows_only_the_label(images: ImageSet) -> None:
    rng = np.random.default_rng(3)
    rows = np.eye(8)[images.labels] + 0.01 * rng.normal(size=(len(images), 8))
    result = study.purities(images, rows)
    assert result["label"]["value"] == result["label, unseen"]["value"] == 1
    for name in ("generator", "photograph"):
        assert result[name]["low"] <= result[name]["chance"] <= result[name]["high"]


def test_votes_are_shares_of_fakes_among_the_ten_nearest() -> None:
    known = np.repeat(np.eye(3), 10, axis=0)
    labels = np.array([0] * 10 + [1] * 10 + [0, 1] * 5)
    assert study.training_votes(np.eye(3), known, labels) == pytest.approx([0, 1, 0.5])


def test_unseen_auc_looks_at_unseen_rows_alone(images: ImageSet) -> None:
    wrong_where_seen = np.where(images.manifest["seen"], 1 - images.labels, images.labels)
    assert study.unseen_auc(images, wrong_where_seen).value == 1


# Pretty pictures


def test_memoriser_is_ridge_regression_and_knows_its_images() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (30, 3, 5, 5), generator=generator).to(torch.uint8)
    classes = np.array(["real", "a", "b"] * 10)
    learnt = study.memorise(pictures, classes, ridge=0.1)
    assert learnt.classes == ("a", "b", "real")
    rows = study.pixel_rows(pictures).numpy()
    wanted = (classes[:, None] == np.array(learnt.classes)).astype(float)
    primal = np.linalg.solve(rows.T @ rows + 0.1 * np.eye(75), rows.T @ wanted)
    np.testing.assert_allclose(learnt.weights.numpy(), primal, atol=1e-8)
    assert (np.array(learnt.classes)[learnt.embed(pictures).argmax(1)] == classes).all()


# The record


@pytest.mark.parametrize("stage", study.STAGES)
def test_a_part_of_the_record_can_be_made_again(
    record: dict, images: ImageSet, embeddings: dict[str, Floats], stage: str
) -> None:
    recorded = record["stages"][stage]
    points = study.points_of(recorded["points"])
    assert map_trust(embeddings[stage], points) == pytest.approx(recorded["trust"], abs=0.005)
    assert study.continuity(embeddings[stage], points) == pytest.approx(recorded["continuity"], abs=0.005)
    assert study.gap(points, images.labels) == pytest.approx(recorded["gap"], abs=1e-6)
    for name, result in study.purities(images, embeddings[stage]).items():
        for key in ("value", "low", "high", "chance"):
            assert result[key] == pytest.approx(recorded["purity"][name][key], abs=0.02), (name, key)


def test_recorded_score_can_be_made_again(record: dict, detector: NaturalTraceDetector, images: ImageSet) -> None:
    result = study.unseen_auc(images, detector.score(images.images()))
    for key in ("value", "low", "high"):
        assert getattr(result, key) == pytest.approx(record["score_auc"][key], abs=0.01)


def test_record_is_small_and_of_this_detector(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    assert (project / "data" / "results" / study.RECORD).stat().st_size < 500_000
    monkeypatch.setattr(study, "weights_sha256", lambda: "another")
    with pytest.raises(study.StudyError, match="another detector"):
        study.read_record()


def test_points_survive_the_record() -> None:
    points = np.array([[1.234, -5.678], [0.0, 3.0]])
    written = one_line_numbers({"points": study.as_columns(points), "name": "[a, b]"})
    assert "[1.23,0.0]" in written
    np.testing.assert_allclose(study.points_of(json.loads(written)["points"]), points, atol=0.005)
    assert json.loads(written)["name"] == "[a, b]"


def test_the_prettier_map_has_the_poorer_detector(record: dict) -> None:
    """The surprise of lesson 05."""
    honest = next(row for row in record["strip"] if (row["n_neighbours"], row["min_distance"]) == (15, 0.5))
    gaps = [record["told"]["gap"], record["memoriser"]["gap"], honest["gap"]]
    assert gaps == sorted(gaps, reverse=True)
    poor = [record["stages"][study.STAGES[0]]["vote_auc"], record["memoriser"]["auc"]]
    assert all(auc["high"] < record["score_auc"]["low"] for auc in poor)


def told(row: dict[str, float]) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def test_lesson_05_states_the_recorded_numbers(record: dict, project: Path) -> None:
    lesson = (project / "notebooks" / "solutions" / "05_seeing_embeddings.ipynb").read_text(encoding="utf-8")
    first, second, third = (record["stages"][stage] for stage in study.STAGES)
    label = [row["purity"]["label"] for row in (first, second, third)]
    gaps = [row["gap"] for row in record["strip"]]
    area, score = record["memoriser"]["auc"], record["score_auc"]
    claims = [
        f"purity rises from {told(label[0])} over {told(label[1])} to {told(label[2])}",
        f"chance is {label[0]['chance']:.2f}",
        f"it ends at {told(third['purity']['label, unseen'])}",
        f"By generator it is {told(third['purity']['generator'])} after stage 2, where chance is 0.08",
        f"By photograph it also rises, to {third['purity']['photograph']['value']:.2f}".replace("By", "by"),
        f"{first['vote_auc']['value']:.2f} for A, {area['value']:.2f} for B and {score['value']:.2f} for C",
        f"The gap runs from {min(gaps):.2f} to {max(gaps):.2f}",
        f"trust falls to {record['strip'][0]['trust']:.2f}",
        f"interval runs from {area['low']:.2f} to {area['high']:.2f}",
        f"an area of {told(score)}",
        f"its AUC on the unseen is {told(second['vote_auc'])}",
        f"Map B has trust {record['memoriser']['trust']:.2f}",
    ]
    assert [claim for claim in claims if claim not in lesson] == []


# Figures


def test_no_two_groups_look_alike() -> None:
    styles = plots.group_styles([str(number) for number in range(12)])
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 12


def test_a_map_draws_every_point_once() -> None:
    fig, ax = plt.subplots()
    groups = np.array(["a", "b", "", "b", "a", "b"])
    plots.plot_map(ax, np.arange(12).reshape(6, 2), groups, plots.group_styles(["a", "b"]))
    assert [len(drawn.get_offsets()) for drawn in ax.collections] == [1, 2, 3]
    plt.close(fig)


def test_each_original_is_tied_to_its_copy() -> None:
    fig, ax = plt.subplots()
    before, after = np.arange(6.0).reshape(3, 2), np.arange(6.0).reshape(3, 2) + 10
    plots.plot_moves(ax, before, after)
    ties = [np.asarray(line.get_xydata()) for line in ax.lines]
    np.testing.assert_array_equal(ties, np.stack([before, after], axis=1))
    plt.close(fig)


def test_kinds_of_images() -> None:
    df = pd.DataFrame({"label": ["real", "real", "fake", "fake"], "seen": [True, False, True, False]})
    photograph, seen, unseen = plots.LABEL_STYLES
    assert plots.label_names(df).tolist() == [photograph, photograph, seen, unseen]


def test_the_figure_command_writes_a_small_picture(tmp_path: Path) -> None:
    out = tmp_path / "figures" / "embedding.png"
    result = CliRunner().invoke(command.app, ["figure", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert 10_000 < out.stat().st_size < 200_000


def test_the_committed_figure_is_small(project: Path) -> None:
    assert (project / "data" / "figures" / "embedding.png").stat().st_size < 200_000
