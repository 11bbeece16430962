"""The course as a whole: build the learner's copies, refresh stored outputs, run everything, check the rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import NaturalTracesError

if TYPE_CHECKING:  # lessons import this package, and nbformat takes half a second that they do not need
    from nbformat import NotebookNode

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"


class CourseError(NaturalTracesError):
    """A lesson is missing, breaks a rule, or does not run to its end."""


def lesson_number(path: Path) -> int:
    """Return the lesson's number from a file name such as `03_natural_trace_mapping.ipynb`."""
    return int(path.name[:2])


def lessons(folder: Path, only: int | None = None) -> list[Path]:
    """List the lessons of a folder in order.

    Args:
        folder: `notebooks` or `notebooks/solutions`.
        only: a lesson's number, to list just this one.

    Returns:
        Paths of the notebooks named `NN_topic.ipynb`.

    Raises:
        CourseError: if there is none.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in paths if only is None or lesson_number(path) == only]
    if not chosen:
        missing = "are no lessons" if only is None else f"is no lesson {only:02d}"
        raise CourseError(f"there {missing} in {folder.name}/; the course runs from a clone of the project")
    return chosen


def read_notebook(path: Path) -> NotebookNode:
    """Read and validate a notebook, format 4.5 (cells have ids).

    Raises:
        CourseError: if the file is not a valid notebook.
    """
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise CourseError(f"{path.name}: not a valid notebook ({str(error).splitlines()[0]})") from error
    if notebook.nbformat_minor < 5:
        raise CourseError(f"{path.name}: its cells have no ids; write it in notebook format 4.5")
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook with Unix line ends on every system; the file appears whole or not at all."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    draft.write_text(text + "\n", encoding="utf-8", newline="\n")
    draft.replace(path)


def tags(cell: NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags", []))
