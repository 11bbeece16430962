"""From the solution copy, which is the source, to the learner's copy."""

import copy
import os.path
import re
from pathlib import Path

from nbformat import NotebookNode

from helpers.course import CourseError, lessons, read_notebook, tags, write_notebook

EXERCISE, INSTRUCTOR = "exercise", "instructor"
BEGINS, ENDS = "# solution begins", "# solution ends"
STUB = 'raise Todo("your turn")'
LINK = re.compile(r"(\]\()([^)#\s]+)")


def strip_solution(source: str) -> str:
    """Replace each solution of an exercise cell by the stub.

    Args:
        source: code with one or more blocks between the lines `# solution begins` and `# solution ends`.

    Returns:
        The code with `raise Todo(...)` in place of each block, at the same indentation.

    Raises:
        CourseError: if the markers are missing, unpaired, or not inside a function.
    """
    kept: list[str] = []
    inside = False
    for line in source.split("\n"):
        if line.strip() == (ENDS if inside else BEGINS):
            indent = line[: len(line) - len(line.lstrip())]
            if not indent:
                raise CourseError("a solution must stand inside a function, so that its stub raises only when called")
            if not inside:
                kept.append(indent + STUB)
            inside = not inside
        elif line.strip() in (BEGINS, ENDS):
            raise CourseError(f"unpaired marker {line.strip()!r}")
        elif not inside:
            kept.append(line)
    if inside or STUB not in "\n".join(kept):
        raise CourseError(f"an exercise cell needs the lines {BEGINS!r} and {ENDS!r}")
    return "\n".join(kept)


def move_links(text: str) -> str:
    """Rewrite relative links of Markdown text that moves from notebooks/solutions/ to notebooks/.

    A link to another lesson (`01_topic.ipynb`) stays as it is, because each folder holds all lessons.
    """

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith(("mailto:", "data:", "attachment:")) or "/" not in target:
            return match[0]
        return match[1] + os.path.normpath(f"solutions/{target}").replace("\\", "/")

    return LINK.sub(moved, text)


def learner_copy(solution: NotebookNode) -> NotebookNode:
    """Make the learner's notebook, without outputs.

    Args:
        solution: the solution copy.

    Returns:
        A new notebook: instructor cells dropped, solutions replaced by stubs, links moved, cell ids kept.

    Raises:
        CourseError: if an exercise cell has no proper markers; the message names the cell.
    """
    learner = copy.deepcopy(solution)
    learner.cells = [cell for cell in learner.cells if INSTRUCTOR not in tags(cell)]
    for cell in learner.cells:
        if cell.cell_type == "markdown":
            cell.source = move_links(cell.source)
        elif cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if EXERCISE in tags(cell):
                try:
                    cell.source = strip_solution(cell.source)
                except CourseError as error:
                    raise CourseError(f"cell {cell.id}: {error}") from error
    return learner


def same_source(first: NotebookNode, second: NotebookNode) -> bool:
    """Tell whether two notebooks have the same cells (id, type, source, tags) in the same order."""

    def cells(notebook: NotebookNode) -> list[tuple[str, str, str, list[str]]]:
        return [(cell.id, cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells]

    return cells(first) == cells(second)


def build(folder: Path, only: int | None = None) -> list[tuple[Path, bool]]:
    """Write the learner's copies that differ in source from what their solution copies give.

    A copy that is up to date is left alone, with its outputs; a new one has no outputs until `refresh`.

    Args:
        folder: the folder `notebooks`, which holds `solutions`.
        only: a lesson's number, or None for all.

    Returns:
        (learner's copy, whether it was written) for each lesson.

    Raises:
        CourseError: if a solution copy is missing or broken.
    """
    results = []
    for source in lessons(folder / "solutions", only):
        target = folder / source.name
        learner = learner_copy(read_notebook(source))
        changed = not target.exists() or not same_source(read_notebook(target), learner)
        if changed:
            write_notebook(learner, target)
        results.append((target, changed))
    return results
