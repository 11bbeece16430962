"""From a score to evidence, and from evidence to a probability at a stated base rate.

    odds after = odds before x likelihood ratio          (Bayes)

The likelihood ratio says how many times more often a generated picture gets such a score than a photograph does. A
calibration that was fitted with both classes weighing alike gives it directly: its odds are the ratio. How sure the
ratio is follows from a bootstrap over the known scores: each draw fits the calibration again.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from helpers.evaluation.metrics.calibration import PlattScaling
from helpers.evaluation.metrics.checks import MetricError
from helpers.evaluation.metrics.conformal import Conformal
from helpers.evaluation.metrics.intervals import Interval

__all__ = ["likelihood_ratio", "posterior"]

DRAWS, STEPS, LEVEL = 200, 15, 0.95
_MOST_LOGIT = 50.0


def posterior(base_rate: float, ratio: ArrayLike) -> NDArray[np.float64]:
    """Compute the probability of being generated.

    Args:
        base_rate: Share of generated pictures among those that are asked about, above 0 and below 1.
        ratio: Likelihood ratios, at least 0; any shape.

    Returns:
        Same shape, in [0, 1].

    Raises:
        MetricError: The base rate is no such share.

    >>> float(posterior(0.01, 19.0)).__round__(3)
    0.161
    """
    if not 0 < base_rate < 1:
        raise MetricError(f"a base rate lies between 0 and 1, and {base_rate} does not")
    odds = np.asarray(ratio, np.float64) * base_rate / (1 - base_rate)
    return np.asarray(odds / (1 + odds), np.float64)


def likelihood_ratio(calibration: PlattScaling, conformal: Conformal, score: float) -> Interval:
    """Say how much more often generated pictures get such a score than photographs do.

    Args:
        calibration: Fitted with both classes weighing alike.
        conformal: Known scores.
        score: Of the picture.

    Returns:
        The ratio, at most one more than there are known photographs and at least the same of generated pictures: so
        many known scores can speak for no more. Its interval holds what 200 other draws of the known scores would
        have given; known scores count as independent, so for sources that resemble none of the known it is too narrow.
    """
    scales, biases = _bootstrap(conformal)
    scale, bias = _fit(conformal, np.ones((1, len(conformal.real))), np.ones((1, len(conformal.fake))))
    logit = calibration.scale * score + calibration.bias
    drawn = logit + (scales - scale) * score + (biases - bias)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ends = np.clip([logit, min(low, logit), max(high, logit)], *np.log(_bounds(conformal)))
    count = len(conformal.real) + len(conformal.fake)
    value, lower, upper = (float(end) for end in np.exp(ends))
    return Interval(value, lower, upper, LEVEL, count)


def _bounds(conformal: Conformal) -> tuple[float, float]:
    return 1 / (1 + len(conformal.fake)), 1.0 + len(conformal.real)


@lru_cache(maxsize=8)
def _bootstrap(conformal: Conformal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the calibration to draws of the known scores: scales and biases, each (draws,)."""
    rng = np.random.default_rng(0)
    real, fake = (
        rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(float)
        for count in (len(conformal.real), len(conformal.fake))
    )
    return _fit(conformal, real, fake)


def _fit(
    conformal: Conformal, real: NDArray[np.float64], fake: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit many logistic regressions on one score by Newton's steps, with Platt's targets; counts are (draws, n)."""
    values = np.r_[conformal.real, conformal.fake]
    centre, spread = values.mean(), values.std() or 1.0
    inputs = (values - centre) / spread
    count = np.array([len(conformal.real), len(conformal.fake)])
    targets = np.r_[np.full(count[0], 1 / (count[0] + 2)), np.full(count[1], (count[1] + 1) / (count[1] + 2))]
    weights = np.hstack([real / count[0], fake / count[1]])
    slope, shift = np.ones(len(weights)), np.zeros(len(weights))
    for _ in range(STEPS):
        made = expit(np.clip(slope[:, None] * inputs + shift[:, None], -_MOST_LOGIT, _MOST_LOGIT))
        error, bend = weights * (made - targets), weights * made * (1 - made) + 1e-9
        gradient = error @ inputs, error.sum(axis=1)
        square, mixed, plain = bend @ inputs**2 + 1e-6, bend @ inputs, bend.sum(axis=1) + 1e-6
        size = square * plain - mixed**2
        slope = slope - np.clip((plain * gradient[0] - mixed * gradient[1]) / size, -1, 1)
        shift = shift - np.clip((square * gradient[1] - mixed * gradient[0]) / size, -1, 1)
    scale = np.maximum(slope, 0) / spread
    return scale, shift - scale * centre
