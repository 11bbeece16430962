"""What every number starts from: labels and scores that fit together, and weights that make the classes equal."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers.errors import NaturalTracesError

__all__ = ["MetricError", "balanced_weights", "checked", "checked_labels", "checked_probabilities"]


class MetricError(NaturalTracesError):
    """Labels, scores or groups that no number can be computed from."""


def checked_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """Check that labels are labels; nothing is rounded to one.

    Args:
        labels: (N,) 0 real, 1 fake, of any number type; both must occur.

    Returns:
        (N,) labels.

    Raises:
        MetricError: A value is neither 0 nor 1 (0.5, 2, "fake", NaN), or one of the two is missing.
    """
    given = np.asarray(labels)
    if given.dtype.kind not in "biuf" or not ((given == 0) | (given == 1)).all():
        raise MetricError("labels must be 0 and 1 (real and fake), and nothing else")
    if len(np.unique(given)) != 2:
        raise MetricError("labels must be 0 and 1, and both must occur")
    return given.astype(np.int64)


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check that labels and scores fit together.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        scores: (N,) finite.

    Returns:
        (N,) labels and (N,) scores as arrays.

    Raises:
        MetricError: Lengths differ, a score is not finite, or see `checked_labels`.
    """
    values = np.asarray(scores, np.float64)
    if np.shape(labels) != values.shape or values.ndim != 1:
        raise MetricError(f"labels and scores need the same length, got {np.shape(labels)} and {values.shape}")
    truth = checked_labels(labels)
    if not np.isfinite(values).all():
        raise MetricError("scores must be finite")
    return truth, values


def checked_probabilities(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check that labels and probabilities fit together.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        probabilities: (N,) of being fake, in [0, 1].

    Returns:
        (N,) labels and (N,) probabilities as arrays.

    Raises:
        MetricError: As `checked`, or a probability lies outside [0, 1].
    """
    truth, values = checked(labels, probabilities)
    if values.min() < 0 or values.max() > 1:
        raise MetricError("probabilities must lie between 0 and 1")
    return truth, values


def balanced_weights(labels: ArrayLike) -> NDArray[np.float64]:
    """Compute weights under which real and fake count equally, whatever their numbers.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.

    Returns:
        (N,) positive weights; each class sums to 0.5.

    Raises:
        MetricError: See `checked_labels`.

    >>> balanced_weights([0, 0, 1]).tolist()
    [0.25, 0.25, 0.5]
    """
    truth = checked_labels(labels)
    return np.asarray(0.5 / np.bincount(truth, minlength=2)[truth], np.float64)
