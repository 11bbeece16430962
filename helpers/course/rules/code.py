"""Rules for a lesson's code cells."""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator

from helpers.course import tags
from helpers.course.build import EXERCISE, INSTRUCTOR
from helpers.course.rules.lesson import Lesson

Violations = Iterator[tuple[str, str]]

MOST_LINES, MEDIAN_LINES = 25, 5
IGNORE_OUTPUT = "nbval-ignore-output"
REASON = "# not compared: "
ALLOWED_TAGS = {EXERCISE, INSTRUCTOR, IGNORE_OUTPUT}
MOST_OPT_OUTS = 0.2
FORBIDDEN = ("chdir(", "plt.show(", "NBVAL_", "PYTEST_VALIDATE", "pip install")
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Count the lines that hold code: not empty, not only a comment, not part of a docstring.

    Args:
        source: Python code.

    Returns:
        The number of lines.

    >>> lines_of_code('# why' + chr(10) + 'a = 1' + chr(10) + chr(10) + 'b = (a +' + chr(10) + '     2)')
    3
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in NOT_CODE for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def plain_python(lesson: Lesson) -> Violations:
    """Cells are plain Python that installs nothing, stays in its folder and shows figures by the helper."""
    for cell in lesson.notebook.cells:
        if cell.cell_type != "code":
            continue
        if not cell.source.strip():
            yield cell.id, "empty code cell"
        elif not _is_python(cell.source):
            yield cell.id, "not plain Python"
        for text in FORBIDDEN:
            if text in cell.source:
                yield cell.id, f"not allowed in a lesson: {text}"


def cell_lengths(lesson: Lesson) -> Violations:
    """One idea per cell: at most 25 lines of code, median at most 5."""
    lengths = {cell.id: lines_of_code(cell.source) for cell in lesson.code if _is_python(cell.source)}
    for cell_id, lines in lengths.items():
        if lines > MOST_LINES:
            yield cell_id, f"{lines} lines of code, allowed {MOST_LINES}"
    if lengths and statistics.median(lengths.values()) > MEDIAN_LINES:
        yield "", f"median of {statistics.median(lengths.values()):g} lines of code per cell, allowed {MEDIAN_LINES}"


def starts_quietly(lesson: Lesson) -> Violations:
    """The first code cell calls `start` with the lesson's number and shows nothing."""
    if not lesson.code:
        yield "", "no code cells"
        return
    first = lesson.code[0]
    if f"start(lesson={lesson.number})" not in first.source:
        yield first.id, f"the first code cell does not call start(lesson={lesson.number})"
    if first.outputs:
        yield first.id, "the first code cell shows something"


def cell_tags(lesson: Lesson) -> Violations:
    """Only known tags are used, and the learner's copy has no teacher's notes."""
    for cell in lesson.notebook.cells:
        unknown = set(tags(cell)) - ALLOWED_TAGS
        if unknown:
            yield cell.id, f"unknown tag: {', '.join(sorted(unknown))}"
        if INSTRUCTOR in tags(cell) and not lesson.is_solution:
            yield cell.id, "teacher's notes in the learner's copy"
    if lesson.is_solution and not any(INSTRUCTOR in tags(cell) for cell in lesson.notebook.cells):
        yield "", "the solution copy has no teacher's notes"


def opt_outs(lesson: Lesson) -> Violations:
    """Fewer than a fifth of the code cells escape comparison, each with its reason."""
    chosen = [cell for cell in lesson.code if IGNORE_OUTPUT in tags(cell)]
    for cell in chosen:
        reasons = [line.strip() for line in cell.source.splitlines() if line.strip().startswith(REASON)]
        if not any(len(reason) > len(REASON) + 10 for reason in reasons):
            yield cell.id, f"the output is not compared, and no comment '{REASON}...' says why"
    if chosen and len(chosen) >= MOST_OPT_OUTS * len(lesson.code):
        yield "", f"{len(chosen)} of {len(lesson.code)} code cells are not compared, allowed are fewer than a fifth"
