"""`python -m helpers transfer`: what soft targets and stage 1 add, and one loss on two processes (lesson 04)."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from helpers.detectors.config import CONFIGS, read_config
from helpers.lessons.lesson04.study import experiment, process_gap

app = typer.Typer(help="Stage 2 on the zoo and on a toy.", no_args_is_help=True)


@app.command("compare")
def compare_arms(
    mapping_steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Steps of stage 2; without stage 1, both numbers together.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare soft, hard, uniform and no targets, with and without stage 1, on generators that training never saw."""
    base = read_config(CONFIGS / "zoo.toml", mapping_steps=mapping_steps, steps=steps)
    with TemporaryDirectory() as folder:
        result = experiment(base, range(seeds), Path(folder), quiet=as_json)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    shown = Table("targets", "stage 1", "score", "mAP, unseen generators", "each run", "full method minus this")
    for row in result["arms"]:
        runs = ", ".join(f"{value:.3f}" for value in row["unseen"]["per_run"])
        cells = [row["targets"], "yes" if row["stage1"] else "no", row["score"], _cell(row["unseen"]), runs]
        shown.add_row(*cells, _cell(row["difference"]) if row["difference"] else "")
    Console(width=max(120, Console().width)).print(shown)


def _cell(part: Mapping[str, Any]) -> str:
    return f"{part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"


@app.command()
def processes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Train a toy on one process and on two: how far do the weights differ, for a mean loss and for a coupled one?"""
    with TemporaryDirectory() as folder:
        gaps = {name: process_gap(Path(folder), coupled=name == "coupled") for name in ("mean", "coupled")}
    result = {"steps": 20, "batch_size": 16, "processes": 2, "largest_difference": gaps}
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    for name, gap in gaps.items():
        typer.echo(f"{name} loss: weights differ by at most {gap:.2g}")
