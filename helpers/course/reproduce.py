"""Make a recorded result again, and say whether it came out the same.

`data/results/results.toml` describes every file there (`helpers.course.records`). The steps that lead to it run again,
each in a process of its own, save those whose detectors lie there already; then its numbers are set beside the recorded
ones. They agree where each differs by no more than the record's band: training ends a little elsewhere on another
processor.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.course.records import Band, Step, read_records
from helpers.data.places import shipped
from helpers.errors import NaturalTracesError

__all__ = ["Comparison", "ReproduceError", "compare", "make_again", "numbers", "recorded", "run_again"]

DETECTOR = "card.json"
"""A folder that holds this file holds a trained detector."""


class ReproduceError(NaturalTracesError):
    """A result that is not recorded, or whose command does not run."""


def recorded(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Read a recorded result.

    Args:
        name: Its file's name, without the ending.
        folder: Holds the results; `data/results` when None.

    Returns:
        The JSON document.

    Raises:
        ReproduceError: There is no such result, or it is no JSON document.
    """
    place = folder or shipped("results")
    try:
        document = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReproduceError(f"{name}: no such result (known: {', '.join(read_records(place).records)})") from None
    except ValueError as error:
        raise ReproduceError(f"{name}: is no JSON document: {error}") from None
    if not isinstance(document, dict):
        raise ReproduceError(f"{name}: a result is one JSON object")
    return document


def make_again(steps: tuple[Step, ...], tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run the steps that lead to a record.

    Args:
        steps: In order; the last prints the record. Those whose detectors lie there already are left out.
        tell: Told each command before it runs.

    Returns:
        The record.

    Raises:
        ReproduceError: A command fails, or the last prints something else.
    """
    *before, last = steps
    for step in before:
        if not all((Path(folder) / DETECTOR).is_file() for folder in step.makes):
            tell(step.command)
            _output(step.command)
    tell(last.command)
    return run_again(last.command)


def run_again(command: str) -> dict[str, Any]:
    """Run a command in a process of its own.

    Args:
        command: Starts with `python -m helpers`, and prints one JSON document.

    Returns:
        The document.

    Raises:
        ReproduceError: It fails, or prints something else.
    """
    try:
        return dict(json.loads(_output(command)))
    except ValueError:
        raise ReproduceError(f"{command}: did not print one JSON document") from None


def _output(command: str) -> str:
    """Run a command of this package and return what it prints."""
    words = shlex.split(command)
    if words[:3] != ["python", "-m", "helpers"]:
        raise ReproduceError(f"{command!r}: is no command of this package")
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise ReproduceError(f"{command}: {reason}")
    return done.stdout


def numbers(document: object, name: str = "") -> dict[str, float]:
    """Name every number of a JSON document by the way to it; true and false count as 1 and 0.

    >>> numbers({"ap": [{"value": 0.5}, {"value": 0.7}], "title": "AP"})
    {'ap.0.value': 0.5, 'ap.1.value': 0.7}
    """
    if isinstance(document, int | float):
        return {name: float(document)}
    if isinstance(document, Mapping):
        inside = list(document.items())
    elif isinstance(document, list):
        inside = list(enumerate(document))
    else:
        return {}
    values: dict[str, float] = {}
    for key, value in inside:
        values |= numbers(value, f"{name}.{key}" if name else str(key))
    return values


@dataclass(frozen=True)
class Comparison:
    """How a result differs from the recorded one.

    Attributes:
        compared: How many numbers.
        largest: Largest absolute difference.
        at: The number that has it, or "".
        outside: Numbers outside the band, and those that only one side has.
        tolerance: The band.
    """

    compared: int
    largest: float
    at: str
    outside: tuple[str, ...]
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether there are numbers, and all of them lie inside the band."""
        return self.compared > 0 and not self.outside


LATER = ("photographs", "photo_sources", "pairs")
"""Entries of a report that older records lack."""


def compare(old: Mapping[str, Any], new: Mapping[str, Any], band: Band) -> Comparison:
    """Set a result beside the recorded one.

    Args:
        old: As recorded.
        new: As made again.
        band: What is compared, and how near it must come.

    Returns:
        The comparison; a number that is not a number on one side alone is outside. What `evaluate` reports since the
        record was made (`LATER`) is left out where the record lacks it.
    """
    new = {name: value for name, value in new.items() if name in old or name not in LATER}
    before, after = ({name: value for name, value in numbers(side).items() if band.covers(name)} for side in (old, new))
    gaps = {name: _gap(before[name], after[name]) for name in before.keys() & after.keys()}
    apart = {name for name, gap in gaps.items() if gap > band.tolerance} | (before.keys() ^ after.keys())
    at = max(sorted(gaps), key=lambda name: gaps[name], default="")
    return Comparison(len(gaps), gaps.get(at, 0.0), at, tuple(sorted(apart)), band.tolerance)


def _gap(old: float, new: float) -> float:
    if old == new or (old != old and new != new):  # both infinite, or both NaN
        return 0.0
    gap = abs(old - new)
    return gap if gap == gap else float("inf")
