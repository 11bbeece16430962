"""Check the lessons against the rules of CONTRIBUTING.md, from what the files say and without running them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.course import CourseError, lesson_number, lessons, read_notebook
from helpers.course.build import learner_copy, same_source
from helpers.course.rules import code, exercises, outputs, quiz, text
from helpers.course.rules.lesson import Lesson

RULES: tuple[Callable[[Lesson], Iterator[tuple[str, str]]], ...] = (
    text.header,
    text.sections,
    text.bookends,
    text.length,
    text.one_sentence_per_line,
    text.plain_markdown,
    text.links,
    code.plain_python,
    code.cell_lengths,
    code.starts_quietly,
    code.cell_tags,
    code.opt_outs,
    outputs.executed_in_order,
    outputs.portable,
    outputs.figures,
    outputs.metadata,
    exercises.well_formed,
    exercises.outcomes,
    quiz.quiz,
)
"""Each rule takes a lesson and yields (cell id or "", what is wrong) for every place where it is broken."""


@dataclass(frozen=True)
class Problem:
    """A broken rule: the notebook's path below `notebooks`, the cell's id (or empty), and what is wrong."""

    notebook: str
    cell: str
    message: str

    def __str__(self) -> str:
        return f"{self.notebook}{f', cell {self.cell}' if self.cell else ''}: {self.message}"


def problems(lesson: Lesson) -> Iterator[Problem]:
    """Yield every broken rule of one copy of one lesson."""
    for rule in RULES:
        for cell, message in rule(lesson):
            yield Problem(lesson.name, cell, message)


def check_course(folder: Path, only: int | None = None) -> list[Problem]:
    """Check both copies of all lessons, or of one.

    Args:
        folder: the folder `notebooks`.
        only: a lesson's number, or None for all.

    Returns:
        All broken rules; empty if the course is in order.

    Raises:
        CourseError: if there is no lesson, or a file is not a notebook.
    """
    broken = []
    for source in lessons(folder / "solutions", only):
        broken += check_pair(folder, source.name)
    for stray in sorted(
        {path.name for path in folder.glob("*.ipynb")} - {path.name for path in (folder / "solutions").glob("*.ipynb")}
    ):
        broken.append(Problem(stray, "", "there is no solution copy of this notebook"))
    return broken


def warnings(folder: Path, only: int | None = None) -> list[Problem]:
    """List what gives the right answers of the course's quizzes away; nothing where only one lesson is checked."""
    if only is not None:
        return []
    solutions = [Lesson(path, lesson_number(path), True, read_notebook(path)) for path in lessons(folder / "solutions")]
    return [Problem("all lessons", "", message) for message in quiz.balance(solutions)]


def check_pair(folder: Path, name: str) -> list[Problem]:
    """Check the two copies of one lesson, and that the learner's copy is what `build` makes of the solution copy."""
    number = lesson_number(Path(name))
    solution = Lesson(folder / "solutions" / name, number, True, read_notebook(folder / "solutions" / name))
    broken = list(problems(solution))
    target = folder / name
    if not target.exists():
        return [*broken, Problem(name, "", "the learner's copy is missing: run refresh")]
    learner = Lesson(target, number, False, read_notebook(target))
    try:
        agrees = same_source(learner.notebook, learner_copy(solution.notebook))
    except CourseError as error:
        return [*broken, Problem(solution.name, "", str(error))]
    if not agrees:
        broken.append(Problem(name, "", "differs from what build makes of the solution copy: run refresh"))
    return broken + list(problems(learner))
