import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from helpers.evaluation import metrics
from helpers.evaluation.metrics import MetricError


@given(
    labels=st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda result: len(set(result)) == 2),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_auc_is_mann_whitney(labels: list[int], data: st.DataObject) -> None:
    scores = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(labels), max_size=len(labels))), float)
    fake, real = scores[np.array(labels) == 1], scores[np.array(labels) == 0]
    expected = mannwhitneyu(fake, real).statistic / (len(fake) * len(real))
    assert metrics.auc(labels, scores) == pytest.approx(expected)
    interval = metrics.auc_interval(labels, scores, range(len(labels)), n_draws=5)
    assert interval.value == pytest.approx(expected)
    assert metrics.auc(labels, -scores) == pytest.approx(1 - expected)


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([0, 0], [1, 2], "both"),
        ([0, 1, 2], [1, 2, 3], "0 and 1"),
        ([0, 1], [1], "length"),
        ([0, 1], [1, math.nan], "finite"),
    ],
)
def test_impossible_input(labels: list[int], scores: list[float], reason: str) -> None:
    with pytest.raises(MetricError, match=reason):
        metrics.auc(labels, scores)


def test_blocks_compare_within_only() -> None:
    # Each block ranks perfectly, but the second block's scores all lie below the first's: pooled ranking is poor.
    labels, scores, blocks = [0, 1, 0, 1], [10.0, 11.0, 0.0, 1.0], [0, 0, 1, 1]
    assert metrics.auc(labels, scores) == 0.75
    assert metrics.auc_interval(labels, scores, range(4), blocks=blocks, n_draws=20).value == 1.0
    with pytest.raises(MetricError, match="no block"):
        metrics.auc_interval(labels, scores, range(4), blocks=labels)


def test_constant_score() -> None:
    interval = metrics.auc_interval([0, 1, 0, 1, 1], np.zeros(5), list("aabbc"), n_draws=10)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_clusters_widen_the_interval() -> None:
    """Copies of one image carry no news: with copies as clusters the interval is that of the originals."""
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1], 20)
    scores = rng.normal(truth * 1.0, 1.0)
    many = [np.repeat(values, 25) for values in (truth, scores, np.arange(40))]
    alone = metrics.auc_interval(truth, scores, np.arange(40), n_draws=2000, seed=3)
    clustered = metrics.auc_interval(*many, n_draws=2000, seed=3)
    ignored = metrics.auc_interval(many[0], many[1], np.arange(1000), n_draws=500, seed=3)
    assert clustered.n == alone.n == 40
    assert clustered.low == pytest.approx(alone.low, abs=1e-9)
    assert clustered.high == pytest.approx(alone.high, abs=1e-9)
    assert ignored.high - ignored.low < 0.4 * (clustered.high - clustered.low)


def test_auc_interval_agrees_with_the_general_bootstrap() -> None:
    rng = np.random.default_rng(2)
    truth, groups = np.repeat([0, 1], 30), np.repeat(np.arange(20), 3)
    scores = rng.normal(truth, 1.0)
    fast = metrics.auc_interval(truth, scores, groups, n_draws=200, seed=5)
    general = metrics.cluster_bootstrap(
        lambda rows: roc_auc_score(truth[rows], scores[rows]), groups, n_draws=200, seed=5, strata=truth
    )
    assert (fast.value, fast.low, fast.high, fast.n) == pytest.approx(
        (general.value, general.low, general.high, general.n)
    )


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    # 60 clusters of 4 equal values: the mean's standard error is that of 60 independent values.
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 1, 60)
    values, groups = np.repeat(centres, 4), np.repeat(np.arange(60), 4)
    interval = metrics.cluster_bootstrap(lambda rows: float(values[rows].mean()), groups, n_draws=4000)
    expected = norm.ppf(0.975) * centres.std() / math.sqrt(60)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(expected, rel=0.06)
    assert interval.n == 60


def test_bootstrap_repeats_and_leaves_undefined_draws_out() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0])

    def statistic(rows: np.ndarray) -> float:
        return float(values[rows].sum())

    first, second = (metrics.cluster_bootstrap(statistic, range(4), n_draws=50, seed=9) for _ in range(2))
    assert (first.low, first.high) == (second.low, second.high)
    assert not math.isnan(first.low)
    with pytest.raises(MetricError):
        metrics.cluster_bootstrap(statistic, [])


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (50, 100), (1, 1)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_formula(successes: int, trials: int, level: float) -> None:
    z, share = norm.ppf((1 + level) / 2), successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    got = metrics.wilson_interval(successes, trials, level)
    assert (got.low, got.high) == pytest.approx((max(0.0, centre - half), min(1.0, centre + half)), abs=1e-12)
    assert (got.value, got.n, got.level) == (share, trials, level)


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 5), (6, 5)])
def test_no_share(successes: int, trials: int) -> None:
    with pytest.raises(MetricError):
        metrics.wilson_interval(successes, trials)


def test_interval_reads_well() -> None:
    assert str(metrics.Interval(0.5, 0.25, 0.75, 0.95, 4)) == "0.500 [0.250, 0.750]"


def test_rate_interval_is_symmetric_in_the_logit() -> None:
    draws = 0.8 + 0.02 * norm.ppf((np.arange(2000) + 0.5) / 2000)
    wide, narrow = (metrics.rate_interval(0.8, draws, level=0.95, n=99, smallest=n) for n in (6, 100_000))
    reach = 1.96 * 0.02 / (0.8 * 0.2)
    centre = math.log(0.8 / 0.2)
    assert narrow.low == pytest.approx(1 / (1 + math.exp(reach - centre)), abs=1e-4)
    assert narrow.high == pytest.approx(1 / (1 + math.exp(-reach - centre)), abs=1e-4)
    logits = [math.log(end / (1 - end)) - centre for end in (wide.low, wide.high)]
    assert logits == pytest.approx([-reach * 2.5706 / 1.96, reach * 2.5706 / 1.96], rel=1e-2)  # Student's t, 5 degrees
    assert narrow.n == 99
    near_one = metrics.rate_interval(0.999, np.array([0.99, 1.0, 1.0]), level=0.95, n=9, smallest=9)
    assert 0 < near_one.low < 0.999 < near_one.high < 1


@pytest.mark.parametrize("value", [0.0, 1.0, 1 - 1e-15])
def test_a_perfect_rate_is_not_certain(value: float) -> None:
    result = metrics.rate_interval(value, np.full(10, value), level=0.95, n=60, smallest=20)
    expected = metrics.wilson_interval(20 * round(value), 20)
    assert (result.value, result.low, result.high, result.n) == (value, expected.low, expected.high, 60)
    assert result.high - result.low > 0.1


def test_difference_interval_is_symmetric() -> None:
    rng = np.random.default_rng(4)
    result = metrics.difference_interval(-0.1, rng.normal(0, 0.05, 20_000), level=0.9, n=80, smallest=11)
    assert (result.low + result.high) / 2 == pytest.approx(-0.1)
    assert result.high - result.low == pytest.approx(2 * 1.8125 * 0.05, rel=0.02)  # Student's t, 10 degrees
    assert metrics.difference_interval(0.0, np.zeros(5), level=0.95, n=4, smallest=1).high == 0


def test_weights_draw_whole_clusters_within_strata() -> None:
    groups, strata = np.array(list("aabbccdd")), np.repeat([0, 1], [6, 2])
    draws, count = metrics.cluster_weights(groups, strata=strata, n_draws=400, seed=[1, 2])
    table = np.stack(list(draws))
    assert (table.shape, count) == ((400, 8), 4)
    assert (table[:, ::2] == table[:, 1::2]).all()
    assert (table[:, :6:2].sum(1) == 3).all()
    assert (table[:, 6] == 1).all()  # the only cluster of its stratum
    assert table[:, :6].mean(0) == pytest.approx(np.ones(6), abs=0.15)
    again, _ = metrics.cluster_weights(groups, strata=strata, n_draws=400, seed=[1, 2])
    assert (np.stack(list(again)) == table).all()
