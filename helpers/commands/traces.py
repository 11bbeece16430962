"""`python -m helpers traces`: what is each term of stage 1 worth? Lesson 03's ablation on the zoo."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from helpers.commands.train import CONFIGS
from helpers.detector import read_config
from helpers.trace_study import VARIANTS, study


def traces(
    steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 150,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 3,
    variant: Annotated[list[str] | None, typer.Option(help="Only these, besides the first; all when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Leave out one part of stage 1 at a time, and rank photographs and fakes by the natural traces that are left."""
    config = read_config(CONFIGS / "zoo.toml", mapping_steps=steps)
    first, *others = VARIANTS
    unknown = set(variant or ()) - set(VARIANTS)
    if unknown:
        raise typer.BadParameter(f"no such variant: {', '.join(sorted(unknown))}")
    chosen = {name: VARIANTS[name] for name in (first, *others) if not variant or name == first or name in variant}
    with TemporaryDirectory() as folder:
        result = study(
            config, range(seeds), Path(folder), variants=chosen, progress=lambda text: typer.echo(text, err=True)
        )
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    shown = Table("variant", "mean AUC", "full minus this", "rank", *result["enlarges"])
    for row in result["variants"]:
        rank = row["rank"]["photographs and broken copies"]
        areas = [f"{part['value']:.2f}" for part in row["generators"].values()]
        apart = _cell(row["difference"]) if row["difference"] else ""
        shown.add_row(row["name"], _cell(row["mean"]), apart, f"{sum(rank) / len(rank):.1f}", *areas)
    Console(width=max(200, Console().width)).print(shown)


def _cell(part: dict[str, float]) -> str:
    return f"{part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"
