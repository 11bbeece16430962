"""The only command that writes outputs: execute both copies of a lesson, and store what is stable."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.course import CourseError, lessons, read_notebook, write_notebook
from helpers.course.build import learner_copy
from helpers.course.execute import code_cells, execute
from helpers.course.widgets import WIDGET_VIEW

RUN_TIME = re.compile(r"(\*\*Run time:\*\* )\S+( s\b)")
EXERCISE_TIME = re.compile(r"(\*\*Exercise time:\*\* )\S+ min")
MINUTES = re.compile(r"^- \*\*Minutes:\*\* (\d+)", re.MULTILINE)
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def clean(notebook: NotebookNode) -> None:
    """Drop, in place, what changes from run to run or needs a kernel: versions, timing, widget state and views."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)  # type: ignore[no-untyped-call]
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)
    for cell in notebook.cells:
        for key in set(cell.metadata) - {"tags"}:
            del cell.metadata[key]
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]


def with_run_time(source: str, seconds: float) -> str:
    """Write a measured run time into the header cell, rounded up to five seconds so that it rarely changes.

    >>> with_run_time("- **Run time:** 0 s on 2 CPU cores", 12.3)
    '- **Run time:** 15 s on 2 CPU cores'
    """
    return RUN_TIME.sub(rf"\g<1>{max(5, 5 * math.ceil(seconds / 5))}\g<2>", source)


def exercise_minutes(notebook: NotebookNode) -> int:
    """Sum the minutes that the exercises' texts state."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return sum(int(minutes) for text in texts for minutes in MINUTES.findall(text))


def with_exercise_time(source: str, minutes: int) -> str:
    """Write the sum of the exercises' minutes into the header cell.

    >>> with_exercise_time("- **Exercise time:** 1 min", 25)
    '- **Exercise time:** 25 min'
    """
    return EXERCISE_TIME.sub(rf"\g<1>{minutes} min", source)


def refresh_lesson(folder: Path, name: str, after_cell: Callable[[], None] = lambda: None) -> float:
    """Execute the solution copy and the learner's copy of one lesson and store both.

    Nothing is written unless both run to their ends.

    Args:
        folder: the folder `notebooks`.
        name: file name of the lesson.
        after_cell: called after each code cell.

    Returns:
        Run time of the learner's copy in seconds.

    Raises:
        CourseError: if a cell fails; the message names lesson, copy and cell.
    """
    solution = read_notebook(folder / "solutions" / name)
    clean(solution)
    learner = learner_copy(solution)
    times = []
    for copy_name, notebook, place in (("solution", solution, folder / "solutions"), ("learner", learner, folder)):
        try:
            times.append(execute(notebook, place, after_cell, checked=True))
        except CourseError as error:
            raise CourseError(f"{name} ({copy_name}'s copy), {error}") from error
    for notebook in (solution, learner):
        header = with_run_time(notebook.cells[0].source, times[1])
        notebook.cells[0].source = with_exercise_time(header, exercise_minutes(notebook))
        clean(notebook)
    write_notebook(solution, folder / "solutions" / name)
    write_notebook(learner, folder / name)
    return times[1]


def refresh(folder: Path, only: int | None = None, after_lesson: Callable[[str, float], None] | None = None) -> None:
    """Refresh all lessons, or one.

    Args:
        folder: the folder `notebooks`.
        only: a lesson's number, or None for all.
        after_lesson: called with name and seconds after each lesson.

    Raises:
        CourseError: at the first lesson that fails; those before it are stored.
    """
    for path in lessons(folder / "solutions", only):
        seconds = refresh_lesson(folder, path.name)
        if after_lesson:
            after_lesson(path.name, seconds)
