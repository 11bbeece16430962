"""Make a recorded result again, and say whether it came out the same.

Every file in `data/results` has one row in the README there, which holds the command that made it. The command runs
again in a process of its own, and its numbers are set beside the recorded ones. They agree where each differs by no
more than the band stated here: training ends a little elsewhere on another processor.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from helpers.data.places import shipped
from helpers.errors import NaturalTracesError

__all__ = ["BANDS", "Band", "Comparison", "ReproduceError", "commands", "compare", "numbers", "recorded", "run_again"]

_ROW = re.compile(r"^\| `(?P<file>[\w.-]+)\.json` \| `(?P<command>python -m helpers [^`]+)` \|", re.MULTILINE)


class ReproduceError(NaturalTracesError):
    """A result that is not recorded, or whose command does not run."""


@dataclass(frozen=True)
class Band:
    """How near a number must come to the recorded one.

    Attributes:
        tolerance: Largest absolute difference.
        keys: Patterns of the numbers that are compared, such as `*.ap.value`; see `numbers` for their names.
        without: Patterns of numbers that are left out, such as times.
        minutes: What the command takes on one core, roughly; None where nobody has timed it.
    """

    tolerance: float = 0.02
    keys: tuple[str, ...] = ("*",)
    without: tuple[str, ...] = ("*seconds*", "*minutes*")
    minutes: float | None = None

    def covers(self, name: str) -> bool:
        """Tell whether a number is compared."""
        return any(fnmatchcase(name, key) for key in self.keys) and not any(
            fnmatchcase(name, key) for key in self.without
        )


BANDS: Mapping[str, Band] = MappingProxyType(
    {
        "audit_benchmark": Band(0.02, minutes=4),
        "audit_benchmark_test": Band(0.02, minutes=1),
        "audit_zoo": Band(0.02, minutes=1),
        "statistics": Band(0.001, minutes=0.5),
        "embeddings_zoo": Band(0.05, without=("*points*", "*redrawn*"), minutes=1),
        "augmentation_zoo": Band(0.1, keys=("runs.*.ap",), minutes=35),
        "robustness_wild": Band(0.02, minutes=2),
        "robustness_zoo": Band(0.02, minutes=2),
        "generalization_zoo": Band(0.1, keys=("*.means.*.metrics.a*.value",), minutes=8),
    }
)
"""Name of a result -> its band; any other result is compared in full, within `Band()`."""


def commands(folder: Path | None = None) -> dict[str, str]:
    """Read the README of the results: name of a result -> the command that made it.

    Args:
        folder: Holds the results; `data/results` when None.
    """
    place = folder or shipped("results")
    text = (place / "README.md").read_text(encoding="utf-8")
    return {row["file"]: row["command"] for row in _ROW.finditer(text)}


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
        raise ReproduceError(f"{name}: no such result (known: {', '.join(commands(place))})") from None
    except ValueError as error:
        raise ReproduceError(f"{name}: is no JSON document: {error}") from None
    if not isinstance(document, dict):
        raise ReproduceError(f"{name}: a result is one JSON object")
    return document


def run_again(command: str) -> dict[str, Any]:
    """Run a command of the README in a process of its own.

    Args:
        command: Starts with `python -m helpers`, and prints one JSON document.

    Returns:
        The document.

    Raises:
        ReproduceError: It fails, or prints something else.
    """
    words = shlex.split(command)
    if words[:3] != ["python", "-m", "helpers"]:
        raise ReproduceError(f"{command!r}: is no command of this package")
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise ReproduceError(f"{command}: {reason}")
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise ReproduceError(f"{command}: did not print one JSON document") from None
    return dict(document)


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


def compare(old: Mapping[str, Any], new: Mapping[str, Any], band: Band) -> Comparison:
    """Set a result beside the recorded one.

    Args:
        old: As recorded.
        new: As made again.
        band: What is compared, and how near it must come.

    Returns:
        The comparison; a number that is not a number on one side alone is outside.
    """
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
