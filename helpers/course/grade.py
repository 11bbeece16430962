"""Grading: what `check` says of the notebooks that learners hand in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nbformat import NotebookNode

from helpers.course import CourseError, lesson_number, lessons, read_notebook
from helpers.course.execute import code_cells, execute
from helpers.course.exercises import MARKS, Exercise
from helpers.course.rules.exercises import checked

__all__ = ["ABSENT", "Grade", "grade", "outcomes"]

ABSENT = "absent"
"""What the cell of an exercise says that was deleted, renamed or never run."""
SAID = re.compile(rf"^[{''.join(MARKS.values())}] Exercise (\d+\.\d+): (not attempted|passed|not right yet)")


@dataclass(frozen=True)
class Grade:
    """What one notebook reached.

    Attributes:
        notebook: The file as it was named.
        lesson: Its number.
        outcomes: Exercise -> "passed", "not right yet", "not attempted", or "absent".
        error: Empty, or why the notebook could not be read or run.
    """

    notebook: str
    lesson: int
    outcomes: dict[str, str]
    error: str = ""

    @property
    def passed(self) -> int:
        """Number of exercises that passed."""
        return sum(outcome == "passed" for outcome in self.outcomes.values())


def outcomes(notebook: NotebookNode, exercises: Sequence[Exercise]) -> dict[str, str]:
    """Read what `check` printed, in the cells that call it.

    Args:
        notebook: Executed.
        exercises: Of its lesson.

    Returns:
        Exercise -> outcome; "absent" where no cell calls `check` for it, or the cell printed nothing of it.
    """
    found = {exercise.id: ABSENT for exercise in exercises}
    for cell in code_cells(notebook):
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        said = {match[1]: match[2] for line in printed.splitlines() if (match := SAID.match(line))}
        found |= {name: said[name] for name in checked(cell) if name in said and name in found}
    return found


def grade(path: Path, exercises: Sequence[Exercise], folder: Path, *, run: bool = False) -> Grade:
    """Grade one notebook.

    Args:
        path: The notebook that was handed in, named `NN_topic.ipynb`, or with something before or after that name.
        exercises: Of all lessons.
        folder: The course's own `notebooks`, by which the lesson is recognised.
        run: Whether to execute it anew, in a copy, instead of reading its stored outputs.
            It is somebody else's code: run it only where you would run their programs.

    Returns:
        The outcomes; a notebook that fails has an error, and the outcomes up to there.

    Raises:
        CourseError: The name belongs to no lesson.
    """
    number = _lesson_of(path, folder)
    own = [exercise for exercise in exercises if exercise.id.split(".")[0] == str(number)]
    try:
        notebook = read_notebook(path)
    except CourseError as error:
        return Grade(str(path), number, {exercise.id: ABSENT for exercise in own}, str(error))
    failed = _run(notebook) if run else ""
    return Grade(str(path), number, outcomes(notebook, own), failed)


def _run(notebook: NotebookNode) -> str:
    """Execute a notebook in an empty folder; return what failed, or nothing."""
    for cell in code_cells(notebook):
        cell.outputs = []
    with TemporaryDirectory(prefix="natural-traces-") as place:
        try:
            execute(notebook, Path(place))
        except CourseError as error:
            return str(error)
    return ""


def _lesson_of(path: Path, folder: Path) -> int:
    """Recognise a lesson by its name inside the file's name."""
    for lesson in lessons(folder):
        if lesson.stem in path.name:
            return lesson_number(lesson)
    raise CourseError(f"{path.name}: its name holds no lesson's name, such as {lessons(folder)[0].stem}")
