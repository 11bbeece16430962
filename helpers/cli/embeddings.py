"""`python -m helpers embeddings`: record the study of lesson 05, and draw its main figure."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from helpers.course.figures import png_bytes, use_style
from helpers.data.files import write_atomic
from helpers.lessons.lesson05 import figures as embedding_plots
from helpers.lessons.lesson05 import study as embedding_study

app = typer.Typer(help="What the zoo's detector learnt: maps, neighbours, trust.", no_args_is_help=True)


@app.command()
def record(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Embed, map and measure the study of lesson 05; takes about a minute on one core."""
    found = embedding_study.measure_embeddings(lambda step: None if as_json else typer.echo(step))
    if as_json:
        typer.echo(compact(json.dumps(found, indent=1)))
        return
    for stage, row in found["stages"].items():
        label, auc = row["purity"]["label"], row["vote_auc"]
        typer.echo(
            f"{stage}: trust {row['trust']:.3f}, continuity {row['continuity']:.3f}, gap {row['gap']:.2f}, "
            f"label purity {label['value']:.2f} [{label['low']:.2f}, {label['high']:.2f}], "
            f"chance {label['chance']:.2f}, "
            f"AUC on the unseen {auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"
        )


def compact(text: str) -> str:
    """Put every list of plain numbers of an indented JSON document on one line."""
    return re.sub(r"\[[-\d.,e\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)


@app.command()
def figure(
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("data/figures/embedding.png"),
) -> None:
    """Draw the maps of the three stages from the record."""
    use_style()
    images = embedding_study.study_set(embedding_study.study_detector())
    fig = embedding_plots.summary_figure(embedding_study.read_record(), images.manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, png_bytes(fig))
    typer.echo(f"{out}: {out.stat().st_size / 1000:.0f} kB")
