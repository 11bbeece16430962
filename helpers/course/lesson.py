"""What every lesson uses besides its subject: a quiet start, bands for measured numbers, and the stub's `Todo`."""

import math
import os
import random

import numpy as np
import torch

from helpers.course.figures import display_bundle, use_style
from helpers.errors import NaturalTracesError

METADATA_KEY = "natural_traces"
"""Key in an output's metadata under which `headline` stores its raw number (nbval does not compare metadata)."""


class Todo(Exception):
    """Raised by the stub of an exercise that nobody has attempted yet.

    It is a class of its own because `NotImplementedError` is also raised by torch, for other reasons.
    """


class BandError(NaturalTracesError):
    """A measured number lies outside the band that the lesson promises."""


def start(lesson: int) -> None:
    """Prepare one notebook: seeds, number of threads, figure style; silent, and safe to run again.

    Args:
        lesson: the lesson's number, 0 to 9; it is also the seed, so that lessons do not share random numbers.
    """
    random.seed(lesson)
    np.random.seed(lesson)  # noqa: NPY002 - a learner's own line may still use the global generator
    torch.manual_seed(lesson)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        torch.set_num_threads(int(threads))
    use_style()


def band_text(name: str, value: float, low: float, high: float) -> str:
    """Return the line that `within` and `headline` show, or raise if the value lies outside the band.

    Args:
        name: what was measured.
        value: the measured number.
        low: smallest value that the lesson promises.
        high: largest value that the lesson promises.

    Returns:
        "name: between low and high (here value)"; the bracket is left out of the comparison by nbval.

    Raises:
        BandError: if the value is not a finite number inside [low, high].

    >>> band_text("AUC", 0.91234, 0.85, 0.97)
    'AUC: between 0.85 and 0.97 (here 0.9123)'
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise BandError(f"{name}: {value:.4g} lies outside the band {low:g} to {high:g}")
    return f"{name}: between {low:g} and {high:g} (here {value:.4g})"


def within(name: str, value: float, low: float, high: float) -> None:
    """Print a number that differs slightly between machines as a fixed band; raise if it lies outside.

    Args:
        name: what was measured.
        value: the measured number (anything that `float` accepts).
        low: smallest value that the lesson promises.
        high: largest value that the lesson promises.

    Raises:
        BandError: if the value is not a finite number inside [low, high].
    """
    print(band_text(name, float(value), low, high))


def headline(name: str, value: float, low: float | None = None, high: float | None = None) -> None:
    """Show one of the lesson's main numbers, and record it for the closing table of `course run`.

    With a band, the band is compared by nbval and the value is not. Without a band, the value itself is compared: use
    that for counts and closed-form numbers only.

    Args:
        name: what was measured, short enough for a table.
        value: the number (anything that `float` accepts).
        low: smallest value that the lesson promises, or None.
        high: largest value that the lesson promises, or None.

    Raises:
        BandError: if a band is given and the value lies outside it.
        ValueError: if only one end of the band is given.
    """
    number = float(value)
    if (low is None) != (high is None):
        raise ValueError("a band has two ends: give both low and high, or neither")
    text = f"{name}: {number:g}" if low is None or high is None else band_text(name, number, low, high)
    record = {METADATA_KEY: {"headline": {"name": name, "value": number}}}
    display_bundle({"text/plain": text}, metadata=record)
