"""`natural-traces transfer`: what soft targets and stage 1 add, and one loss on two processes (lesson 04)."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from helpers.cli.common import AsJson, group, interval, print_json, print_rows

app = group("Stage 2 on the zoo and on a toy.")


@app.command("compare")
def compare_arms(
    mapping_steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Steps of stage 2; without stage 1, both numbers together.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Compare soft, hard, uniform and no targets, with and without stage 1, on generators that training never saw."""
    from helpers.detectors.config import config_path
    from helpers.detectors.ntf.detector import NaturalTraceConfig
    from helpers.detectors.registry import read_config
    from helpers.lessons.lesson04.study import experiment

    base = read_config(config_path("zoo"), NaturalTraceConfig, mapping_steps=mapping_steps, steps=steps)
    with TemporaryDirectory() as folder:
        result = experiment(base, range(seeds), Path(folder), quiet=as_json)
    if as_json:
        print_json(result, indent=1)
        return
    rows = []
    for row in result["arms"]:
        runs = ", ".join(f"{value:.3f}" for value in row["unseen"]["per_run"])
        cells = [row["targets"], "yes" if row["stage1"] else "no", row["score"], interval(row["unseen"]), runs]
        rows.append([*cells, interval(row["difference"])])
    heads = ("targets", "stage 1", "score", "mAP, unseen generators", "each run", "full method minus this")
    print_rows(heads, rows, width=120)


@app.command()
def processes(
    as_json: AsJson = False,
) -> None:
    """Train a toy on one process and on two: how far do the weights differ, for a mean loss and for a coupled one?

    The coupled one twice: with the fakes of the own share as negatives, and with those of all processes.
    """
    from helpers.lessons.lesson04.study import process_gap

    with TemporaryDirectory() as folder:
        kinds = {"mean": (False, False), "coupled": (True, False), "gathered": (True, True)}
        gaps = {name: process_gap(Path(folder), coupled=one, gather=two) for name, (one, two) in kinds.items()}
    result = {"steps": 20, "batch_size": 16, "processes": 2, "largest_difference": gaps}
    if as_json:
        print_json(result, indent=1)
        return
    for name, gap in gaps.items():
        typer.echo(f"{name} loss: weights differ by at most {gap:.2g}")
