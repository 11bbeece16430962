"""What a teacher plans by: minutes of each lesson and plans made of them, read from the solution copies.

Minutes of reading and exercises stand in a lesson's header; minutes in class, misconceptions and questions to discuss
stand in its notes for teachers. `docs/teaching.md` shows them between marks that `write_teaching` fills.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.course import NOTEBOOKS, CourseError, lesson_number, lessons, read_notebook, tags
from helpers.course.build import INSTRUCTOR
from helpers.course.pages import fill
from helpers.data.files import write_atomic

__all__ = ["PLANS", "Plan", "Timing", "misconceptions", "notes", "read_timing", "teaching_page", "write_teaching"]

TITLE = re.compile(r"^# \d+ · (.+)$", re.MULTILINE)
FIELD = r"^- \*\*{}:\*\* (\d+) "
IN_CLASS = re.compile(r"^\*\*Timing\*\* \((\d+) minutes\): (.+)$", re.MULTILINE)
PART = re.compile(r" (\d+)(?=,|\.$)")
HEADED = re.compile(r"^\*\*(\w+)\*\*\n\n(.*?)(?=^\*\*\w+\*\*|\Z)", re.MULTILINE | re.DOTALL)

Plan = Sequence[tuple[str, Sequence[int]]]
"""Sessions in order, each with the lessons that it holds."""

PLANS: Mapping[str, Plan] = {
    "two days": (
        ("day 1, morning", (0, 1)),
        ("day 1, afternoon", (2, 3)),
        ("day 2, morning", (4, 6)),
        ("day 2, afternoon", (7, 9)),
        ("afterwards, alone", (5, 8)),
    ),
    "six weeks": (
        ("week 1", (0, 1)),
        ("week 2", (2, 3)),
        ("week 3", (4, 5)),
        ("week 4", (6,)),
        ("week 5", (7, 8)),
        ("week 6", (9,)),
    ),
}


@dataclass(frozen=True)
class Timing:
    """How long one lesson takes.

    Attributes:
        path: Its solution copy.
        title: Without its number.
        reading: Minutes, as the header states.
        exercises: Minutes, the sum that `refresh` writes.
        run: Seconds, measured by `refresh`.
        in_class: Minutes, as the notes for teachers plan them.
    """

    path: Path
    title: str
    reading: int
    exercises: int
    run: int
    in_class: int

    @property
    def number(self) -> int:
        """Of the lesson."""
        return lesson_number(self.path)

    @property
    def alone(self) -> int:
        """Minutes of somebody who reads and solves alone."""
        return self.reading + self.exercises


def notes(path: Path) -> str:
    """Return a lesson's notes for teachers as one text.

    Args:
        path: Of the solution copy.
    """
    cells = read_notebook(path).cells
    return "\n\n".join(cell.source for cell in cells if INSTRUCTOR in tags(cell) and cell.cell_type == "markdown")


def read_timing(path: Path) -> Timing:
    """Read how long a lesson takes.

    Args:
        path: Of the solution copy.

    Raises:
        CourseError: The header or the notes lack a number, or the parts of the plan in class do not add up.
    """
    header = read_notebook(path).cells[0].source
    found = [re.search(FIELD.format(name), header, re.MULTILINE) for name in ("Reading time", "Exercise time")]
    run, title = re.search(FIELD.format("Run time"), header, re.MULTILINE), TITLE.search(header)
    planned = IN_CLASS.search(notes(path))
    if title is None or run is None or planned is None or None in found:
        raise CourseError(f"{path.name}: no title, times in the header, or line '**Timing** (N minutes): ...'")
    parts = sum(int(minutes) for minutes in PART.findall(planned[2]))
    if parts != int(planned[1]):
        raise CourseError(f"{path.name}: the parts of its timing take {parts} minutes together, not {planned[1]}")
    reading, exercises = (int(match[1]) for match in found if match)
    return Timing(path, title[1], reading, exercises, int(run[1]), int(planned[1]))


def _link(timing: Timing) -> str:
    return f"[{timing.number:02d}](../notebooks/{timing.path.name})"


def timing_table(timings: Sequence[Timing]) -> str:
    """Lay out the minutes of all lessons, with their sums."""
    lines = ["| lesson | | reading | exercises | in class | computing |", "|---|---|---|---|---|---|"]
    for one in timings:
        minutes = f"{one.reading} min | {one.exercises} min | {one.in_class} min | {one.run} s"
        lines.append(f"| {_link(one)} | {one.title} | {minutes} |")
    sums = [sum(getattr(one, name) for one in timings) for name in ("reading", "exercises", "in_class", "run")]
    return "\n".join([*lines, f"| all | | {sums[0]} min | {sums[1]} min | {sums[2]} min | {sums[3]} s |"])


def plan_table(plan: Plan, timings: Sequence[Timing]) -> str:
    """Lay out a plan; lessons that do not exist are left out.

    Args:
        plan: One of `PLANS`.
        timings: Of the lessons that there are.
    """
    known = {one.number: one for one in timings}
    lines = ["| when | lessons | in class | of that exercises | reading before |", "|---|---|---|---|---|"]
    for when, numbers in plan:
        held = [known[number] for number in numbers if number in known]
        if held:
            alone = when.endswith("alone")
            in_class = "-" if alone else f"{sum(one.in_class for one in held)} min"
            exercises, reading = (sum(getattr(one, name) for one in held) for name in ("exercises", "reading"))
            links = ", ".join(map(_link, held))
            lines.append(f"| {when} | {links} | {in_class} | {exercises} min | {reading} min |")
    return "\n".join(lines)


def misconceptions(path: Path) -> list[str]:
    """List the misconceptions in a lesson's notes for teachers, each with its answer."""
    return [
        line.removeprefix("- ")
        for name, text in HEADED.findall(notes(path))
        if name == "Misconceptions"
        for line in text.splitlines()
        if line.startswith("- ")
    ]


def _misconception_lists(timings: Sequence[Timing]) -> Iterator[str]:
    for one in timings:
        yield f"### Lesson {one.number:02d}\n\n" + "\n".join(f"- {line}" for line in misconceptions(one.path))


def teaching_page(text: str, folder: Path = NOTEBOOKS) -> str:
    """Fill the page for teachers.

    Args:
        text: Of the page, with its marks.
        folder: `notebooks`, with `solutions` in it.

    Raises:
        CourseError: A lesson's times are missing or do not add up.
        RecordError: The page lacks a mark.
    """
    timings = [read_timing(path) for path in lessons(folder / "solutions")]
    parts = {"timing": timing_table(timings), "misconceptions": "\n\n".join(_misconception_lists(timings))}
    return fill(text, parts | {name: plan_table(plan, timings) for name, plan in PLANS.items()})


def write_teaching(folder: Path = NOTEBOOKS) -> Path | None:
    """Write the numbers of `docs/teaching.md` anew; return its path, or None where there is no such page."""
    path = folder.parent / "docs" / "teaching.md"
    if not path.is_file():
        return None
    write_atomic(path, teaching_page(path.read_text(encoding="utf-8"), folder).encode())
    return path
