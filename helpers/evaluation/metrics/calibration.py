"""From a score to a decision and to a probability: thresholds, calibration, and how far it is off.

A threshold and a calibration belong to the detector: they are fitted on validation images, stored, and never touched
again. An image is called fake where its score is at or above the threshold.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from helpers.evaluation.metrics.checks import MetricError, balanced_weights, checked, checked_probabilities

__all__ = [
    "Accuracy",
    "PlattScaling",
    "accuracy_at",
    "bins",
    "brier_score",
    "calibration_error",
    "fit_platt",
    "reliability_curve",
    "threshold_at_fpr",
    "threshold_of_best_accuracy",
]

N_BINS = 10


# Threshold


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers at one threshold.

    Attributes:
        real: Share of real images called real.
        fake: Share of fakes called fake.
    """

    real: float
    fake: float

    @property
    def balanced(self) -> float:
        """Mean of both: the accuracy on a set with as many real as fake images."""
        return (self.real + self.fake) / 2


def accuracy_at(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Accuracy:
    """Compute the accuracy on real and on fake at a threshold.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake; at or above the threshold an image is called fake.
        threshold: As fitted on validation images.

    Returns:
        Shares in [0, 1].

    Raises:
        MetricError: Lengths differ, a value is not finite, or a class is missing.

    >>> accuracy_at([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], 0.5)
    Accuracy(real=0.5, fake=1.0)
    """
    truth, values = checked(labels, scores)
    called = values >= threshold
    return Accuracy(float((~called[truth == 0]).mean()), float(called[truth == 1].mean()))


def threshold_of_best_accuracy(labels: ArrayLike, scores: ArrayLike) -> float:
    """Find the threshold that maximises balanced accuracy; for validation scores only.

    All thresholds between two neighbouring scores are equally good, so the middle of the gap is taken. Where several
    gaps are equally good, it is the widest of them, and the lowest of the widest.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.

    Returns:
        Finite threshold. A score that is no better than a constant gets one just above its maximum: all is called real.

    Raises:
        MetricError: As `accuracy_at`.

    >>> threshold_of_best_accuracy([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    0.4
    """
    truth, values = checked(labels, scores)
    levels, rank = np.unique(values, return_inverse=True)
    weights = balanced_weights(truth)
    real, fake = (np.bincount(rank[truth == label], weights[truth == label], len(levels)) for label in (0, 1))
    gain = np.round(np.cumsum(real - fake)[:-1], 12)  # above a constant's accuracy, in the gap above each level
    if len(gain) == 0 or gain.max() <= 0:
        return float(np.nextafter(levels[-1], np.inf))
    best = np.flatnonzero(gain == gain.max())
    chosen = best[np.diff(levels)[best].argmax()]
    return _middle(levels[chosen], levels[chosen + 1])


def threshold_at_fpr(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.05) -> float:
    """Find the lowest threshold that calls at most `max_fpr` of the real images fake; for validation scores only.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.
        max_fpr: Allowed share of reals called fake, in [0, 1).

    Returns:
        Finite threshold: the middle of the gap between two real scores, or just above the highest real score.

    Raises:
        MetricError: As `accuracy_at`, or `max_fpr` is no such share.

    >>> threshold_at_fpr([0, 0, 0, 0, 1], [1.0, 2.0, 3.0, 4.0, 9.0], max_fpr=0.25)
    3.5
    """
    if not 0 <= max_fpr < 1:
        raise MetricError(f"the allowed share of reals called fake must be in [0, 1), got {max_fpr}")
    truth, values = checked(labels, scores)
    levels, counts = np.unique(values[truth == 0], return_counts=True)
    above = counts.sum() - np.cumsum(counts)  # reals above each level
    chosen = int(np.argmax(above / counts.sum() <= max_fpr))
    if chosen == len(levels) - 1:
        return float(np.nextafter(levels[-1], np.inf))
    return _middle(levels[chosen], levels[chosen + 1])


def _middle(low: float, high: float) -> float:
    """Return a number above `low` and at most `high`, halfway where floats allow."""
    middle = low + (high - low) / 2
    return float(middle if middle > low else high)


# Calibration


@dataclass(frozen=True)
class PlattScaling:
    """Probability of being fake as a sigmoid of the score: `sigmoid(scale * score + bias)`.

    Attributes:
        scale: Inverse temperature, at least 0.
        bias: Shift of the logit.
    """

    scale: float
    bias: float

    def apply(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Turn scores into probabilities of being fake.

        Args:
            scores: Any shape.

        Returns:
            Same shape, in [0, 1].
        """
        return np.asarray(expit(self.scale * np.asarray(scores, np.float64) + self.bias), np.float64)


def fit_platt(labels: ArrayLike, scores: ArrayLike, *, balanced: bool = True) -> PlattScaling:
    """Fit scale and bias of the logits by log-loss; for validation scores only.

    The targets are Platt's: (n + 1) / (n + 2) for n fakes and 1 / (n + 2) for n reals instead of 1 and 0, so that the
    scale stays finite where validation images are separated perfectly.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) logits, or any score that is higher for fakes.
        balanced: Real and fake weigh equally, so that 0.5 means "as likely real as fake" for a balanced set.

    Returns:
        The calibration. A score that ranks the wrong way round gets scale 0, not a negative one.

    Raises:
        MetricError: Lengths differ, a value is not finite, or a class is missing.

    Source: Guo et al., On calibration of modern neural networks (2017), https://arxiv.org/abs/1706.04599; Platt,
        Probabilistic outputs for support vector machines (1999), for the targets and the bias.
    """
    from scipy.optimize import minimize

    truth, values = checked(labels, scores)
    weights = balanced_weights(truth) if balanced else np.full(len(truth), 1 / len(truth))
    counts = np.bincount(truth)
    targets = np.where(truth == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    centre, spread = values.mean(), values.std() or 1.0
    inputs = (values - centre) / spread

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = parameters[0] * inputs + parameters[1]
        error = weights * (expit(logits) - targets)
        return float(weights @ (np.logaddexp(0, logits) - targets * logits)), np.array([error @ inputs, error.sum()])

    bounds, options = [(0, None), (None, None)], {"gtol": 1e-9, "ftol": 0}
    solution = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    scale = float(solution[0] / spread)
    return PlattScaling(scale, float(solution[1] - scale * centre))


# How far it is off


def bins(probabilities: NDArray[np.float64], n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Tell in which of equally wide bins each probability lies; a bin holds its lower end, the last one both ends.

    Args:
        probabilities: (N,) in [0, 1].
        n_bins: At least 1.

    Returns:
        (N,) bins, 0 to `n_bins - 1`.
    """
    return np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)


def calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = N_BINS, balanced: bool = True
) -> float:
    """Compute the expected calibration error: the mean distance of stated probability and share of fakes, over bins.

    In small sets it is above 0 even for a perfect calibration, because the shares scatter.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        probabilities: (N,) of being fake, in [0, 1].
        n_bins: Equally wide bins.
        balanced: Real and fake weigh equally.

    Returns:
        Error in [0, 1]; 0 is best.

    Raises:
        MetricError: Lengths differ, a class is missing, or a probability lies outside [0, 1].

    Source: Naeini et al., Obtaining well calibrated probabilities using Bayesian binning (2015).
    """
    curve = reliability_curve(labels, probabilities, n_bins=n_bins, balanced=balanced)
    return float((curve["weight"] * (curve["predicted"] - curve["observed"]).abs()).sum())


def brier_score(labels: ArrayLike, probabilities: ArrayLike, *, balanced: bool = True) -> float:
    """Compute the mean squared distance of probability and truth; ranking and calibration in one number.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        probabilities: (N,) of being fake, in [0, 1].
        balanced: Real and fake weigh equally.

    Returns:
        Score in [0, 1]; 0 is best, always answering 0.5 has 0.25.

    Raises:
        MetricError: As `calibration_error`.

    Source: Brier, Monthly Weather Review 78 (1950) 1.
    """
    from sklearn.metrics import brier_score_loss

    truth, values = checked_probabilities(labels, probabilities)
    weights = balanced_weights(truth) if balanced else None
    return float(brier_score_loss(truth, values, sample_weight=weights))


def reliability_curve(
    labels: ArrayLike, probabilities: ArrayLike, *, n_bins: int = N_BINS, balanced: bool = True
) -> pd.DataFrame:
    """Compare stated probability and share of fakes in bins of the probability.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        probabilities: (N,) of being fake, in [0, 1].
        n_bins: Equally wide bins.
        balanced: Real and fake weigh equally.

    Returns:
        One row for each bin that holds an image: `low`, `high` (its ends), `predicted` (mean probability), `observed`
        (share of fakes), `weight` (its share of the whole, sum 1), `n` (images).

    Raises:
        MetricError: As `calibration_error`.

    Source: DeGroot & Fienberg, The Statistician 32 (1983) 12.
    """
    truth, values = checked_probabilities(labels, probabilities)
    weights = balanced_weights(truth) if balanced else np.full(len(truth), 1 / len(truth))
    place = bins(values, n_bins)
    n, weight, predicted, observed = (
        np.bincount(place, each, n_bins) for each in (None, weights, weights * values, weights * truth)
    )
    filled = np.flatnonzero(n)
    return pd.DataFrame(
        {
            "low": filled / n_bins,
            "high": (filled + 1) / n_bins,
            "predicted": predicted[filled] / weight[filled],
            "observed": observed[filled] / weight[filled],
            "weight": weight[filled],
            "n": n[filled].astype(np.int64),
        }
    )
