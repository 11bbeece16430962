"""`natural-traces embeddings`: record the study of lesson 05, and draw its main figure."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import AsJson, draw_file, group, one_line_numbers, tell

app = group("What the zoo's detector learnt: maps, neighbours, trust.")


@app.command()
def record(as_json: AsJson = False) -> None:
    """Embed, map and measure the study of lesson 05; takes about a minute on one core."""
    from helpers.lessons.lesson05 import study

    results = study.measure_embeddings(tell)
    if as_json:
        typer.echo(one_line_numbers(results))
        return
    for stage, row in results["stages"].items():
        label, auc = row["purity"]["label"], row["vote_auc"]
        typer.echo(
            f"{stage}: trust {row['trust']:.3f}, continuity {row['continuity']:.3f}, gap {row['gap']:.2f}, "
            f"label purity {label['value']:.2f} [{label['low']:.2f}, {label['high']:.2f}], "
            f"chance {label['chance']:.2f}, "
            f"AUC on the unseen {auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"
        )


@app.command()
def figure(
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("data/figures/embedding.png"),
    as_json: AsJson = False,
) -> None:
    """Draw the maps of the three stages from the record."""
    from helpers.lessons.lesson05 import figures, study

    images = study.study_set(study.study_detector())
    draw_file(lambda: figures.summary_figure(study.read_record(), images.manifest), out, as_json)
