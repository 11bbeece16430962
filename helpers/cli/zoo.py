"""`natural-traces zoo`: train the generators, make their images again, check what ships, measure their marks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Device,
    Draws,
    group,
    kept_checkpoint,
    kept_on_interrupt,
    only_run,
    print_json,
    print_rows,
    tell,
)
from helpers.errors import NaturalTracesError

if TYPE_CHECKING:
    import pandas as pd

app = group("The generator zoo: train, sample, verify, measure.")

Names = Annotated[list[str] | None, typer.Argument(help="Generators; see `zoo list`.")]
All = Annotated[bool, typer.Option("--all", help="All twelve.")]
Folder = Annotated[Path | None, typer.Option(help="The zoo's folder; data/zoo by default.")]


def _chosen(names: list[str] | None, everything: bool) -> list[str]:
    """The generators that a command line names."""
    from helpers.generators.recipes import RECIPES, recipe

    if everything == bool(names):
        raise NaturalTracesError("name one generator or more, or say --all")
    return [recipe(name).name for name in (RECIPES if everything else names or [])]


def _print(table: "pd.DataFrame", as_json: bool) -> None:
    """Show a table, or its rows as JSON."""
    text = table.to_json(orient="records", indent=2) if as_json else table.to_string(index=False)
    typer.echo(text)


@app.command("list")
def list_generators(as_json: AsJson = False) -> None:
    """List the twelve generators."""
    from helpers.generators.roster import ROSTER

    heads = ("name", "family", "title", "enlarges by", "follows")
    rows = [(one.name, one.family, one.title, one.enlarges, one.paper) for one in ROSTER.values()]
    if as_json:
        print_json([dict(zip(heads, row, strict=True)) for row in rows])
        return
    print_rows(heads, rows, width=150)


@app.command()
def train(
    names: Names = None,
    everything: All = False,
    runs: Annotated[Path, typer.Option(help="Folder of checkpoints and logs.")] = Path("runs/zoo"),
    steps: Annotated[int | None, typer.Option(help="Steps, other than the recipe's.")] = None,
    device: Device = "auto",
    anew: Annotated[bool, typer.Option("--anew", help="Forget an interrupted run.")] = False,
    adopt: Annotated[bool, typer.Option(help="Copy the finished weights into the zoo's folder.")] = True,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Train generators from nothing (or resume), and put their weights into the zoo's folder."""
    from helpers.api import find_device
    from helpers.generators import release
    from helpers.generators.training import train as train_one

    done = []
    for name in _chosen(names, everything):
        with (
            only_run(runs / name),
            kept_on_interrupt(kept_checkpoint(runs / name)),
        ):
            out = train_one(name, runs, steps=steps, accelerator=find_device(device), resume=not anew)
        if adopt:
            release.adopt(name, out, folder or release.zoo_folder())
        seconds = json.loads((out / "run.json").read_text(encoding="utf-8"))["seconds"]
        done.append({"generator": name, "seconds": seconds, "folder": out.as_posix()})
        (tell if as_json else typer.echo)(f"{name}: {seconds:.0f} s, {out}")
    if as_json:
        print_json(done)


@app.command()
def sample(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; compare with what ships.")] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="With --check: images per generator; all when left out.")
    ] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Make all images again from the weights, and the container and manifest with them.

    On the machine that made them the images come out the same bit for bit; another processor may round a few values to
    the neighbouring level, which --check tells and lets pass.
    """
    from tqdm import tqdm

    from helpers.data.catalog.zoo import CONTAINER
    from helpers.generators import release
    from helpers.generators.recipes import RECIPES

    folder = folder or release.zoo_folder()
    if check:
        table = release.check_samples(folder, list(RECIPES), count or release.IMAGES_PER_GENERATOR)
        _print(table, as_json)
        if table["largest"].max() > release.LARGEST_ROUNDING:
            raise NaturalTracesError(f"an image differs by more than {release.LARGEST_ROUNDING} levels from what ships")
        return
    df = release.sample_all(folder, progress=lambda names: tqdm(names, unit="generator", disable=None))
    release.write_listing(folder)
    if as_json:
        print_json({"images": len(df), "file": (folder / CONTAINER).as_posix()}, indent=None)
        return
    typer.echo(f"{len(df)} images in {folder / CONTAINER}")


@app.command()
def verify(folder: Folder = None, as_json: AsJson = False) -> None:
    """Check every shipped file and every image of the zoo."""
    from helpers.data.catalog import zoo as container
    from helpers.generators import release

    folder = folder or release.zoo_folder()
    problems = container.verify(folder)
    rows = [{"path": p.path, "problem": p.kind, "detail": p.detail} for p in problems]
    if as_json:
        print_json(rows)
    for row in [] if as_json else rows:
        typer.echo(f"{row['path']}: {row['problem']}: {row['detail']}")
    if problems:
        raise NaturalTracesError(f"{len(problems)} problem(s) in {folder}")
    if not as_json:
        listing = container.list_files(folder)
        size = sum(int(entry["bytes"]) for entry in listing.values()) / 1e6
        typer.echo(f"{len(listing)} files, {size:.1f} MB, every image checked: no problem")


@app.command()
def attribute(as_json: AsJson = False) -> None:
    """Name the generator of an image by a linear classifier on residual spectra; takes three minutes."""
    import pandas as pd

    from helpers.lessons.lesson02 import attribution

    results = attribution.measure_attribution()
    if as_json:
        print_json(results, indent=1)
        return
    rows = [
        {"residual": r["residual"], "view": r["view"], "fitted on": r["fitted on"], **_told(r["accuracy"])}
        for r in results["attribution"]
    ]
    _print(pd.DataFrame(rows), as_json)
    others = {"control: " + name: row for name, row in results["controls"].items()}
    others |= {f"nearest fingerprint, {r}, {v}": row for r, v, row in _nested(results["fingerprints"])}
    others |= {f"redrawn photographs, {r}, {v}": row for r, v, row in _nested(results["redrawn"])}
    _print(pd.DataFrame([{"accuracy": name, **_told(row)} for name, row in others.items()]), as_json)
    for residual, view, row in _nested(results["transfer"]):
        own, other, lowest = (row[key] for key in list(row)[2:])
        typer.echo(
            f"detectors of one generator, {residual}, {view}: AUC {own:.2f}, on others {other:.2f} ({lowest:.2f})"
        )


@app.command("variance")
def compare_variance(draws: Draws = 1000, as_json: AsJson = False) -> None:
    """Compare how much generators differ with how much photographs differ; takes two minutes."""
    import pandas as pd

    from helpers.lessons.lesson02 import variance

    results = variance.measure_variance_ratios(n_draws=draws)
    if as_json:
        print_json(results, indent=1)
        return
    parts = ("everywhere", *variance.PLACES)
    rows = [
        {**{key: row[key] for key in ("residual", "view", "of", "over")}, **{p: _told(row[p])["95 %"] for p in parts}}
        for row in results["ratios"]
    ]
    _print(pd.DataFrame(rows), as_json)


def _told(interval: dict[str, Any]) -> dict[str, Any]:
    """A number and its interval as cells of a table."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    return {"value": round(value, 3), "95 %": f"{value:.2f} [{low:.2f}, {high:.2f}]"}


def _nested(table: dict[str, dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(outer, inner, value) for outer, row in table.items() for inner, value in row.items()]


@app.command()
def cards(folder: Folder = None, as_json: AsJson = False) -> None:
    """Measure the generators against held-out crops and write the model cards."""
    import pandas as pd

    from helpers.generators import release

    made = release.write_cards(folder or release.zoo_folder())
    _print(pd.DataFrame([_card_row(name, card) for name, card in made.items()]), as_json)


def _card_row(name: str, card: dict[str, Any]) -> dict[str, Any]:
    """One line of the table of cards."""
    training, quality = card["training"], card["quality"]
    distances = [*quality["generator"].values(), *quality["real crops of the training photographs"].values()]
    return {
        "generator": name,
        "parameters": training["parameters"],
        "steps": training["steps"],
        "seconds": training["seconds"],
        **{
            title: d["value"]
            for title, d in zip(("seen", "unseen", "real seen", "real unseen"), distances, strict=True)
        },
        "low": distances[0]["low"],
        "high": distances[0]["high"],
        "diversity": round(quality["diversity"]["generator"], 3),
        "real diversity": round(quality["diversity"]["real"], 3),
    }
