"""The course's scoreboard: what each lesson claimed of "photographs keep stable statistics", and how it came out.

The claim is a hypothesis. The table lies in `data/scoreboard.toml`; a row names the record or the lesson's cell that
shows its verdict, and is written when the lesson has one, not before.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from helpers.course.figures import display_bundle
from helpers.data.places import data_dir
from helpers.errors import NaturalTracesError

__all__ = ["MARKS", "Row", "ScoreboardError", "Verdict", "markdown", "plain", "read_scoreboard", "scoreboard"]

Verdict = Literal["held", "partly", "failed"]
MARKS: dict[Verdict, str] = {"held": "✔\u00a0held", "partly": "◐\u00a0partly", "failed": "✘\u00a0failed"}
"""How a verdict is shown: a mark and a word on one line, never a colour alone."""
COLUMNS = ("lesson", "claim", "verdict", "where it failed", "shown by")


class ScoreboardError(NaturalTracesError):
    """A row of the scoreboard that lacks a field, has an unknown one, or a verdict that there is not."""


@dataclass(frozen=True)
class Row:
    """One claim of one lesson.

    Attributes:
        lesson: the lesson's number.
        claim: what the lesson tested, as a statement.
        verdict: "held", "partly" or "failed".
        where: where it failed, or what bounds it; never empty, for every verdict has its bounds.
        record: what shows the verdict: `name.json` in `data/results`, or a lesson's cell as `02#cell-id`.
    """

    lesson: int
    claim: str
    verdict: Verdict
    where: str
    record: str


def read_scoreboard(path: Path | None = None) -> list[Row]:
    """Read the scoreboard.

    Args:
        path: a TOML file with one table `[[row]]` per claim; the course's own when None.

    Returns:
        The rows, in the order of the lessons.

    Raises:
        ScoreboardError: if a row is not as it must be; the message names it.
    """
    rows = tomllib.loads((path or data_dir() / "scoreboard.toml").read_text(encoding="utf-8")).get("row", [])
    return sorted((_row(number, fields) for number, fields in enumerate(rows, 1)), key=lambda row: row.lesson)


def _row(number: int, fields: dict[str, object]) -> Row:
    """Make one row of its TOML table."""
    expected = {"lesson": int, "claim": str, "verdict": str, "where": str, "record": str}
    if set(fields) != set(expected):
        raise ScoreboardError(f"row {number}: needs {', '.join(expected)}; has {', '.join(fields) or 'nothing'}")
    for name, kind in expected.items():
        if not isinstance(fields[name], kind) or fields[name] == "":
            raise ScoreboardError(f"row {number}: {name} must be {'a number' if kind is int else 'a text'}")
    if fields["verdict"] not in get_args(Verdict):
        raise ScoreboardError(f"row {number}: the verdict is one of {', '.join(get_args(Verdict))}")
    return Row(**fields)  # type: ignore[arg-type]


def scoreboard(upto: int) -> None:
    """Show the rows of all lessons up to one, so that a lesson closes with the score as it stands.

    Args:
        upto: number of the last lesson to show.

    Raises:
        ScoreboardError: if there is no row for that lesson or an earlier one.
    """
    rows = [row for row in read_scoreboard() if row.lesson <= upto]
    if not rows:
        raise ScoreboardError(f"the scoreboard has no row up to lesson {upto:02d}")
    display_bundle({"text/markdown": markdown(rows), "text/plain": plain(rows)})


def markdown(rows: Sequence[Row]) -> str:
    """Lay the rows out as a Markdown table, which a front end shows without any HTML in it."""
    lines = [_cells(row) for row in rows]
    table = [COLUMNS, ("---",) * len(COLUMNS), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in table)


def plain(rows: Sequence[Row]) -> str:
    """Lay the rows out for a console, one claim after the other."""
    texts = []
    for lesson, claim, verdict, where, record in map(_cells, rows):
        texts.append(f"{lesson}  {verdict}: {claim}\n      where it failed: {where}\n      shown by: {record}")
    return "\n".join(texts)


def _cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row's columns."""
    lesson, _, cell = row.record.partition("#")
    shown = f"cell {cell} of lesson {lesson}" if cell else row.record
    return f"{row.lesson:02d}", row.claim, MARKS[row.verdict], row.where, shown
