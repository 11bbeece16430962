import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from helpers.evaluation import metrics
from helpers.evaluation.metrics import MetricError

BOTH = st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda labels: len(set(labels)) == 2)


def sample(n_real: int = 300, n_fake: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1], [n_real, n_fake])
    return truth, rng.normal(truth * 2.0 + 5.0)


# Threshold


@given(labels=BOTH, data=st.data())
@settings(max_examples=100, deadline=None)
def test_best_threshold_beats_every_other(labels: list[int], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    truth, scores = np.array(labels), np.array(drawn, float)
    threshold = metrics.threshold_of_best_accuracy(truth, scores)
    reached = metrics.accuracy_at(truth, scores, threshold)
    tried = [balanced_accuracy_score(truth, scores >= other) for other in np.arange(-0.5, 11)]
    assert reached.balanced == pytest.approx(max(tried))
    assert reached.balanced == pytest.approx(balanced_accuracy_score(truth, scores >= threshold))
    above, below = scores[scores >= threshold], scores[scores < threshold]
    if len(above):
        assert threshold - below.max() == pytest.approx(above.min() - threshold)  # the middle of the gap


def test_best_threshold_among_equals_lies_in_the_widest_gap() -> None:
    # Between 2 and 3 and between 4 and 9 accuracy is the same, 0.75.
    assert metrics.threshold_of_best_accuracy([0, 1, 0, 1], [2.0, 3.0, 4.0, 9.0]) == 6.5
    assert metrics.threshold_of_best_accuracy([0, 1, 0, 1], [-2.0, 3.0, 4.0, 5.0]) == 0.5


def test_a_useless_score_calls_everything_real() -> None:
    for scores in (np.zeros(4), [3.0, 4.0, 1.0, 2.0]):
        threshold = metrics.threshold_of_best_accuracy([0, 0, 1, 1], scores)
        assert np.isfinite(threshold)
        assert metrics.accuracy_at([0, 0, 1, 1], scores, threshold) == metrics.Accuracy(1.0, 0.0)


def test_threshold_separates_neighbouring_floats() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2))
    assert (
        metrics.accuracy_at([0, 1], [low, high], metrics.threshold_of_best_accuracy([0, 1], [low, high])).balanced == 1
    )


@given(labels=BOTH, data=st.data(), limit=st.sampled_from([0.0, 0.05, 0.25, 0.5]))
@settings(max_examples=100, deadline=None)
def test_threshold_at_fpr_is_the_lowest_allowed(labels: list[int], data: st.DataObject, limit: float) -> None:
    drawn = data.draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    truth, scores = np.array(labels), np.array(drawn, float)
    threshold = metrics.threshold_at_fpr(truth, scores, limit)
    real = scores[truth == 0]
    assert (real >= threshold).mean() <= limit
    next_lower = real[real < threshold].max()
    assert (real >= next_lower).mean() > limit


def test_threshold_at_fpr_needs_a_share() -> None:
    for share in (-0.1, 1.0):
        with pytest.raises(MetricError, match="share"):
            metrics.threshold_at_fpr([0, 1], [0.0, 1.0], share)


def test_accuracy_counts_the_threshold_as_fake() -> None:
    assert metrics.accuracy_at([0, 0, 0, 1], [0.0, 0.4, 0.5, 0.5], 0.5) == metrics.Accuracy(2 / 3, 1.0)
    assert metrics.accuracy_at([0, 0, 0, 1], [0.0, 0.4, 0.5, 0.5], 0.5).balanced == pytest.approx(5 / 6)


# Calibration


@pytest.mark.parametrize("balanced", [True, False])
def test_temperature_agrees_with_logistic_regression(balanced: bool) -> None:
    truth, scores = sample()
    # Platt's targets as pairs of hard labels with weights, for another solver.
    counts = np.bincount(truth)
    share = np.where(truth == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    base = metrics.balanced_weights(truth) if balanced else np.full(len(truth), 1 / len(truth))
    inputs, labels = np.tile(scores, 2)[:, None], np.repeat([1, 0], len(truth))
    weights = np.concatenate([base * share, base * (1 - share)]) * 1000
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=10_000).fit(inputs, labels, sample_weight=weights)
    result = metrics.fit_platt(truth, scores, balanced=balanced)
    assert result.scale == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert result.bias == pytest.approx(model.intercept_[0], rel=1e-3)
    assert result.apply(scores) == pytest.approx(model.predict_proba(scores[:, None])[:, 1], abs=1e-3)


def test_temperature_finds_the_truth() -> None:
    # Reals N(5, 1), fakes N(7, 1), equally many: log odds are 2 * score - 12.
    result = metrics.fit_platt(*sample(40_000, 10_000))
    assert (result.scale, result.bias) == (pytest.approx(2, rel=0.05), pytest.approx(-12, rel=0.05))
    assert result.apply([[6.0]])[0, 0] == pytest.approx(0.5, abs=0.02)
    assert metrics.PlattScaling(2.0, -1.0).apply([0.0, 3.0]) == pytest.approx(expit([-1, 5]))


def test_temperature_of_hard_cases_is_finite() -> None:
    perfect = metrics.fit_platt([0, 0, 1, 1], [0.0, 1.0, 2.0, 3.0])
    assert 0 < perfect.scale < 20
    assert metrics.fit_platt([0, 0, 1, 1], [3.0, 2.0, 1.0, 0.0]).scale == 0
    constant = metrics.fit_platt([0, 0, 1], [4.0, 4.0, 4.0])
    assert constant.apply([4.0])[0] == pytest.approx((1 / 4 + 2 / 3) / 2, abs=1e-4)  # mean of Platt's two targets
    shifted = metrics.fit_platt([0, 0, 1, 1], np.array([0.0, 1.0, 2.0, 3.0]) * 1e-6 + 1.0)
    assert shifted.scale == pytest.approx(perfect.scale * 1e6, rel=1e-3)


def test_calibrations_survive_json() -> None:
    truth, scores = sample()
    fitted = metrics.fit_platt(truth, scores)
    again = metrics.PlattScaling(**json.loads(json.dumps(asdict(fitted))))
    assert (again.apply(scores) == fitted.apply(scores)).all()


# How far it is off


def test_calibration_error_by_hand() -> None:
    # Bins 0-0.1: one real at 0.05; 0.7-0.8: two fakes and a real at 0.75; 0.9-1: a fake at 1.
    labels, stated = [0, 1, 1, 0, 1], [0.05, 0.75, 0.75, 0.75, 1.0]
    assert metrics.calibration_error(labels, stated, balanced=False) == pytest.approx(
        (1 * 0.05 + 3 * abs(0.75 - 2 / 3) + 0) / 5
    )
    # Balanced: a real weighs 1/4, a fake 1/6.
    middle = 2 / 6 + 1 / 4
    assert metrics.calibration_error(labels, stated) == pytest.approx(
        0.25 * 0.05 + middle * abs(0.75 - (2 / 6) / middle)
    )


def test_reliability_curve_agrees_with_scikit_learn() -> None:
    truth, scores = sample()
    stated = expit(scores - 5.5)
    curve = metrics.reliability_curve(truth, stated, n_bins=7, balanced=False)
    observed, predicted = calibration_curve(truth, stated, n_bins=7)
    assert curve["observed"].to_numpy() == pytest.approx(observed)
    assert curve["predicted"].to_numpy() == pytest.approx(predicted)
    assert (curve["n"].sum(), curve["weight"].sum()) == (400, pytest.approx(1))
    assert ((curve["low"] <= curve["predicted"]) & (curve["predicted"] <= curve["high"])).all()


def test_balanced_numbers_do_not_depend_on_counts() -> None:
    truth, scores = sample()
    stated = expit(scores - 5.5)
    more = np.concatenate([np.flatnonzero(truth == 0), np.tile(np.flatnonzero(truth == 1), 5)])
    for number in (metrics.calibration_error, metrics.brier_score):
        assert number(truth[more], stated[more]) == pytest.approx(number(truth, stated))
        assert abs(number(truth[more], stated[more], balanced=False) - number(truth, stated, balanced=False)) > 0.01


def test_calibrating_lowers_the_errors() -> None:
    truth, scores = sample(2000, 1000)
    fresh_truth, fresh = sample(2000, 1000, seed=1)
    raw = expit(4 * (fresh - 5))
    stated = metrics.fit_platt(truth, scores).apply(fresh)
    assert metrics.calibration_error(fresh_truth, stated) < 0.04 < metrics.calibration_error(fresh_truth, raw)
    assert metrics.brier_score(fresh_truth, stated) < metrics.brier_score(fresh_truth, raw)


def test_brier_score_by_hand() -> None:
    assert metrics.brier_score([0, 0, 1], [0.0, 0.5, 0.5]) == pytest.approx((0.125 + 0.25) / 2)
    assert metrics.brier_score([0, 0, 1], [0.0, 0.5, 0.5], balanced=False) == pytest.approx(0.5 / 3)


def test_probabilities_must_be_such() -> None:
    for number in (metrics.calibration_error, metrics.brier_score, metrics.reliability_curve):
        with pytest.raises(MetricError, match="between 0 and 1"):
            number([0, 1], [0.5, 1.5])
