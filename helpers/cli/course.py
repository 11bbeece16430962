"""`natural-traces course`: build, refresh, run and check the lessons."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import AsJson, group, print_json, tell
from helpers.errors import printable

app = group("Build, refresh, run and check the lessons.")

Lesson = Annotated[int | None, typer.Option("--lesson", help="Only the lesson with this number.")]
Folder = Annotated[
    Path | None, typer.Option("--folder", help="The folder with the learner's copies, and solutions/ in it.")
]


@app.command("build")
def build_command(lesson: Lesson = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """Make the learner's copies from the solution copies (no outputs yet: run refresh)."""
    from helpers.course import NOTEBOOKS
    from helpers.course.build import build
    from helpers.course.index import write_index
    from helpers.course.teaching import write_teaching

    results = build(folder or NOTEBOOKS, lesson)
    write_index(folder or NOTEBOOKS)
    write_teaching(folder or NOTEBOOKS)
    if as_json:
        print_json([{"lesson": path.name, "written": written} for path, written in results], indent=None)
        return
    for path, written in results:
        typer.echo(f"{path.name}: {'written, now run refresh' if written else 'up to date'}")


@app.command("refresh")
def refresh_command(lesson: Lesson = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """Execute both copies of each lesson and store their outputs."""
    from helpers.course import NOTEBOOKS
    from helpers.course.index import write_index
    from helpers.course.refresh import refresh
    from helpers.course.teaching import write_teaching

    times: dict[str, float] = {}

    def after_lesson(name: str, seconds: float) -> None:
        times[name] = round(seconds, 1)
        tell(f"{name}: {seconds:.1f} s")

    refresh(folder or NOTEBOOKS, lesson, after_lesson)
    write_index(folder or NOTEBOOKS)
    write_teaching(folder or NOTEBOOKS)
    if as_json:
        print_json(times, indent=None)


@app.command("run")
def run_command(
    lesson: Lesson = None,
    folder: Folder = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the executed copies go; build/course by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the learner's copies headless and close with a table; exit status 2 if a lesson fails."""
    from rich.console import Console

    from helpers.course import NOTEBOOKS, PROJECT, CourseError
    from helpers.course.run import run, table

    records = run(folder or NOTEBOOKS, out or PROJECT / "build" / "course", lesson)
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        Console().print(table(records))
    failed = [record for record in records if record.error]
    if failed:
        raise CourseError("; ".join(f"{record.lesson}, {record.error}" for record in failed))


@app.command("check")
def check_command(lesson: Lesson = None, folder: Folder = None, as_json: AsJson = False) -> None:
    """Check the lessons against the course's rules without running them; exit status 2 if a rule is broken."""
    from helpers.course import NOTEBOOKS, CourseError
    from helpers.course.check import check_course, warnings
    from helpers.lessons.registry import all_exercises

    all_exercises()  # they register with the course
    problems = check_course(folder or NOTEBOOKS, lesson)
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            typer.echo(str(problem))
        for warning in warnings(folder or NOTEBOOKS, lesson):
            typer.echo(f"warning: {warning}")
    if problems:
        raise CourseError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    if not as_json:
        typer.echo("no problems")


@app.command("index")
def index_command(folder: Folder = None, as_json: AsJson = False) -> None:
    """Write docs/index.md: which lesson uses which function, read from the lessons' code."""
    from helpers.course import NOTEBOOKS
    from helpers.course.index import write_index

    path = write_index(folder or NOTEBOOKS)
    if as_json:
        print_json({"file": str(path)}, indent=None)
        return
    typer.echo(str(path))


@app.command("answers")
def answers_command(
    lesson: Lesson = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of printing.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Print the answer key: solutions, what they must fulfil, mistakes that are caught, right options of quizzes."""
    from helpers.course import NOTEBOOKS
    from helpers.course.answers import answer_key
    from helpers.data.files import write_atomic
    from helpers.lessons.registry import all_exercises

    text = answer_key(all_exercises(), folder or NOTEBOOKS, lesson)
    if out is not None:
        write_atomic(out, text.encode())
    if as_json:
        print_json({"file": None if out is None else str(out), "markdown": text}, indent=None)
    else:
        typer.echo(str(out) if out else text, nl=out is not None)


@app.command("grade")
def grade_command(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks that were handed in.")],
    run: Annotated[
        bool, typer.Option("--run", help="Execute them anew; this runs somebody else's code on this machine.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what `check` says of the exercises in notebooks that were handed in; exit status 2 if one does not run."""
    from helpers.course import NOTEBOOKS, CourseError
    from helpers.course.grade import grade
    from helpers.lessons.registry import all_exercises

    grades = [grade(path, all_exercises(), NOTEBOOKS, run=run) for path in notebooks]
    if as_json:
        print_json([asdict(one) for one in grades])
    else:
        for one in grades:
            words = ", ".join(f"{name} {outcome}" for name, outcome in one.outcomes.items())
            typer.echo(f"{printable(one.notebook)}: {one.passed} of {len(one.outcomes)} passed: {words}")
    if failed := [one for one in grades if one.error]:
        raise CourseError("; ".join(f"{printable(one.notebook)}: {one.error}" for one in failed))
