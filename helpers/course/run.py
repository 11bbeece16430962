"""Run the whole course headless, with progress, and close with a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from helpers.course import CourseError, lessons, read_notebook, write_notebook
from helpers.course.execute import code_cells, execute, headlines, strays


@dataclass(frozen=True)
class LessonRun:
    """How one lesson went.

    Attributes:
        lesson: file name without its ending.
        cells: code cells executed.
        seconds: run time without the kernel's start.
        headlines: the lesson's main numbers.
        outside: names of those that lie outside their usual bands.
        executed: where the executed copy lies.
        error: empty, or what failed and in which cell.
    """

    lesson: str
    cells: int
    seconds: float
    headlines: dict[str, float] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    executed: str = ""
    error: str = ""


def run_lesson(path: Path, out: Path, progress: Progress) -> LessonRun:
    """Execute one learner's copy and store the result; a failing lesson is stored too, and reported in `error`."""
    notebook = read_notebook(path)
    task = progress.add_task(path.stem, total=len(code_cells(notebook)))
    done = 0

    def after_cell() -> None:
        nonlocal done
        done += 1
        progress.advance(task)

    seconds, error = 0.0, ""
    try:
        seconds = execute(notebook, path.parent, after_cell)
    except CourseError as problem:
        error = str(problem)
    target = out / path.name
    write_notebook(notebook, target)
    numbers, outside = headlines(notebook), strays(notebook)
    return LessonRun(path.stem, done, round(seconds, 1), numbers, outside, _readable(target), error)


def _readable(path: Path) -> str:
    """Return a path as seen from the working directory where it lies below it."""
    path = path.resolve()
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def run(folder: Path, out: Path, only: int | None = None, console: Console | None = None) -> list[LessonRun]:
    """Execute all learner's copies, or one; a failing lesson does not stop the others.

    Args:
        folder: the folder `notebooks`.
        out: where the executed copies go.
        only: a lesson's number, or None for all.
        console: where progress is shown; default: standard error.

    Returns:
        One record per lesson.

    Raises:
        CourseError: if there is no lesson.
    """
    console = console or Console(stderr=True)
    paths = lessons(folder, only)
    records = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for path in paths:
            records.append(run_lesson(path, out, progress))
            if not console.is_terminal:  # a log file shows no moving bar, so it gets a line
                console.print(f"{path.stem}: {records[-1].error or f'{records[-1].seconds:.1f} s'}", soft_wrap=True)
    return records


def table(records: Sequence[LessonRun]) -> Table:
    """Lay out the closing table."""
    result = Table(title="The course, executed", show_lines=True, show_footer=len(records) > 1)
    result.add_column("lesson", footer="all", overflow="fold")
    result.add_column("cells", footer=str(sum(record.cells for record in records)), justify="right")
    result.add_column("seconds", footer=f"{sum(record.seconds for record in records):.1f}", justify="right")
    result.add_column("headline numbers", overflow="fold")
    result.add_column("executed copy", overflow="fold")
    for record in records:
        numbers = "\n".join(
            f"{name}: {value:.4g}{' (outside its usual band)' if name in record.outside else ''}"
            for name, value in record.headlines.items()
        )
        outcome = f"FAILED at {record.error}" if record.error else numbers
        cells = (record.lesson, str(record.cells), f"{record.seconds:.1f}", outcome, record.executed)
        result.add_row(*(Text(cell) for cell in cells))
    return result
