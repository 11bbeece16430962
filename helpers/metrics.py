"""Numbers about scores, each with an interval: AUC, accuracy, and the cluster bootstrap.

Images of one source (a photograph, a collection, a person) resemble each other, so they are not independent draws. The
intervals here resample whole sources, and so stay honest when a thousand crops come from ten photographs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from helpers.errors import NaturalTracesError

__all__ = ["Interval", "MetricError", "auc", "auc_interval", "cluster_bootstrap", "wilson_interval"]


class MetricError(NaturalTracesError):
    """Labels, scores or groups that no number can be computed from."""


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


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the area under the ROC curve: the chance that a fake scores above a real image, ties counting half.

    It is not folded: a score that ranks reals above fakes has an AUC below 0.5.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.

    Returns:
        Area in [0, 1].

    Raises:
        MetricError: Lengths differ, a value is not finite, or a class is missing.
    """
    truth, values = _checked(labels, scores)
    return float(roc_auc_score(truth, values))


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    truth, values = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise MetricError(f"labels and scores need the same length, got {truth.shape} and {values.shape}")
    if set(np.unique(truth)) != {0, 1}:
        raise MetricError("labels must be 0 and 1, and both must occur")
    if not np.isfinite(values).all():
        raise MetricError("scores must be finite")
    return truth, values


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Compute the AUC with a percentile interval from a cluster bootstrap, stratified by label.

    Each draw takes as many clusters of each label as there are, with replacement, so no draw loses a label. A cluster
    that holds both labels counts as two. With one cluster of a label nothing varies there: choose smaller ones then.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.
        groups: (N,) cluster of each image.
        blocks: (N,) compare only images of the same block; for scores whose scale differs from block to block, as those
            of cross-validation folds. One block when None.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        Area with its interval; `n` counts clusters.

    Raises:
        MetricError: As `auc`, or no block holds both labels.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    Taught in: notebook 00 (used), notebook 06.
    """
    truth, values = _checked(labels, scores)
    parts = np.zeros(len(truth), np.int64) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    blocks_of = [np.flatnonzero(parts == part) for part in range(parts.max() + 1)]
    ranked = [(rows, _Ranked(truth[rows], values[rows])) for rows in blocks_of]

    def area(weights: NDArray[np.float64]) -> float:
        wins, pairs = np.array([block.count(weights[rows]) for rows, block in ranked]).sum(0)
        return float(wins / pairs) if pairs > 0 else float("nan")

    value = area(np.ones(len(truth)))
    if np.isnan(value):
        raise MetricError("no block holds both labels")
    clusters = _clusters(groups, strata=truth)
    count = sum(len(members) for members, _ in clusters)
    if all(block.levels == 1 for _, block in ranked):
        return Interval(value, value, value, level, count)  # a constant score ties every pair in every draw
    low, high = _percentiles([area(weights) for weights in _weights(clusters, n_draws, seed)], level)
    return Interval(value, low, high, level, count)


class _Ranked:
    """Scores ranked once, so that an AUC under many weightings costs only two passes."""

    def __init__(self, truth: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self.fake = np.flatnonzero(truth == 1)
        self.real = np.flatnonzero(truth == 0)
        levels, self.rank = np.unique(values, return_inverse=True)
        self.levels = len(levels)

    def count(self, weights: NDArray[np.float64]) -> tuple[float, float]:
        """Return weighted wins (ties half) of fakes over reals, and the weighted number of pairs."""
        fake = np.bincount(self.rank[self.fake], weights[self.fake], self.levels)
        real = np.bincount(self.rank[self.real], weights[self.real], self.levels)
        below = np.cumsum(real) - real
        return float((fake * (below + real / 2)).sum()), float(fake.sum() * real.sum())


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
    Taught in: notebook 06.
    """
    clusters = _clusters(groups, strata)
    total = len(np.asarray(groups))
    draws = []
    for weights in _weights(clusters, n_draws, seed):
        draws.append(float(statistic(np.repeat(np.arange(total), weights.astype(np.int64)))))
    low, high = _percentiles(draws, level)
    count = sum(len(members) for members, _ in clusters)
    return Interval(float(statistic(np.arange(total))), low, high, level, count)


def _clusters(groups: ArrayLike, strata: ArrayLike | None) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """List, for each stratum, its cluster numbers and the cluster of each item (-1 outside the stratum)."""
    names = np.asarray(groups)
    if names.ndim != 1 or len(names) == 0:
        raise MetricError("groups must be a list with one entry per item")
    layers = np.zeros(len(names), np.int64) if strata is None else np.asarray(strata)
    found = []
    for layer in np.unique(layers):
        inside = layers == layer
        member = np.full(len(names), -1, np.int64)
        member[inside] = np.unique(names[inside], return_inverse=True)[1]
        found.append((np.arange(member.max() + 1), member))
    return found


def _weights(
    clusters: list[tuple[NDArray[np.int64], NDArray[np.int64]]], n_draws: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield, for each draw, how often each item was drawn."""
    rng = np.random.default_rng(seed)
    for _ in range(n_draws):
        weights = np.zeros(len(clusters[0][1]))
        for members, member in clusters:
            drawn = np.bincount(rng.integers(0, len(members), len(members)), minlength=len(members))
            weights += np.where(member >= 0, drawn[member], 0)
        yield weights


def _percentiles(draws: list[float], level: float) -> tuple[float, float]:
    known = np.array(draws)[~np.isnan(draws)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
    Taught in: notebook 00.

    >>> str(wilson_interval(8, 10))
    '0.800 [0.490, 0.943]'
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise MetricError(f"{successes} of {trials} is no share")
    ends = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(ends.low), float(ends.high), level, trials)
