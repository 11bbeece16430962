"""What every lesson uses besides its subject: a quiet start, bands for measured numbers, and the stub's `Todo`."""

import math
import operator
import os
import random
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from IPython.display import DisplayHandle
from threadpoolctl import threadpool_limits

from helpers.course.environment import THREAD_VARIABLES, outputs_are_checked
from helpers.course.figures import METADATA_KEY, display_bundle, use_style
from helpers.course.numbering import FIGURES, in_notebook
from helpers.errors import NaturalTracesError

Item = TypeVar("Item")
SECONDS_BETWEEN = 0.5


class Todo(Exception):
    """Raised by the stub of an exercise that nobody has attempted yet.

    It is a class of its own because `NotImplementedError` is also raised by torch, for other reasons.
    """


class BandError(NaturalTracesError):
    """A measured number lies outside the band that the lesson promises."""


def start(lesson: int) -> None:
    """Prepare one notebook: seeds, number of threads, figure style and numbers; silent, and safe to run again.

    One thread is used unless the environment asks for more by `OMP_NUM_THREADS`: the lessons' arrays are small, and
    several threads that wait for each other are slower than one.

    Args:
        lesson: the lesson's number, 0 to 9; it is also the seed, so that lessons do not share random numbers.
    """
    random.seed(lesson)
    np.random.seed(lesson)  # noqa: NPY002 - a learner's own line may still use the global generator
    torch.manual_seed(lesson)
    limit_threads()
    use_style()
    FIGURES.reset()


def limit_threads() -> int:
    """Limit the threads of PyTorch, of the libraries that are loaded, and of those that will be.

    Returns:
        How many threads each may use: `OMP_NUM_THREADS` where it is set, else 1.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) > 0 else 1
    for variable in THREAD_VARIABLES:  # read by libraries that load later
        os.environ.setdefault(variable, str(threads))
    threadpool_limits(threads)
    torch.set_num_threads(threads)
    return threads


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Go through items and say how far it is; for cells that take longer than ten seconds.

    One line, "training: 12 of 40, 8 s", changes in place. Nothing is shown outside a notebook, nor where outputs are
    stored or compared, because times differ.

    Args:
        items: what to go through.
        what: what is being done.
        total: how many items there are; asked of them when None.

    Yields:
        The items.
    """
    line = _Line(what, total if total is not None else operator.length_hint(items))
    for number, item in enumerate(items):
        line.say(number)
        yield item
    line.say(line.total, last=True)


class _Line:
    """A line of a notebook's output that changes in place, twice a second at most."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.started, self.said = time.monotonic(), -math.inf
        self.handle: DisplayHandle | None = None
        self.silent = outputs_are_checked() or not in_notebook()

    def say(self, done: int, *, last: bool = False) -> None:
        """Say how many items are done."""
        now = time.monotonic()
        if self.silent or not (last or now - self.said >= SECONDS_BETWEEN):
            return
        self.said = now
        of = f" of {self.total}" if self.total else ""
        text = {"text/plain": f"{self.what}: {done}{of}, {now - self.started:.0f} s"}
        if self.handle is None:
            self.handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self.handle.display(text, raw=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(text, raw=True)  # type: ignore[no-untyped-call]


def band_text(name: str, value: float, low: float, high: float) -> str:
    """Return the line that `within` and `headline` show.

    Args:
        name: what was measured.
        value: the measured number.
        low: smallest value that the lesson promises.
        high: largest value that the lesson promises.

    Returns:
        "name: value (usual band low to high)"; nbval does not compare the value. For a value that is not a finite
        number inside [low, high] the bracket asks whether something was changed.

    Raises:
        BandError: if the value lies outside and the outputs are stored or compared, by `refresh` or nbval.

    >>> band_text("AUC", 0.91234, 0.85, 0.97)
    'AUC: 0.9123 (usual band 0.85 to 0.97)'
    """
    if inside(value, low, high):
        return f"{name}: {value:.4g} (usual band {low:g} to {high:g})"
    if outputs_are_checked():
        raise BandError(f"{name}: {value:.4g} lies outside the band {low:g} to {high:g}")
    return f"{name}: {value:.4g} (outside the usual band {low:g} to {high:g}: did you change something?)"


def inside(value: float, low: float, high: float) -> bool:
    """Tell whether a value is a finite number inside a band."""
    return math.isfinite(value) and low <= value <= high


def within(name: str, value: float, low: float, high: float) -> None:
    """Print a number that differs slightly between machines, and the band in which it usually lies.

    Args:
        name: what was measured.
        value: the measured number (anything that `float` accepts).
        low: smallest value that the lesson promises.
        high: largest value that the lesson promises.

    Raises:
        BandError: if the value lies outside and the outputs are stored or compared, by `refresh` or nbval.
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
        BandError: if the value lies outside its band and the outputs are stored or compared, by `refresh` or nbval.
        ValueError: if only one end of the band is given.
    """
    number = float(value)
    if low is None or high is None:
        if low is not high:
            raise ValueError("a band has two ends: give both low and high, or neither")
        text, is_inside = f"{name}: {number:g}", True
    else:
        text, is_inside = band_text(name, number, low, high), inside(number, low, high)
    record = {METADATA_KEY: {"headline": {"name": name, "value": number, "inside": is_inside}}}
    display_bundle({"text/plain": text}, metadata=record)
