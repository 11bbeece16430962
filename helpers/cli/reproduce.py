"""`natural-traces reproduce`: make a recorded result again and compare it with what is recorded."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from helpers.cli import Status
from helpers.cli.common import AsJson, print_json, print_rows, tell

SHOWN = 10


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of a result in data/results, without its ending.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List the results with their commands and bands.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the command that made a recorded result, and compare within its band; exit status 2 when outside."""
    from helpers.course.reproduce import BANDS, Band, ReproduceError, commands, compare, recorded, run_again

    known = commands()
    if listed:
        _print_list(known, as_json)
        return
    if name not in known:
        raise ReproduceError(f"{name or 'no name'}: no such result (known: {', '.join(known)})")
    old, begin = recorded(name), time.perf_counter()
    tell(f"running: {known[name]}")
    found = compare(old, run_again(known[name]), BANDS.get(name, Band()))
    seconds = time.perf_counter() - begin
    if as_json:
        found_again = {"name": name, "agrees": found.agrees, **asdict(found), "seconds": round(seconds, 1)}
        print_json(found_again, indent=None)
    else:
        verdict = "agrees" if found.agrees else "does not agree"
        typer.echo(
            f"{name} {verdict}: {found.compared:,} numbers compared in {seconds:.0f} s, "
            f"largest difference {found.largest:.3g} (band {found.tolerance:g}){f' at {found.at}' if found.at else ''}"
        )
        for path in found.outside[:SHOWN]:
            typer.echo(f"outside: {path}")
    if not found.agrees:
        raise typer.Exit(Status.FAILED)


def _print_list(known: dict[str, str], as_json: bool) -> None:
    """Print one line for each result."""
    from helpers.course.reproduce import BANDS, Band

    bands = {name: BANDS.get(name, Band()) for name in known}
    if as_json:
        print_json(
            [
                {"name": name, "command": known[name], "band": band.tolerance, "minutes": band.minutes}
                for name, band in bands.items()
            ]
        )
        return
    rows = [
        (name, known[name], f"{band.tolerance:g}", "?" if band.minutes is None else f"{band.minutes:g}")
        for name, band in bands.items()
    ]
    print_rows(("result", "command", "band", "minutes"), rows, title="Recorded results", width=110)
