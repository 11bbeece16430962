"""Intervals: the cluster bootstrap for any number, Wilson's for shares.

Images of one source (a photograph, a collection, a person) resemble each other, so they are not independent draws. The
bootstrap here resamples whole sources, and so stays honest when a thousand crops come from ten photographs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from helpers.evaluation.metrics.checks import MetricError

__all__ = [
    "Interval",
    "cluster_bootstrap",
    "cluster_weights",
    "difference_interval",
    "percentiles",
    "rate_interval",
    "wilson_interval",
]

EDGE = 1e-9  # a rate this near to 0 or 1 is 0 or 1 but for rounding


@dataclass(frozen=True)
class Interval:
    """A number and the interval around it.

    Attributes:
        value: The number, computed from all data.
        low: Lower end.
        high: Upper end.
        level: Confidence level in (0, 1).
        n: What was counted: independent clusters for a bootstrap, trials for a share.
    """

    value: float
    low: float
    high: float
    level: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: ArrayLike,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    strata: ArrayLike | None = None,
) -> Interval:
    """Compute any statistic with a percentile interval that resamples whole clusters.

    Args:
        statistic: Takes (M,) indices into the data, repeated where a cluster was drawn twice, and returns a number; NaN
            where it is undefined (such draws are left out).
        groups: (N,) cluster of each item.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).
        strata: (N,) draw within each stratum apart (such as the label); one stratum when None.

    Returns:
        Statistic of all data with its interval; `n` counts clusters.

    Raises:
        MetricError: There are no data.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    weights, count = cluster_weights(groups, strata=strata, n_draws=n_draws, seed=seed)
    rows = np.arange(len(np.asarray(groups)))
    draws = [float(statistic(np.repeat(rows, drawn.astype(np.int64)))) for drawn in weights]
    low, high = percentiles(draws, level)
    return Interval(float(statistic(rows)), low, high, level, count)


def cluster_weights(
    groups: ArrayLike, *, strata: ArrayLike | None = None, n_draws: int = 1000, seed: int | Sequence[int] = 0
) -> tuple[Iterator[NDArray[np.float64]], int]:
    """Draw whole clusters with replacement, as many as there are, within each stratum apart.

    A statistic that takes weights is much faster with these than with repeated rows. A cluster that lies in two strata
    counts as two.

    Args:
        groups: (N,) cluster of each item.
        strata: (N,) stratum of each item (such as the label), so that no draw loses one; one stratum when None.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Iterator over `n_draws` arrays (N,), which say how often each item was drawn, and the number of clusters.

    Raises:
        MetricError: There are no data.
    """
    names = np.asarray(groups)
    if names.ndim != 1 or len(names) == 0:
        raise MetricError("groups must be a list with one entry per item")
    layers = np.zeros(len(names), np.int64) if strata is None else np.asarray(strata)
    members = []
    for layer in np.unique(layers):
        inside = np.flatnonzero(layers == layer)
        members.append((inside, np.unique(names[inside], return_inverse=True)[1]))
    return _weights(members, len(names), n_draws, seed), sum(int(number.max()) + 1 for _, number in members)


def _weights(
    members: list[tuple[NDArray[np.int64], NDArray[np.int64]]], total: int, n_draws: int, seed: int | Sequence[int]
) -> Iterator[NDArray[np.float64]]:
    """Yield, for each draw, how often each item was drawn; `members` holds the rows of a stratum and their clusters."""
    rng = np.random.default_rng(seed)
    counts = [int(number.max()) + 1 for _, number in members]
    for _ in range(n_draws):
        weights = np.zeros(total)
        for (rows, number), count in zip(members, counts, strict=True):
            weights[rows] = np.bincount(rng.integers(0, count, count), minlength=count)[number]
        yield weights


def percentiles(draws: ArrayLike, level: float) -> tuple[float, float]:
    """Take the two quantiles that hold the middle share of the draws.

    Args:
        draws: (B,) bootstrap values; NaN are left out.
        level: Share in (0, 1).

    Returns:
        Lower and upper end; NaN where no draw is known.
    """
    values = np.asarray(draws, np.float64)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def rate_interval(value: float, draws: ArrayLike, *, level: float, n: int, smallest: int) -> Interval:
    """Put an interval around a number between 0 and 1 (AP, AUC, accuracy) from the spread of its bootstrap draws.

    It is symmetric on the logit scale, with Student's quantile for the clusters of the rarer class: so it stays within
    0 and 1, and holds better than percentiles for some dozen clusters or for numbers near 1. A number that is exactly 0
    or 1 does not vary as it should; it gets Wilson's interval for as many trials as the rarer class has clusters.

    Args:
        value: The number of all data, in [0, 1].
        draws: (B,) the number in each draw.
        level: Confidence level in (0, 1).
        n: Clusters of both classes, for the record.
        smallest: Clusters of the rarer class, at least 1.

    Returns:
        The interval.

    Source: Student's quantile as in Hesterberg, Am. Stat. 69 (2015) 371; the logit scale by the delta method.
    """
    if not EDGE < value < 1 - EDGE:
        ends = wilson_interval(smallest * round(value), smallest, level)
        return Interval(value, ends.low, ends.high, level, n)
    reach = _reach(draws, level, smallest) / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-reach, reach]))
    return Interval(value, float(low), float(high), level, n)


def difference_interval(value: float, draws: ArrayLike, *, level: float, n: int, smallest: int) -> Interval:
    """Put an interval around a difference of two numbers from the spread of its bootstrap draws.

    It is symmetric, with Student's quantile for the clusters of the rarer class.

    Args:
        value: The difference of all data.
        draws: (B,) the difference in each draw.
        level: Confidence level in (0, 1).
        n: Clusters of both classes, for the record.
        smallest: Clusters of the rarer class, at least 1.

    Returns:
        The interval.

    Source: Hesterberg, Am. Stat. 69 (2015) 371.
    """
    reach = _reach(draws, level, smallest)
    return Interval(value, value - reach, value + reach, level, n)


def _reach(draws: ArrayLike, level: float, smallest: int) -> float:
    """Return the draws' standard deviation times Student's quantile."""
    from scipy.stats import t as student

    return float(np.std(np.asarray(draws, np.float64)) * student.ppf((1 + level) / 2, max(smallest - 1, 1)))


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Compute a share with Wilson's score interval, which stays inside [0, 1] and holds for few trials.

    Args:
        successes: Number of successes, 0..trials.
        trials: Number of independent trials, at least 1.
        level: Confidence level in (0, 1).

    Returns:
        Share with its interval; `n` counts trials.

    Raises:
        MetricError: The counts are impossible.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209, https://www.jstor.org/stable/2276774.

    >>> str(wilson_interval(8, 10))
    '0.800 [0.490, 0.943]'
    """
    from scipy.stats import binomtest

    if trials < 1 or not 0 <= successes <= trials:
        raise MetricError(f"{successes} of {trials} is no share")
    ends = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(ends.low), float(ends.high), level, trials)
