import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from helpers.evaluation import metrics
from helpers.evaluation.metrics import MetricError
from helpers.evaluation.metrics.ranking import RANKING, Ranked

BOTH = st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda labels: len(set(labels)) == 2)


def reference_rates(labels, scores, weights):
    """TPR and FPR by definition: loop over all thresholds."""
    rates = []
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        rates.append(
            [(weights * called * (labels == side)).sum() / (weights * (labels == side)).sum() for side in (1, 0)]
        )
    return np.array(rates).T


def reference_eer(labels, scores):
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    # A path along the polygon, so that upright pieces are no trouble.
    path = np.arange(len(fpr))
    result = brentq(lambda place: np.interp(place, path, tpr) + np.interp(place, path, fpr) - 1, 0, len(fpr) - 1)
    return np.interp(result, path, fpr)


@given(labels=BOTH, data=st.data())
@settings(max_examples=80, deadline=None)
def test_numbers_agree_with_a_second_implementation(labels: list[int], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, 8), min_size=len(labels), max_size=len(labels)))
    truth, scores = np.array(labels), np.array(drawn, float)
    tpr, fpr = reference_rates(truth, scores, np.ones(len(truth)))
    steps, precision = np.diff(tpr, prepend=0), tpr / (tpr + fpr)
    assert metrics.average_precision(truth, scores) == pytest.approx((steps * precision).sum())
    assert metrics.equal_error_rate(truth, scores) == pytest.approx(reference_eer(truth, scores), abs=1e-9)
    for limit in (0.0, 0.01, 0.3):
        assert metrics.tpr_at_fpr(truth, scores, limit) == pytest.approx(max([0, *tpr[fpr <= limit]]))
    got = metrics.ranking_intervals(truth, scores, range(len(truth)), n_draws=3)
    assert got["ap"].value == pytest.approx(metrics.average_precision(truth, scores))
    assert got["auc"].value == pytest.approx(metrics.auc(truth, scores))
    assert got["eer"].value == pytest.approx(metrics.equal_error_rate(truth, scores))
    assert got["tpr_at_1_fpr"].value == pytest.approx(metrics.tpr_at_fpr(truth, scores))
    assert all(0 <= each.low <= each.value + 1e-12 and each.value - 1e-12 <= each.high <= 1 for each in got.values())


def test_weighted_ranks_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 2, 200), rng.integers(0, 30, 200).astype(float)
    weights = rng.integers(0, 4, (5, 200)).astype(float)
    rates = Ranked(truth, scores).rates(weights)
    for row, each in enumerate(weights):
        totals = np.bincount(truth, each)
        equal = each / totals[truth]
        assert RANKING["auc"](*rates)[row] == pytest.approx(roc_auc_score(truth, scores, sample_weight=each))
        assert RANKING["ap"](*rates)[row] == pytest.approx(average_precision_score(truth, scores, sample_weight=equal))
        tpr, fpr = reference_rates(truth, scores, each)
        assert (rates[0][row], rates[1][row]) == (pytest.approx(tpr), pytest.approx(fpr))
        assert RANKING["tpr_at_1_fpr"](*rates)[row] == pytest.approx(max([0, *tpr[fpr <= 0.01]]))


def test_average_precision_weighs_the_classes_equally() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1], [900, 100])
    scores = rng.normal(truth)
    balanced_by_copies = np.concatenate([np.flatnonzero(truth == 0), np.tile(np.flatnonzero(truth == 1), 9)])
    expected = average_precision_score(truth[balanced_by_copies], scores[balanced_by_copies])
    assert metrics.average_precision(truth, scores) == pytest.approx(expected)
    assert average_precision_score(truth, scores) < expected - 0.2  # the usual one is another number
    assert metrics.average_precision(truth, np.zeros(1000)) == pytest.approx(0.5)


def test_known_values() -> None:
    assert metrics.equal_error_rate([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert metrics.equal_error_rate([0, 0, 1, 1], [3, 4, 1, 2]) == 1
    assert metrics.equal_error_rate([0, 1], [0, 0]) == 0.5
    truth = np.repeat([0, 1], 200)
    scores = np.r_[np.arange(200.0), np.full(100, 196.5), np.full(100, 197.5)]
    assert metrics.tpr_at_fpr(truth, scores) == 0.5  # 2 of 200 reals lie above 197.5 (1 %), 3 above 196.5
    assert metrics.tpr_at_fpr(truth, scores, 0.015) == 1


def test_binormal_equal_error_rate() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1], 40_000)
    assert metrics.equal_error_rate(truth, rng.normal(truth * 2.0)) == pytest.approx(norm.sf(1), abs=0.005)


def test_intervals_agree_with_the_general_bootstrap() -> None:
    """The same draws, once as weights and once as repeated rows given to scikit-learn: equal spread."""
    rng = np.random.default_rng(3)
    truth, groups = np.repeat([0, 1], [40, 60]), np.repeat(np.arange(20), 5)
    scores = rng.normal(truth)
    weights, count = metrics.cluster_weights(groups, strata=truth, n_draws=300, seed=4)
    draws = []
    for each in weights:
        rows = np.repeat(np.arange(100), each.astype(int))
        equal = 1 / np.bincount(truth[rows])[truth[rows]]
        draws.append(average_precision_score(truth[rows], scores[rows], sample_weight=equal))
    got = metrics.ranking_intervals(truth, scores, groups, n_draws=300, seed=4)["ap"]
    expected = metrics.rate_interval(got.value, draws, level=0.95, n=count, smallest=8)
    assert (got.low, got.high, got.n) == (pytest.approx(expected.low), pytest.approx(expected.high), 20)


def test_impossible_input() -> None:
    for function in (metrics.average_precision, metrics.equal_error_rate, metrics.tpr_at_fpr):
        with pytest.raises(MetricError, match="both"):
            function([1, 1], [0.0, 1.0])


def binormal_ap(distance: float) -> float:
    """Balanced AP of reals N(0, 1) and fakes N(distance, 1): the mean precision at the scores of fakes."""

    def integrand(score: float) -> float:
        fake, real = norm.sf(score - distance), norm.sf(score)
        return norm.pdf(score - distance) * fake / (fake + real)

    return float(quad(integrand, -10, 10 + distance)[0])


def test_binormal_ap_is_what_large_samples_reach() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat([0, 1], [80_000, 20_000])
    assert metrics.average_precision(truth, rng.normal(truth * 1.5)) == pytest.approx(binormal_ap(1.5), abs=0.005)


def coverage(distance: float, n_real: int, n_fake: int, clusters_known: bool, n_runs: int = 500) -> float:
    """Share of simulated data sets whose 95 % interval holds the true AP; three images a source, correlation 0.5."""
    rng, truth = np.random.default_rng(6), np.repeat([0, 1], [3 * n_real, 3 * n_fake])
    sources = np.repeat(np.arange(n_real + n_fake), 3)
    groups = sources if clusters_known else np.arange(len(truth))
    expected, held = binormal_ap(distance), 0
    for run in range(n_runs):
        own, shared = rng.normal(size=len(truth)), rng.normal(size=n_real + n_fake)[sources]
        scores = distance * truth + np.sqrt(0.5) * (own + shared)
        result = metrics.ranking_intervals(truth, scores, groups, n_draws=150, seed=run)["ap"]
        held += result.low <= expected <= result.high
    return held / n_runs


@pytest.mark.slow
def test_intervals_hold_a_known_ap_as_often_as_they_say() -> None:
    assert 0.92 <= coverage(1.5, 100, 60, clusters_known=True) <= 0.98


@pytest.mark.slow
def test_near_perfect_detectors_are_covered_too() -> None:
    assert 0.92 <= coverage(2.5, 100, 40, clusters_known=True) <= 0.98


def test_ignoring_sources_claims_too_much() -> None:
    assert coverage(1.5, 100, 60, clusters_known=False, n_runs=150) < 0.88
