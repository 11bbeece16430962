"""What a score can rule out: class-conditional conformal p-values, and a verdict that may be a refusal.

A score is compared with the scores of pictures whose label is known and that training did not see, sources included.
The p-value of "photograph" is the share of known photographs that look at least as generated; that of "generated" the
share of known generated pictures that look at least as natural. If a new picture is exchangeable with the known ones
of its class, then its own class is ruled out at level a with a chance of at most a, whatever the detector is worth
(Vovk et al., Algorithmic Learning in a Random World, 2005; class-conditional: Vovk, ACML 2012, arXiv 1209.2673).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers.evaluation.metrics.checks import MetricError, checked

__all__ = ["Conformal", "Verdict", "fit_conformal", "weighted_quantiles"]

Verdict = Literal["photograph", "generated", "inconclusive"]
KEPT = 400
"""Scores of each class that are kept, evenly spread over their order."""


@dataclass(frozen=True)
class Conformal:
    """Known scores of both classes, and the levels at which a class is ruled out.

    Attributes:
        real: Scores of photographs, ascending.
        fake: Scores of generated pictures, ascending.
        level_real: A picture is called generated if the p-value of "photograph" is at most this.
        level_fake: A picture is called a photograph if the p-value of "generated" is at most this.
    """

    real: tuple[float, ...]
    fake: tuple[float, ...]
    level_real: float = 0.05
    level_fake: float = 0.10

    def p_values(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute both p-values.

        Args:
            scores: (N,); higher means more fake.

        Returns:
            p-values of "photograph" and of "generated", each (N,), in (0, 1].

        >>> one = Conformal(real=(0.0, 1.0, 2.0), fake=(2.0, 3.0, 4.0))
        >>> [values.tolist() for values in one.p_values([2.5])]
        [[0.25], [0.5]]
        """
        values = np.asarray(scores, np.float64)
        real, fake = np.asarray(self.real), np.asarray(self.fake)
        above = len(real) - np.searchsorted(real, values, side="left")
        below = np.searchsorted(fake, values, side="right")
        return (1 + above) / (1 + len(real)), (1 + below) / (1 + len(fake))

    def verdicts(self, scores: ArrayLike) -> list[Verdict]:
        """Name the class that remains when the other is ruled out; "inconclusive" if neither is, or both are."""
        return [
            "inconclusive" if no_photo == no_fake else "generated" if no_photo else "photograph"
            for no_photo, no_fake in zip(*self._ruled_out(scores), strict=True)
        ]

    @property
    def threshold(self) -> float:
        """Score from which on "photograph" is ruled out."""
        spared = int(self.level_real * (1 + len(self.real))) - 1
        if spared < 0:
            return float("inf")
        return float(np.nextafter(self.real[len(self.real) - 1 - spared], np.inf))

    def _ruled_out(self, scores: ArrayLike) -> tuple[list[bool], list[bool]]:
        of_real, of_fake = self.p_values(scores)
        return (of_real <= self.level_real).tolist(), (of_fake <= self.level_fake).tolist()

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, of which `from_dict` makes the same again."""
        levels = {"level_real": self.level_real, "level_fake": self.level_fake}
        return {**levels, "real": list(self.real), "fake": list(self.fake)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read plain values."""
        return cls(tuple(values["real"]), tuple(values["fake"]), values["level_real"], values["level_fake"])


def _spread(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, ...]:
    """Keep weighted quantiles of scores, ascending, rounded to four decimals."""
    return tuple(np.round(weighted_quantiles(scores, weights, (np.arange(KEPT) + 0.5) / KEPT), 4).tolist())


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], shares: ArrayLike
) -> NDArray[np.float64]:
    """Find for each share the least value that values of this share of all weight do not exceed.

    Args:
        values: (N,), at least one.
        weights: (N,), above 0.
        shares: (M,), 0..1.

    Returns:
        (M,), each one of the values.

    >>> weighted_quantiles(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), [0.25, 0.5, 1.0]).tolist()
    [1.0, 2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    upper = np.cumsum(weights[order]) / weights.sum()
    return values[order][np.minimum(np.searchsorted(upper, np.asarray(shares)), len(values) - 1)]


def fit_conformal(
    labels: ArrayLike, scores: ArrayLike, groups: Sequence[str], *, level_real: float = 0.05, level_fake: float = 0.10
) -> Conformal:
    """Keep the scores of held-out pictures; every source and every generator weighs alike, whatever its size.

    A picture to be judged comes from a source of its own; so the level holds for the mean over sources.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,), of pictures whose sources and generators training did not see.
        groups: Source or generator of each.
        level_real: See `Conformal`.
        level_fake: See `Conformal`.

    Returns:
        What p-values and verdicts need.

    Raises:
        MetricError: A label is missing, a score is not finite, or a level is no share.
    """
    if not (0 < level_real < 1 and 0 < level_fake < 1):
        raise MetricError(f"levels must lie between 0 and 1, got {level_real} and {level_fake}")
    truth, values = checked(labels, scores)
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    weights = 1 / counts[inverse]
    real, fake = (_spread(values[truth == label], weights[truth == label]) for label in (0, 1))
    return Conformal(real, fake, level_real, level_fake)
