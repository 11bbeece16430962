"""`natural-traces reproduce`: make a recorded result again and compare it with what is recorded."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.cli import Status
from helpers.cli.common import AsJson, print_json, print_rows, tell

if TYPE_CHECKING:
    from helpers.course.records import Records

SHOWN = 10


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of a result in data/results, without its ending.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List the results with their commands and bands.")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Only print the commands that lead to the result.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the commands that made a recorded result, and compare within its band; exit status 2 when outside."""
    from helpers.course.records import read_records
    from helpers.course.reproduce import compare, make_again, recorded

    known = read_records()
    if listed:
        _print_list(known, as_json)
        return
    wanted = known.steps(name)
    if steps:
        commands = [step.command for step in wanted]
        print_json(commands) if as_json else typer.echo("\n".join(commands))
        return
    old, begin = recorded(name), time.perf_counter()
    new = make_again(wanted, lambda command: tell(f"running: {command}"))
    result = compare(old, new, known.records[name].band)
    seconds = time.perf_counter() - begin
    if as_json:
        print_json({"name": name, "agrees": result.agrees, **asdict(result), "seconds": round(seconds, 1)}, indent=None)
    else:
        verdict, at = "agrees" if result.agrees else "does not agree", f" at {result.at}" if result.at else ""
        typer.echo(
            f"{name} {verdict}: {result.compared:,} numbers compared in {seconds:.0f} s, "
            f"largest difference {result.largest:.3g} (band {result.tolerance:g}){at}"
        )
        for path in result.outside[:SHOWN]:
            typer.echo(f"outside: {path}")
    if not result.agrees:
        raise typer.Exit(Status.FAILED)


def _print_list(known: "Records", as_json: bool) -> None:
    """Print one line for each result."""
    entries = [
        {
            "name": name,
            "title": record.title,
            "steps": [step.command for step in known.steps(name)],
            "band": record.band.tolerance,
            "minutes": record.minutes,
        }
        for name, record in known.records.items()
    ]
    if as_json:
        print_json(entries)
        return
    rows = [
        (
            name,
            record.title,
            str(len(known.steps(name))),
            f"{record.band.tolerance:g}",
            "?" if record.minutes is None else f"{record.minutes:g}",
        )
        for name, record in known.records.items()
    ]
    print_rows(("result", "what", "steps", "band", "minutes"), rows, title="Recorded results", width=110)
