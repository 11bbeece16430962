"""How well a score ranks fakes above reals: AUC, average precision, equal error rate, TPR at 1 % FPR.

All of them follow from two rates at every threshold: the share of fakes at or above it (TPR) and that of reals (FPR).
Because these are shares within a class, the numbers weigh real and fake equally whatever their counts. For AP this is a
choice: on 100 fakes and 900 reals the usual AP of a guessing detector is 0.1, the balanced one is 0.5 and compares with
the balanced test sets of the literature.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers.evaluation.metrics.checks import MetricError, balanced_weights, checked
from helpers.evaluation.metrics.intervals import Interval, cluster_weights, percentiles, rate_interval

__all__ = [
    "RANKING",
    "Ranked",
    "auc",
    "auc_interval",
    "average_precision",
    "equal_error_rate",
    "ranking_intervals",
    "tpr_at_fpr",
]

Rates = NDArray[np.float64]


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
    from sklearn.metrics import roc_auc_score

    truth, values = checked(labels, scores)
    return float(roc_auc_score(truth, values))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the class-balanced average precision; fakes are what is to be found.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.

    Returns:
        AP in (0, 1]; a constant score has 0.5.

    Raises:
        MetricError: As `auc`.
    """
    from sklearn.metrics import average_precision_score

    truth, values = checked(labels, scores)
    return float(average_precision_score(truth, values, sample_weight=balanced_weights(truth)))


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the error rate where the share of fakes that pass equals that of reals called fake, on the ROC polygon.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.

    Returns:
        Rate in [0, 1]; guessing has 0.5.

    Raises:
        MetricError: As `auc`.
    """
    return float(_eer(*_all_once(labels, scores))[0])


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.01) -> float:
    """Compute the largest share of fakes found while at most `max_fpr` of the reals are called fake.

    With fewer than 1 / `max_fpr` real images no real image may be called fake.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.
        max_fpr: Allowed share of reals called fake, in [0, 1].

    Returns:
        Share in [0, 1].

    Raises:
        MetricError: As `auc`.
    """
    return float(_tpr_at(*_all_once(labels, scores), max_fpr)[0])


def _all_once(labels: ArrayLike, scores: ArrayLike) -> tuple[Rates, Rates]:
    truth, values = checked(labels, scores)
    return Ranked(truth, values).rates(np.ones((1, len(truth))))


class Ranked:
    """Scores ranked once, so that the ROC curve under another weighting costs only two sums.

    Args:
        truth: (N,) 0 real, 1 fake.
        values: (N,) scores, higher means more fake.
    """

    def __init__(self, truth: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        order = np.argsort(-values, kind="stable")
        self.fake = (truth[order] == 1).astype(np.float64)
        self.ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))  # last item of each level
        self.order = order
        self.levels = len(self.ends)

    def counts(self, weights: NDArray[np.float64]) -> tuple[Rates, Rates]:
        """Sum the weights of fakes and of reals at or above each level, from the highest score down.

        Args:
            weights: (B, N) non-negative.

        Returns:
            Two arrays (B, levels).
        """
        sorted_weights = weights[:, self.order]
        both = np.cumsum(sorted_weights, axis=1)[:, self.ends]
        fake = np.cumsum(sorted_weights * self.fake, axis=1)[:, self.ends]
        return fake, both - fake

    def rates(self, weights: NDArray[np.float64]) -> tuple[Rates, Rates]:
        """Compute the ROC curve under each weighting; NaN where a class has no weight.

        Args:
            weights: (B, N) non-negative.

        Returns:
            True-positive and false-positive rates, two arrays (B, levels), from the highest score down; the origin of
            the curve is left out.
        """
        fake, real = self.counts(weights)
        with np.errstate(invalid="ignore"):
            return fake / fake[:, -1:], real / real[:, -1:]


def _steps(rates: Rates) -> Rates:
    return np.diff(rates, axis=1, prepend=0.0)


def _auc(tpr: Rates, fpr: Rates) -> NDArray[np.float64]:
    return np.asarray((_steps(fpr) * (tpr - _steps(tpr) / 2)).sum(1))


def _average_precision(tpr: Rates, fpr: Rates) -> NDArray[np.float64]:
    called = tpr + fpr
    precision = np.divide(tpr, called, out=np.zeros_like(tpr), where=called != 0)  # nothing drawn above: no step either
    return np.asarray((_steps(tpr) * precision).sum(1))


def _eer(tpr: Rates, fpr: Rates) -> NDArray[np.float64]:
    """Cut the ROC curve with the line FPR = 1 - TPR."""
    rows, over = np.arange(len(tpr)), tpr + fpr - 1
    after = (over >= 0).argmax(1)
    before_tpr, before_fpr = (np.where(after > 0, rates[rows, after - 1], 0.0) for rates in (tpr, fpr))
    start, end = before_tpr + before_fpr - 1, over[rows, after]
    return np.asarray(before_fpr + (fpr[rows, after] - before_fpr) * -start / (end - start))


def _tpr_at(tpr: Rates, fpr: Rates, max_fpr: float = 0.01) -> NDArray[np.float64]:
    return np.asarray(np.where(fpr <= max_fpr, tpr, 0.0).max(1))


RANKING: Mapping[str, Callable[[Rates, Rates], NDArray[np.float64]]] = MappingProxyType(
    {"ap": _average_precision, "auc": _auc, "eer": _eer, "tpr_at_1_fpr": _tpr_at}
)
"""What each name computes from `Ranked.rates`: (B, levels) TPR and FPR to (B,) numbers."""


def ranking_intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Compute every number of `RANKING` with an interval from a cluster bootstrap, stratified by label.

    See `rate_interval` for how the ends follow from the draws. TPR at 1 % FPR needs some hundred real images.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) higher means more fake.
        groups: (N,) cluster of each image; a cluster that holds both labels counts as two.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        Name to number with its interval; `n` counts clusters.

    Raises:
        MetricError: As `auc`.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    truth, values = checked(labels, scores)
    ranked, names = Ranked(truth, values), np.asarray(groups)
    weights, count = cluster_weights(names, strata=truth, n_draws=n_draws, seed=seed)
    once, drawn = ranked.rates(np.ones((1, len(truth)))), ranked.rates(np.stack(list(weights)))
    smallest = min(len(np.unique(names[truth == label])) for label in (0, 1))
    return {
        name: rate_interval(float(compute(*once)[0]), compute(*drawn), level=level, n=count, smallest=smallest)
        for name, compute in RANKING.items()
    }


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
    """
    truth, values = checked(labels, scores)
    parts = np.zeros(len(truth), np.int64) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    blocks_of = [np.flatnonzero(parts == part) for part in range(parts.max() + 1)]
    ranked = [(rows, Ranked(truth[rows], values[rows])) for rows in blocks_of]

    def area(weights: NDArray[np.float64]) -> float:
        wins, pairs = np.array([_wins(block, weights[rows]) for rows, block in ranked]).sum(0)
        return float(wins / pairs) if pairs > 0 else float("nan")

    value = area(np.ones(len(truth)))
    if np.isnan(value):
        raise MetricError("no block holds both labels")
    weights, count = cluster_weights(groups, strata=truth, n_draws=n_draws, seed=seed)
    if all(block.levels == 1 for _, block in ranked):
        return Interval(value, value, value, level, count)  # a constant score ties every pair in every draw
    return Interval(value, *percentiles([area(drawn) for drawn in weights], level), level, count)


def _wins(ranked: Ranked, weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return weighted wins (ties half) of fakes over reals, and the weighted number of pairs."""
    fake, real = ranked.counts(weights[None])
    return float(_auc(fake, real)[0]), float(fake[0, -1] * real[0, -1])
