"""`python -m helpers course`: build, refresh, run and check the lessons."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from helpers.course import NOTEBOOKS, PROJECT, CourseError
from helpers.course.build import build
from helpers.course.check import check_course
from helpers.course.index import write_index
from helpers.course.refresh import refresh
from helpers.course.run import run, table
from helpers.lessons.registry import all_exercises

app = typer.Typer(help="Build, refresh, run and check the lessons.", no_args_is_help=True)

Lesson = Annotated[int | None, typer.Option("--lesson", help="Only the lesson with this number.")]
Folder = Annotated[Path, typer.Option("--folder", help="The folder with the learner's copies, and solutions/ in it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _fail(message: object) -> typer.Exit:
    """Print a one-line error and return the exit that ends the command with status 2."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(2)


@app.command("build")
def build_command(lesson: Lesson = None, folder: Folder = NOTEBOOKS, as_json: Json = False) -> None:
    """Make the learner's copies from the solution copies (no outputs yet: run refresh)."""
    try:
        results = build(folder, lesson)
        write_index(folder)
    except CourseError as error:
        raise _fail(error) from None
    if as_json:
        typer.echo(json.dumps([{"lesson": path.name, "written": written} for path, written in results]))
        return
    for path, written in results:
        typer.echo(f"{path.name}: {'written, now run refresh' if written else 'up to date'}")


@app.command("refresh")
def refresh_command(lesson: Lesson = None, folder: Folder = NOTEBOOKS, as_json: Json = False) -> None:
    """Execute both copies of each lesson and store their outputs."""
    times: dict[str, float] = {}

    def after_lesson(name: str, seconds: float) -> None:
        times[name] = round(seconds, 1)
        typer.echo(f"{name}: {seconds:.1f} s", err=as_json)

    try:
        refresh(folder, lesson, after_lesson)
        write_index(folder)
    except CourseError as error:
        raise _fail(error) from None
    if as_json:
        typer.echo(json.dumps(times))


@app.command("run")
def run_command(
    lesson: Lesson = None,
    folder: Folder = NOTEBOOKS,
    out: Annotated[Path, typer.Option("--out", help="Where the executed copies go.")] = PROJECT / "build" / "course",
    as_json: Json = False,
) -> None:
    """Run the learner's copies headless and close with a table; exit status 2 if a lesson fails."""
    try:
        records = run(folder, out, lesson)
    except CourseError as error:
        raise _fail(error) from None
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(record) for record in records], indent=2))
    else:
        Console().print(table(records))
    failed = [record for record in records if record.error]
    if failed:
        raise _fail("; ".join(f"{record.lesson}, {record.error}" for record in failed))


@app.command("check")
def check_command(lesson: Lesson = None, folder: Folder = NOTEBOOKS, as_json: Json = False) -> None:
    """Check the lessons against the course's rules without running them; exit status 2 if a rule is broken."""
    try:
        all_exercises()  # they register with the course
        problems = check_course(folder, lesson)
    except CourseError as error:
        raise _fail(error) from None
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(problem) for problem in problems], indent=2))
    else:
        for problem in problems:
            typer.echo(str(problem))
    if problems:
        raise _fail(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    if not as_json:
        typer.echo("no problems")


@app.command("index")
def index_command(folder: Folder = NOTEBOOKS) -> None:
    """Write docs/index.md: which lesson uses which function, read from the lessons' code."""
    try:
        typer.echo(str(write_index(folder)))
    except CourseError as error:
        raise _fail(error) from None


if __name__ == "__main__":
    app()
