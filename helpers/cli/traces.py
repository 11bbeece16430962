"""`python -m helpers traces`: lesson 03's ablation study of stage 1 on the zoo."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from helpers.lessons.lesson03.study import VARIANTS, study


def traces(
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 5,
    variant: Annotated[list[str] | None, typer.Option(help="Only these, besides the first; all when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Leave out one part of stage 1 at a time, and rank photographs and fakes by the natural traces that are left."""
    first, *others = VARIANTS
    unknown = set(variant or ()) - set(VARIANTS)
    if unknown:
        raise typer.BadParameter(f"no such variant: {', '.join(sorted(unknown))}")
    chosen = {name: VARIANTS[name] for name in (first, *others) if not variant or name == first or name in variant}
    result = study(range(seeds), variants=chosen, progress=lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    generators = list(result["variants"][0]["generators"])
    shown = Table("variant", "mean AUC", "full minus this", "spread", "rank", *generators)
    for row in result["variants"]:
        alarms = [row[name]["photographs"] for name in ("spread", "rank")]
        means = [f"{sum(values) / len(values):.2f}" for values in alarms]
        areas = [f"{part['value']:.2f}" for part in row["generators"].values()]
        shown.add_row(row["name"], _cell(row["mean"]), _cell(row["difference"]), *means, *areas)
    Console(width=max(200, Console().width)).print(shown)


def _cell(part: dict[str, float] | None) -> str:
    return f"{part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]" if part else ""
