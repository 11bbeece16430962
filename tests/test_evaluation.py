import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from helpers.errors import NaturalTracesError
from helpers.evaluation import metrics
from helpers.evaluation.report import METRICS, EvaluationError, Report, compare, evaluate, tiers_of

THRESHOLD = 0.7
SEEN = {"seen_generators": {"old", "absent"}, "seen_sources": {"album", "elsewhere"}}


def scores_table(seed: int = 0, quality: float = 1.5, n: int = 60, noise_seed: int | None = None) -> pd.DataFrame:
    """Reals of a seen and of two unseen collections, fakes of one seen and two unseen generators."""
    rng = np.random.default_rng(seed)
    parts = [("real", "", "album", 2 * n), ("real", "", "attic", n), ("real", "", "cellar", n // 2)]
    parts += [("fake", "old", "hub", n), ("fake", "new", "hub", n), ("fake", "newer", "hub", n // 2)]
    rows = [(label, name, "kind" if name else "", source) for label, name, source, count in parts for _ in range(count)]
    df = pd.DataFrame(rows, columns=["label", "generator", "family", "source"])
    df["path"] = [f"images/{number:04}.png" for number in rng.permutation(len(df))]
    own = np.random.default_rng(seed if noise_seed is None else noise_seed).normal(size=len(df))
    df["score"] = quality * (df["label"] == "fake") + 0.3 * (df["source"] == "attic") + own
    return df.assign(probability=expit(2 * df["score"] - 1.4))


def cell(df: pd.DataFrame, tier: str, generator: str) -> tuple[pd.DataFrame, np.ndarray]:
    real = (df["label"] == "real") & ((df["source"] == "album") == (tier == "seen-source"))
    part = df[real | (df["generator"] == generator)]
    return part, (part["label"] == "fake").to_numpy(int)


def short(tables, thresholds=THRESHOLD, **options) -> Report:
    return evaluate(tables, thresholds, **{"n_draws": 20, **SEEN, **options})


def test_every_number_agrees_with_the_metrics_of_its_cell() -> None:
    df = scores_table()
    report = short(df)
    assert [(row.tier, row.generator, row.seen) for row in report.rows] == [
        (tier, name, name == "old") for tier in ("seen-source", "unseen-source") for name in ("new", "newer", "old")
    ]
    for row in report.rows:
        part, truth = cell(df, row.tier, row.generator)
        accuracy = metrics.accuracy_at(truth, part["score"], THRESHOLD)
        expected = {
            "ap": metrics.average_precision(truth, part["score"]),
            "auc": roc_auc_score(truth, part["score"]),
            "accuracy": accuracy.balanced,
            "accuracy_real": accuracy.real,
            "accuracy_fake": accuracy.fake,
            "ece": metrics.calibration_error(truth, part["probability"]),
            "brier": metrics.brier_score(truth, part["probability"]),
            "tpr_at_1_fpr": metrics.tpr_at_fpr(truth, part["score"]),
            "eer": metrics.equal_error_rate(truth, part["score"]),
        }
        assert {name: result.value for name, result in row.metrics.items()} == pytest.approx(expected)
        assert tuple(row.metrics) == METRICS
        assert (row.n_real, row.n_fake) == ((truth == 0).sum(), (truth == 1).sum())
        assert row.family == "kind"


def test_means_weigh_generators_equally_and_seen_apart() -> None:
    report = short(scores_table())
    for tier in report.tiers:
        unseen, seen = report.mean(tier), report.mean(tier, "seen")
        assert (unseen.generators, seen.generators) == (("new", "newer"), ("old",))
        for name in METRICS:
            one, two = (report.row(tier, generator).metrics[name].value for generator in unseen.generators)
            assert unseen.metrics[name].value == pytest.approx((one + two) / 2)
            assert unseen.per_run[name] == pytest.approx([unseen.metrics[name].value])
        assert seen.metrics == report.row(tier, "old").metrics


def test_intervals_agree_with_a_bootstrap_by_hand() -> None:
    """Rows drawn by hand and given to the plain functions: reals once for both generators, fakes of each apart."""
    df = scores_table(n=40)
    rng, draws = np.random.default_rng(1), []
    reals = np.flatnonzero(df["source"] == "album")
    fakes = {name: np.flatnonzero(df["generator"] == name) for name in ("new", "newer")}
    scores, stated = df["score"].to_numpy(), df["probability"].to_numpy()
    for _ in range(600):
        real, result = rng.choice(reals, len(reals)), []
        for members in fakes.values():
            rows = np.concatenate([real, rng.choice(members, len(members))])
            truth = np.repeat([0, 1], [len(real), len(members)])
            accuracy = metrics.accuracy_at(truth, scores[rows], THRESHOLD)
            numbers = metrics.average_precision(truth, scores[rows]), metrics.calibration_error(truth, stated[rows])
            result.append((*numbers, accuracy.balanced, accuracy.real))
        draws.append(np.mean(result, axis=0))
    report = evaluate(df, THRESHOLD, n_draws=2000, **SEEN)
    mean = report.mean("seen-source")
    for name, by_hand, smallest in zip(
        ("ap", "ece", "accuracy", "accuracy_real"), np.array(draws).T, (60, 60, 60, 80), strict=True
    ):
        got = mean.metrics[name]
        expected = metrics.rate_interval(got.value, by_hand, level=0.95, n=140, smallest=smallest)
        width = expected.high - expected.low
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.08 * width)
    # Drawing the reals anew for each generator would claim too little spread.
    rows = [report.row("seen-source", name).metrics["accuracy_real"] for name in ("new", "newer")]
    assert mean.metrics["accuracy_real"].low == pytest.approx(rows[0].low)
    assert rows[0] == rows[1]


def test_several_runs_are_averaged_within_each_draw() -> None:
    tables = [scores_table(noise_seed=seed) for seed in (1, 2, 3)]
    shuffled = [tables[0], *(table.sample(frac=1, random_state=0) for table in tables[1:])]
    limits = [0.5, 0.7, 0.9]
    report = short(shuffled, limits, n_draws=200)
    single = [short(table, limit, n_draws=200) for table, limit in zip(tables, limits, strict=True)]
    assert (report.runs, report.thresholds) == (3, (0.5, 0.7, 0.9))
    for name in METRICS:
        values = [each.mean("seen-source").metrics[name].value for each in single]
        assert report.mean("seen-source").per_run[name] == pytest.approx(values)
        assert report.mean("seen-source").metrics[name].value == pytest.approx(np.mean(values))
    # Runs with noise of their own: the mean of three varies less than one of them.
    widths = [
        each.mean("seen-source").metrics["ap"].high - each.mean("seen-source").metrics["ap"].low for each in single
    ]
    result = report.mean("seen-source").metrics["ap"]
    assert result.high - result.low < 0.8 * np.mean(widths)
    # The same run three times is no news.
    again, once = short([tables[0]] * 3, [0.5] * 3, n_draws=200), single[0]
    for name, result in again.mean("seen-source").metrics.items():
        expected = once.mean("seen-source").metrics[name]
        assert (result.value, result.low, result.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_draws_depend_on_nothing_but_the_images_of_the_cell() -> None:
    df = scores_table()
    report = short(df)
    assert short(df.sample(frac=1, random_state=3)).row("unseen-source", "new").metrics["ap"].low == pytest.approx(
        report.row("unseen-source", "new").metrics["ap"].low
    )
    fewer = short(df[df["generator"] != "newer"])
    assert fewer.row("unseen-source", "new").metrics == report.row("unseen-source", "new").metrics
    other = short(df, seed=1)
    assert other.row("unseen-source", "new").metrics["ap"].low != report.row("unseen-source", "new").metrics["ap"].low


def test_draws_do_not_depend_on_how_many_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = short(scores_table())
    monkeypatch.setattr("helpers.evaluation.report.CHUNK", 7 * len(scores_table()))
    assert short(scores_table()).to_dict() == whole.to_dict()


# Tiers, generators, clusters


def test_tiers_come_from_the_table_where_it_states_them() -> None:
    df = scores_table().assign(tier="")
    df.loc[df["source"] == "cellar", "tier"] = "seen-source"
    df.loc[df["source"] == "attic", "tier"] = "family photos"
    result = tiers_of(df, {"album"})
    assert dict(zip(df["source"], result, strict=True)) == {
        "album": "seen-source",
        "attic": "family photos",
        "cellar": "seen-source",
        "hub": "unseen-source",
    }
    report = short(df)
    assert report.tiers == ("seen-source", "family photos")
    assert report.row("seen-source", "new").n_real == 150
    df["tier"] = df["tier"].replace("", np.nan)
    assert short(df).to_dict() == report.to_dict()


def test_what_nobody_heard_of_is_unseen() -> None:
    df = scores_table()
    df = df[df["source"].isin(["attic", "hub"])]  # one source of real images, and none in a tier "seen"
    report = evaluate(df, THRESHOLD, seen_generators=(), seen_sources=(), n_draws=20)
    assert report.tiers == ("unseen-source",)
    assert [mean.over for mean in report.means] == ["unseen"]
    assert report.mean("unseen-source").generators == ("new", "newer", "old")
    with pytest.raises(EvaluationError, match="seen generators"):
        report.mean("unseen-source", "seen")
    with pytest.raises(EvaluationError, match="'odd'"):
        report.row("unseen-source", "odd")


def test_auto_takes_sources_where_there_are_ten_and_images_elsewhere() -> None:
    df = scores_table()
    album = df["source"] == "album"
    df.loc[album, "source"] = [f"photo {number // 4}" for number in range(album.sum())]
    options = {**SEEN, "seen_sources": {f"photo {number}" for number in range(99)}}
    report = short(df, **options)
    row = report.row("seen-source", "new")
    assert (row.real_clusters.unit, row.real_clusters.n) == ("source", 30)
    assert (row.fake_clusters.unit, row.fake_clusters.n) == ("image", 60)
    assert row.metrics["ap"].n == 90
    assert report.mean("seen-source").metrics["ap"].n == 30 + 60 + 30
    unseen = report.row("unseen-source", "new")  # attic and cellar: two sources
    assert (unseen.real_clusters.unit, unseen.real_clusters.n) == ("image", 90)
    forced = short(df, cluster="source", **options)
    assert forced.row("unseen-source", "new").real_clusters.n == 2
    assert forced.row("unseen-source", "new").fake_clusters.unit == "image"  # one source: nothing to resample
    assert short(df, cluster="image", **options).row("seen-source", "new").real_clusters.n == 120


def test_clusters_widen_intervals() -> None:
    """Every image four times under one photograph's name: with clusters the interval is that of single images."""
    df = scores_table(n=40)
    df["photo"] = df["path"]
    copies = pd.concat([df.assign(path=df["path"] + str(number)) for number in range(4)])
    alone, clustered, ignored = (
        short(table, cluster=cluster, n_draws=300).row("seen-source", "new").metrics["ap"]
        for table, cluster in ((df, "photo"), (copies, "photo"), (copies, "image"))
    )
    assert (clustered.low, clustered.high, clustered.n) == pytest.approx((alone.low, alone.high, 120))
    assert ignored.high - ignored.low < 0.6 * (alone.high - alone.low)


def test_a_column_with_empty_cells_lets_those_rows_stand_alone() -> None:
    df = scores_table().assign(prompt="")
    new = df["generator"] == "new"
    df.loc[new, "prompt"] = [f"prompt {number % 15}" for number in range(new.sum())]
    row = short(df, cluster="prompt").row("seen-source", "new")
    assert (row.fake_clusters.n, row.real_clusters.n, row.real_clusters.unit) == (15, 120, "prompt")


def test_one_fake_is_enough_to_answer() -> None:
    df = scores_table()
    keep = (df["generator"] != "new") | (df.index == df.index[df["generator"] == "new"][0])
    result = short(df[keep]).row("seen-source", "new")
    assert result.n_fake == 1
    assert result.metrics["ap"].high - result.metrics["ap"].low > 0.7  # one image proves little
    assert result.metrics["accuracy_fake"].high - result.metrics["accuracy_fake"].low > 0.7


# Comparison


def test_a_detector_equals_itself() -> None:
    df = scores_table()
    report = compare(df, df.sample(frac=1, random_state=0), n_draws=20, **SEEN)
    for part in (*report.rows, *report.means):
        assert all((result.value, result.low, result.high) == (0, 0, 0) for result in part.metrics.values())
    assert set(report.mean("seen-source").metrics) == {"ap", "auc", "eer", "tpr_at_1_fpr"}


def test_differences_are_those_of_two_reports() -> None:
    better, worse = scores_table(quality=2.0), scores_table(quality=1.0, noise_seed=9)
    there, back = compare(better, worse, n_draws=50, **SEEN), compare(worse, better, n_draws=50, **SEEN)
    one, other = short(better), short(worse)
    for tier in there.tiers:
        for over in ("unseen", "seen"):
            for name, result in there.mean(tier, over).metrics.items():
                values = [each.mean(tier, over).metrics[name].value for each in (one, other)]
                assert result.value == pytest.approx(values[0] - values[1])
                mirrored = back.mean(tier, over).metrics[name]
                assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))
        assert there.mean(tier).metrics["ap"].low > 0


def test_pairing_sees_what_two_intervals_do_not() -> None:
    """The second detector is the first with slightly weaker fakes: each alone is uncertain, their difference is not."""
    first = scores_table(n=200)
    second = first.assign(score=first["score"] - 0.1 * (first["label"] == "fake"))
    result = compare(first, second, n_draws=200, **SEEN).mean("unseen-source").metrics["ap"]
    alone = [short(each, n_draws=200).mean("unseen-source").metrics["ap"] for each in (first, second)]
    assert result.low > 0
    assert alone[0].low < alone[1].high
    assert result.high - result.low < 0.2 * (alone[0].high - alone[0].low)


def test_comparison_over_runs() -> None:
    first = [scores_table(noise_seed=seed) for seed in (1, 2)]
    second = [scores_table(quality=1.0, noise_seed=seed) for seed in (3, 4)]
    both = compare(first, second, n_draws=50, **SEEN).mean("seen-source")
    pairs = [compare(*pair, n_draws=50, **SEEN).mean("seen-source") for pair in zip(first, second, strict=True)]
    assert both.per_run["ap"] == pytest.approx([pair.metrics["ap"].value for pair in pairs])
    assert both.metrics["ap"].value == pytest.approx(np.mean(both.per_run["ap"]))
    against_one = compare(first, second[0], n_draws=50, **SEEN).mean("seen-source")
    assert against_one.per_run["ap"][1] == pytest.approx(
        compare(first[1], second[0], n_draws=50, **SEEN).mean("seen-source").metrics["ap"].value
    )
    with pytest.raises(EvaluationError, match="paired"):
        compare(first, [*second, second[0]], **SEEN)


@pytest.mark.slow
def test_differences_of_equally_good_detectors_hold_zero() -> None:
    """Reals shared by both generators and correlated detectors, as on a benchmark; 200 data sets."""
    held = 0
    for run in range(200):
        shared = scores_table(seed=run, n=80)
        shared = shared[shared["source"].isin(["album", "hub"])]
        tables = [
            shared.assign(score=shared["score"] + np.random.default_rng([run, side]).normal(size=len(shared)))
            for side in (1, 2)
        ]
        result = compare(*tables, n_draws=100, **SEEN).mean("seen-source").metrics["ap"]
        held += result.low <= 0 <= result.high
    assert 0.91 <= held / 200 <= 0.985


# Output


def test_report_as_json_and_frame() -> None:
    report = short([scores_table(), scores_table(noise_seed=5)], [0.7, 1 / 3])
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["thresholds"] == [0.7, 0.333333]
    assert plain["bootstrap"] == {"cluster": "auto", "n_draws": 20, "seed": 0, "level": 0.95}
    assert len(plain["generators"]) == 6
    assert [mean["over"] for mean in plain["means"]] == ["unseen", "seen", "unseen", "seen"]
    first = plain["generators"][0]
    expected = report.row(first["tier"], first["generator"]).metrics["ap"]
    assert first["metrics"]["ap"] == {name: round(getattr(expected, name), 4) for name in ("value", "low", "high")}
    assert first["real_clusters"] == {"unit": "image", "n": 120}
    assert len(plain["means"][0]["per_run"]["ap"]) == 2
    frame = report.to_frame()
    assert list(frame["generator"]) == ["new", "newer", "old"] * 2 + ["mean of unseen", "mean of seen"] * 2
    assert frame.loc[0, "ap"] == expected.value
    assert {f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")} <= set(frame)
    assert not frame.isna().any(axis=None)


# Refusals


def test_unusable_tables() -> None:
    df = scores_table()
    again = pd.concat([df, df[:1]])
    cases = [
        (df[df["label"] == "real"], "no fake image"),
        (df[df["label"] == "fake"], "no real image"),
        (df.drop(columns=["source", "score"]), "source, score"),
        (df.drop(columns="probability"), "probability"),
        (df.assign(probability=1.5), "between 0 and 1"),
        (df.assign(probability=np.nan), "between 0 and 1"),
        (df.assign(score=np.where(df.index == 3, np.nan, df["score"])), "finite"),
        (df.assign(score="high"), "finite"),
        (df.assign(generator=""), "needs a generator"),
        (df.assign(label=np.where(df.index == 3, "unknown", df["label"])), "one of real, fake"),
        (again, "unique"),
    ]
    for table, reason in cases:
        with pytest.raises(NaturalTracesError, match=reason) as caught:
            short(table)
        assert "\n" not in str(caught.value)


def test_tables_and_options_that_do_not_fit() -> None:
    df = scores_table()
    for tables, limits, reason in [
        ([df, df], 0.5, "as many thresholds"),
        ([], [], "no table"),
        (df, np.inf, "finite"),
        ([df, df[:-1]], [0.5, 0.5], "same images"),
        ([df, df.assign(generator=df["generator"].replace("new", "other"))], [0.5, 0.5], "differ"),
    ]:
        with pytest.raises(EvaluationError, match=reason):
            short(tables, limits)
    with pytest.raises(EvaluationError, match="'city'"):
        short(df, cluster="city")
