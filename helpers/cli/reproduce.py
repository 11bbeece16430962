"""`python -m helpers reproduce`: make a recorded result again and compare it with what is recorded."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from helpers.course.reproduce import BANDS, Band, ReproduceError, commands, compare, recorded, run_again

SHOWN = 10


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of a result in data/results, without its ending.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List the results with their commands and bands.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run the command that made a recorded result, and compare within its band; exit status 2 when outside."""
    known = commands()
    if listed:
        _print_list(known)
        return
    if name not in known:
        raise ReproduceError(f"{name or 'no name'}: no such result (known: {', '.join(known)})")
    old, begin = recorded(name), time.perf_counter()
    if not as_json:
        typer.echo(f"running: {known[name]}")
    found = compare(old, run_again(known[name]), BANDS.get(name, Band()))
    seconds = time.perf_counter() - begin
    if as_json:
        typer.echo(json.dumps({"name": name, "agrees": found.agrees, **asdict(found), "seconds": round(seconds, 1)}))
    else:
        verdict = "agrees" if found.agrees else "does not agree"
        typer.echo(
            f"{name} {verdict}: {found.compared:,} numbers compared in {seconds:.0f} s, "
            f"largest difference {found.largest:.3g} (band {found.tolerance:g}){f' at {found.at}' if found.at else ''}"
        )
        for path in found.outside[:SHOWN]:
            typer.echo(f"outside: {path}")
    if not found.agrees:
        raise typer.Exit(2)


def _print_list(known: dict[str, str]) -> None:
    """Print one line for each result."""
    shown = Table("result", "command", "band", "minutes", title="Recorded results", title_justify="left")
    for name, command in known.items():
        band = BANDS.get(name, Band())
        shown.add_row(name, command, f"{band.tolerance:g}", "?" if band.minutes is None else f"{band.minutes:g}")
    Console(width=max(110, Console().width)).print(shown)
