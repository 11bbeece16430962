"""Protocols of generalisation, checked on features where the right answer is known; their figures; the command."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import cli
from helpers.course.reproduce import recorded
from helpers.data.image_set import ImageSet
from helpers.evaluation.metrics import average_precision, rate_interval
from helpers.generators import RECIPES
from helpers.generators.sets import TRAINING_GENERATORS
from helpers.lessons.lesson06 import figures as plots
from helpers.lessons.lesson06.line_up import LINE_UP
from helpers.lessons.lesson06.study import (
    Features,
    GeneralizationError,
    extract,
    fit_head,
    generators_table,
    leave_one_out,
    leave_one_out_table,
    mean_ap,
    means_table,
    means_text,
    more_generators,
    photograph_crops,
    size_means,
    train_test_matrix,
)

NAMES = ["up", "higher", "down", "lower"]
SHIFTS = {"": 0.0, "up": 3.0, "higher": 4.0, "down": -3.0, "lower": -4.0}


def make_features(seed: int, reals: int = 80, fakes: int = 40) -> Features:
    """Photographs around the origin; two generators on one side of them, two on the other."""
    rng = np.random.default_rng(seed)
    generators = np.repeat(["", *NAMES], [reals, *[fakes] * 4])
    rows = rng.normal(size=(len(generators), 3))
    rows[:, 0] += [SHIFTS[name] for name in generators]
    sources = np.where(generators == "", "photograph", generators)
    return Features(torch.from_numpy(rows).float(), (generators != "").astype(np.int64), generators, sources)


@pytest.fixture(scope="module")
def features() -> tuple[Features, Features, Features]:
    return make_features(0), make_features(1), make_features(2)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# Features


def test_extract_keeps_the_order_and_what_each_image_is() -> None:
    images = [torch.full((3, 4, 4), value, dtype=torch.uint8) for value in (3, 1, 2)]
    df = pd.DataFrame({"label": ["fake", "real", "fake"], "generator": ["b", "", "a"], "source": ["b", "cat", "a"]})
    result = extract(lambda part: part.float().mean(dim=(2, 3)), ImageSet.of(images, df), batch_size=2)
    assert result.rows.tolist() == [[3.0] * 3, [1.0] * 3, [2.0] * 3]
    assert result.labels.tolist() == [1, 0, 1]
    assert result.generators.tolist() == ["b", "", "a"]
    assert result.sources.tolist() == ["b", "cat", "a"]


def test_against_keeps_all_photographs_and_the_chosen_fakes(features) -> None:
    part = features[0].against(["up", "lower"])
    assert (part.labels == 0).sum() == 80
    assert set(part.generators) == {"", "up", "lower"}
    assert len(part.rows) == len(part.labels) == len(part.sources) == 160


@pytest.mark.parametrize("names", [["nobody"], ["up", "nobody"], []])
def test_against_wants_fakes_of_every_generator(features, names) -> None:
    with pytest.raises(GeneralizationError, match="no fakes of"):
        features[0].against(names)


def test_against_wants_photographs(features) -> None:
    with pytest.raises(GeneralizationError, match="no real"):
        features[0].take(features[0].labels == 1).against(["up"])


def test_crops_come_from_every_photograph_alike() -> None:
    crops = photograph_crops(3, seed=1, names=["chelsea", "motorcycle_left", "motorcycle_right"])
    assert crops.manifest["source"].value_counts().to_dict() == {"motorcycle": 6, "chelsea": 3}
    assert set(crops.manifest["label"]) == {"real"}
    assert {img.shape for img in crops.images()} == {(3, 64, 64)}
    again = photograph_crops(3, seed=1, names=["chelsea"])
    place = int(np.flatnonzero(crops.manifest["source"] == "chelsea")[0])
    assert torch.equal(crops.image(place), again.image(0))
    assert not torch.equal(photograph_crops(3, seed=2, names=["chelsea"]).image(0), again.image(0))


# Protocols


def test_the_matrix_is_what_scikit_learn_finds(features) -> None:
    train, _, test = features
    matrix = train_test_matrix(train, test, {"one side": ["up", "higher"], "down": ["down"]})
    part, other = train.against(["up", "higher"]), test.against(["down"])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=3000))
    scores = model.fit(part.rows.numpy(), part.labels).decision_function(other.rows.numpy())
    weights = np.where(other.labels == 1, 1 / 40, 1 / 80)
    expected = average_precision_score(other.labels, scores, sample_weight=weights)
    assert matrix.loc["one side", "down"] == pytest.approx(expected, abs=0.005)
    assert list(matrix.index) == list(matrix.columns) == ["one side", "down"]


def test_a_head_finds_its_own_side_and_ranks_the_other_the_wrong_way(features) -> None:
    train, _, test = features
    matrix = train_test_matrix(train, test, {name: [name] for name in NAMES})
    assert matrix.loc["up", ["up", "higher"]].min() > 0.95
    assert matrix.loc["up", ["down", "lower"]].max() < 0.35
    assert matrix.loc["lower", "down"] > 0.95


def test_the_generator_left_out_takes_no_part(features) -> None:
    """Moving its training and validation images to another place changes nothing."""
    train, val, test = features

    def moved(part: Features) -> Features:
        rows = part.rows.clone()
        rows[torch.from_numpy(part.generators == "down")] += 50
        return Features(rows, part.labels, part.generators, part.sources)

    first = leave_one_out(train, val, test, NAMES)[2]
    second = leave_one_out(moved(train), moved(val), test, NAMES)[2]
    assert first.generator == "down"
    assert (first.labels == 1).sum() == 40
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.val_scores, second.val_scores)


def test_the_table_of_accuracies(features) -> None:
    result = leave_one_out(*features, NAMES)
    table = leave_one_out_table(result)
    assert list(table.index) == NAMES
    for part in result:
        called = part.scores >= 0
        row = table.loc[part.generator]
        assert row["half_real"] == pytest.approx((~called[part.labels == 0]).mean())
        assert row["half_fake"] == pytest.approx(called[part.labels == 1].mean())
        assert row["half"] == pytest.approx((row["half_real"] + row["half_fake"]) / 2)
        assert row["ap"] == pytest.approx(average_precision(part.labels, part.scores))
    assert (table["oracle"] >= table[["half", "validation"]].max(axis=1) - 1e-9).all()


def test_more_generators_test_only_those_that_training_did_not_see(features) -> None:
    train, _, test = features
    table = more_generators(train, test, NAMES, sizes=(1, 3), subsets=6)
    assert table.groupby("size").size().to_dict() == {1: 6, 3: 6}
    alone = {name: mean_ap(fit_head(train.against([name])), test, [n for n in NAMES if n != name]) for name in NAMES}
    for value in table.loc[table["size"] == 1, "ap"]:
        assert min(abs(value - expected) for expected in alone.values()) < 1e-9
    pd.testing.assert_frame_equal(table, more_generators(train, test, NAMES, sizes=(1, 3), subsets=6))


def test_with_a_fixed_number_of_fakes_every_generator_gives_its_share(features, monkeypatch) -> None:
    train, _, test = features
    seen = []

    def record(part: Features) -> object:
        seen.append({name: int((part.generators == name).sum()) for name in set(part.generators)})
        return fit_head(part)

    monkeypatch.setattr("helpers.lessons.lesson06.study.fit_head", record)
    more_generators(train, test, NAMES, sizes=(1, 2, 3), subsets=1, fakes=30)
    assert [sorted(counts.values()) for counts in seen] == [[30, 80], [15, 15, 80], [10, 10, 10, 80]]


@pytest.mark.parametrize("sizes", [(0,), (4,), (1, 5)])
def test_a_generator_must_be_left_to_test(features, sizes) -> None:
    with pytest.raises(GeneralizationError, match="left to test"):
        more_generators(features[0], features[2], NAMES, sizes=sizes, subsets=1)


def test_means_of_sizes_have_students_interval() -> None:
    table = pd.DataFrame({"size": [1, 1, 1, 2, 2, 2], "ap": [0.5, 0.6, 0.7, 0.9, 0.9, 0.9]})
    result = size_means(table)
    low, high = t.interval(0.95, 2, loc=0.6, scale=0.1 / np.sqrt(3))
    assert result.loc[1].tolist() == pytest.approx([0.6, low, high])
    assert result.loc[2].tolist() == pytest.approx([0.9, 0.9, 0.9])


# Recorded reports


def report(values: dict[str, float]) -> dict:
    metrics = {
        name: {"ap": {"value": value, "low": value - 0.1, "high": value + 0.1}} for name, value in values.items()
    }
    mean = {"value": 0.7, "low": 0.6, "high": 0.8}
    return {
        "means": [{"tier": "seen-source", "over": "unseen", "generators": list(values), "metrics": {"ap": mean}}],
        "generators": [{"tier": "seen-source", "generator": name, "metrics": one} for name, one in metrics.items()],
    }


def test_tables_of_recorded_reports() -> None:
    reports = {"first": report({"a": 0.9, "b": 0.5}), "second": report({"a": 0.8, "b": 0.6})}
    means = means_table(reports)
    assert means.to_dict("records")[1] == {
        "detector": "second",
        "tier": "seen-source",
        "over": "unseen",
        "generators": 2,
        "value": 0.7,
        "low": 0.6,
        "high": 0.8,
    }
    text = means_text(reports)
    assert text.columns.tolist() == ["known photo sources"]
    assert text["known photo sources"].to_dict() == {"first": "0.70 [0.60, 0.80]", "second": "0.70 [0.60, 0.80]"}
    assert generators_table(reports, "seen-source").loc["second"].to_dict() == {"a": 0.8, "b": 0.6}
    assert generators_table(reports, "elsewhere").empty


# Figures


def test_the_heat_map_shows_every_number_and_both_axes(features) -> None:
    matrix = train_test_matrix(features[0], features[2], {name: [name] for name in NAMES})
    fig = plots.matrix_figure(matrix, {"up": "Up"}, split=2)
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts == [f"{100 * value:.0f}" for value in matrix.to_numpy().ravel()]
    assert fig.axes[0].get_xlabel() == "tested on"
    assert fig.axes[0].get_ylabel() == "trained on"
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()][:2] == ["Up", "higher"]


def test_the_verdicts_follow_the_threshold_and_ap_does_not() -> None:
    labels, scores = np.repeat([0, 1], 20), np.concatenate([np.linspace(-4, -2, 20), np.linspace(-1, 1, 20)])
    titles = [plots.verdict_figure(labels, scores, threshold).axes[0].get_title() for threshold in (-1.5, 0.0, 5.0)]
    assert titles == [
        "AP 1.00, right verdicts 1.00: photographs 1.00, fakes 1.00",
        "AP 1.00, right verdicts 0.75: photographs 1.00, fakes 0.50",
        "AP 1.00, right verdicts 0.50: photographs 1.00, fakes 0.00",
    ]
    plt.close("all")


def test_scores_are_drawn_as_shares_of_each_class() -> None:
    _, ax = plt.subplots()
    plots.plot_scores(ax, [0] * 30 + [1] * 10, np.linspace(-1, 1, 40), {"0.5": 0.0})
    heights = [sum(bar.get_height() for bar in bars) for bars in ax.containers]
    assert heights == pytest.approx([100, 100])
    assert {text.get_text() for text in ax.legend().get_texts()} == {"photographs", "fakes", "0.5"}


def test_the_reliability_of_an_honest_probability_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(40_000)
    labels = (rng.random(40_000) < probability).astype(int)
    _, ax = plt.subplots()
    plots.plot_reliability(ax, labels, probability, "honest")
    plots.plot_reliability(ax, labels, probability**3, "timid", 1)
    honest, diagonal, timid = ax.lines
    assert np.abs(np.subtract(honest.get_xdata(), honest.get_ydata())).max() < 0.03
    assert diagonal.get_gid() == "diagonal"
    assert np.subtract(timid.get_ydata(), timid.get_xdata()).max() > 0.2
    assert honest.get_linestyle() != timid.get_linestyle()


def test_intervals_keep_their_order_and_ranks_their_values() -> None:
    draws = np.random.default_rng(0).normal(0.8, 0.02, 200)
    interval = rate_interval(0.8, draws, level=0.95, n=40, smallest=20)
    _, ax = plt.subplots()
    plots.plot_intervals(ax, {"cat": interval, "all": interval}, apart=["all"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "all"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    table = pd.DataFrame({"zoo": [0.9, 0.7], "wild": [0.6, 0.65]}, index=["one", "two"])
    lines = plots.ranks_figure(table).axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [[1, 2], [2, 1]]


def test_lines_and_points_carry_their_labels(features) -> None:
    _, ax = plt.subplots()
    table = more_generators(features[0], features[2], NAMES, sizes=(1, 2), subsets=3)
    plots.plot_size_means(ax, size_means(table), "all fakes")
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
    _, other = plt.subplots()
    plots.plot_ap_accuracy(other, [0.9, 0.5], [0.5, 0.5], "pairs")
    assert other.collections[0].get_offsets().tolist() == [[0.9, 0.5], [0.5, 0.5]]


# The command


def test_the_line_up_sees_four_generators_of_two_families() -> None:
    assert [RECIPES[name].family for name in TRAINING_GENERATORS] == ["gan", "gan", "diffusion", "diffusion"]
    assert len(LINE_UP) == 7


def test_the_command_reports_unseen_and_seen_generators(capsys: pytest.CaptureFixture[str]) -> None:
    words = "generalization --detectors cross_entropy --seeds 1 --steps 2 --mapping-steps 2 --draws 5 --json"
    with pytest.raises(SystemExit) as end:
        cli.main(words.split())
    assert end.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trained_on"] == list(TRAINING_GENERATORS)
    means = means_table(result["detectors"])
    assert means[["over", "generators"]].to_numpy().tolist() == [["unseen", 8], ["seen", 4]]
    rows = result["detectors"]["cross_entropy"]["generators"]
    assert {row["generator"]: row["seen"] for row in rows} == {name: name in TRAINING_GENERATORS for name in RECIPES}


def test_a_detector_outside_the_line_up_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["generalization", "--detectors", "spectrum,oracle"])
    assert end.value.code == 2
    assert "oracle: not in the line-up" in capsys.readouterr().err


# What lesson 06 says of recorded results


def unseen_means(reports: dict, tier: str) -> pd.Series:
    means = means_table(reports)
    return means[(means["over"] == "unseen") & (means["tier"] == tier)].set_index("detector")["value"]


def test_the_line_up_reads_as_the_lesson_says() -> None:
    zoo = recorded("generalization_zoo")["detectors"]
    means = unseen_means(zoo, "unseen-source").sort_values(ascending=False)
    assert list(means.index[:2]) == ["cross_entropy_difference", "supcon"]
    assert set(means.index[-2:]) == {"spectrum", "cross_entropy_rgb"}
    table = generators_table(zoo, "unseen-source").drop(columns=list(TRAINING_GENERATORS))
    gan, diffusion = (
        table[[name for name in table if RECIPES[name].family == family]].mean(axis=1).rank(ascending=False)
        for family in ("gan", "diffusion")
    )
    assert gan["supcon"] == 1
    assert diffusion["supcon"] >= 4
    assert gan["spectrum"] < gan["cross_entropy_rgb"]
    assert diffusion["spectrum"] > diffusion["cross_entropy_rgb"]


def test_the_benchmark_reads_as_the_lesson_says() -> None:
    ends = {(row["tier"], row["generator"]): row["metrics"]["ap"] for row in recorded("wild_difference")["generators"]}
    for tier in ("seen-source", "unseen-source"):
        assert ends[tier, "cyclegan"]["low"] > 0
        assert ends[tier, "dalle-2"]["high"] < 0
    unknown = {name: ap for (tier, name), ap in ends.items() if tier == "unseen-source"}
    assert sum(ap["low"] > 0 for ap in unknown.values()) == 4
    assert len(unknown) == 7
    assert sum(ap["low"] > 0 for (tier, _), ap in ends.items() if tier == "seen-source") == 6
    variants = recorded("wild_ablation")["variants"]
    relatives = {
        "ntf": "ntf",
        "cross_entropy": "cross-entropy from scratch, same features",
        "supcon": "supervised contrastive, linear head, same features",
        "one_class": "one class: stage 1 and a Gaussian, no fake seen",
    }
    reports = {name: {"means": variants[title]["values"]} for name, title in relatives.items()}
    assert unseen_means(reports, "seen-source").idxmax() == "ntf"
    assert unseen_means(reports, "unseen-source").idxmax() == "cross_entropy"
    zoo = {name: recorded("generalization_zoo")["detectors"][name] for name in relatives}
    assert unseen_means(zoo, "unseen-source").idxmax() == "supcon"
