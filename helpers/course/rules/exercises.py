"""Rules for a lesson's exercises."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from helpers.course import tags
from helpers.course.build import BEGINS, EXERCISE, STUB
from helpers.course.exercises import Exercise, Result, find, registered, report
from helpers.course.rules.lesson import Lesson

Violations = Iterator[tuple[str, str]]

CHECK = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
FIELDS = ("- **Level:** ", "- **Minutes:** ", "- **Why it matters:** ")
HINTS = 3


def checked(cell: NotebookNode) -> list[str]:
    """Return the ids of the exercises that a code cell checks."""
    return CHECK.findall(cell.source)


def well_formed(lesson: Lesson) -> Violations:
    """Every registered exercise is in the notebook once, with its heading, fields and hints, and no other is."""
    expected = [exercise for exercise in registered() if exercise.id.split(".")[0] == str(lesson.number)]
    names = [name for cell in lesson.code for name in checked(cell)]
    if names != [exercise.id for exercise in expected]:
        yield "", f"exercises checked: {names}; registered: {[exercise.id for exercise in expected]}"
    for exercise in expected:
        yield from _task(lesson, exercise)
    for cell in lesson.code:
        marked = (BEGINS if lesson.is_solution else STUB) in cell.source
        if (EXERCISE in tags(cell)) != marked or (BEGINS in cell.source and not lesson.is_solution):
            yield cell.id, f"an exercise cell has the tag '{EXERCISE}' and a solution (or, for learners, a stub)"


def _task(lesson: Lesson, exercise: Exercise) -> Violations:
    """Check the Markdown of one exercise."""
    heading = f"### Exercise {exercise.id} · {exercise.title}"
    text = lesson.prose()
    start = text.find(f"{heading}\n")
    if start < 0:
        yield "", f"no heading '{heading}'"
        return
    rest = text[start + len(heading) :]
    end = re.search(r"^#{2,3} ", rest, re.MULTILINE)
    task = rest[: end.start()] if end else rest
    for field in FIELDS:
        if field not in task:
            yield "", f"exercise {exercise.id} has no line '{field.strip()}'"
    hints = len(re.findall(r"<summary>Hint \d", task))
    if hints != HINTS:
        yield "", f"exercise {exercise.id} has {hints} folded hints, expected {HINTS}"


def outcomes(lesson: Lesson) -> Violations:
    """The stored output says "passed" for every exercise of a solution copy, "not attempted" for a learner's."""
    known = {exercise.id for exercise in registered()}
    for cell in lesson.code:
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for name in sorted(known.intersection(checked(cell))):
            expected = report(find(name), Result("passed" if lesson.is_solution else "not attempted"))
            if expected not in printed.splitlines():
                yield cell.id, f"the stored output does not say '{expected}'"
