"""`natural-traces robustness`: what a detector keeps of its ranking and its threshold on the way through the net."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Device,
    Draws,
    OnError,
    Root,
    WhenRefused,
    Where,
    draw_file,
    group,
    kept_on_interrupt,
    one_line_entries,
    only_run,
    print_json,
    print_rows,
    readable_rows,
    tell,
    tell_refused,
)

app = group("What a detector keeps under perturbations.")


@app.command()
def sweep(
    detector: Annotated[Path, typer.Argument(help="Folder of a trained detector, or name of a shipped one.")],
    manifest: Annotated[str, typer.Option(help="zoo, or a manifest file, or a name in the catalog.")] = "zoo",
    root: Root = None,
    where: Where = None,
    split: Annotated[str, typer.Option(help="Split to perturb; 'all' for every row.")] = "test",
    seen: Annotated[bool, typer.Option(help="Take fakes of the training generators as well.")] = False,
    most: Annotated[int, typer.Option(min=0, help="Sample at most so many images, half real; 0: all.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Only this perturbation; may be repeated.")] = None,
    surface: Annotated[bool, typer.Option(help="Also run the grid of resize factors and JPEG qualities.")] = True,
    cache: Annotated[Path, typer.Option(help="Folder for finished cells.")] = Path("runs/robustness"),
    draws: Draws = 1000,
    device: Device = "cpu",
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Score perturbed images, and report AP and accuracy at the stored threshold with 95 % intervals."""
    from helpers.api import detector_folder, find_device
    from helpers.data.image_set import ImageSet, Pictures
    from helpers.data.readable import Refused
    from helpers.data.select import load_rows
    from helpers.detectors.config import SMALLEST, DetectorError
    from helpers.detectors.registry import load_detector
    from helpers.evaluation.sweep import grid
    from helpers.generators.sets import zoo_set
    from helpers.lessons.lesson07 import study
    from helpers.pixels.perturbations import PERTURBATIONS

    detector = detector_folder(detector)
    one = load_detector(detector).to(find_device(device))
    if manifest == "zoo":
        zoo = zoo_set(split)
        df, place = zoo.manifest.assign(row=range(len(zoo))), None
    else:
        df, place = load_rows(manifest, root, where)
        df = df if split == "all" else df[df["split"] == split].reset_index(drop=True)
    df = study.sample_set(df if seen else study.unseen_fakes(df, one), most)
    if df.empty:
        raise DetectorError(f"no image of split {split} is left")
    refused: list[Refused] = []
    if manifest == "zoo":
        images = Pictures(zoo.subset(df["row"].to_numpy()))
    else:
        df, refused = readable_rows(df, place, on_error, SMALLEST)
        images = Pictures(ImageSet(df, place))  # decoded when a cell needs them: a large set fits no memory
    head = {"detector": one.name, "manifest": Path(manifest).name, "where": where or [], "split": split, "seed": 0}
    with kept_on_interrupt(f"{cache} keeps finished cells; the same command goes on from there"):
        results = head | study.robustness_study(
            one,
            study.weights_name(detector),
            images,
            df,
            grid(only or [name for name in PERTURBATIONS if name != "none"]),
            surface=surface,
            cache=cache,
            draws=draws,
            progress=sys.stderr.isatty(),
        )
    if as_json:
        typer.echo(one_line_entries({**results, "refused": [one.to_dict() for one in refused]}))
    else:
        _print(results)
    tell_refused(refused)


def _print(results: dict[str, Any]) -> None:
    generators = len(results["generators"])
    title = f"{results['weights']}: {results['real']} real, {results['fake']} fake of {generators} generators"
    rows = []
    for row in results["cells"]:
        interval = f"{row['ap']:.3f} [{row['ap_low']:.3f}, {row['ap_high']:.3f}]"
        shares = [f"{row[key]:.2f}" for key in ("accuracy", "called_real", "called_fake")]
        rows.append((row["perturbation"], f"{row['strength']:g}", interval, *shares))
    heads = ("perturbation", "strength", "AP", "accuracy", "reals called fake", "fakes called fake")
    print_rows(heads, rows, title=title)


@app.command()
def augmentation(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting.")] = 2,
    mapping_steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Steps of stage 2.")] = 200,
    out: Annotated[Path, typer.Option(help="Folder of the runs; finished ones are kept.")] = Path("runs/augmentation"),
    as_json: AsJson = False,
) -> None:
    """Train the zoo's detector with more and less JPEG, and compare what each withstands; half an hour on one core."""
    from helpers.lessons.lesson07.study import augmentation_study

    with only_run(out), kept_on_interrupt(f"{out} keeps finished runs; the same command goes on from there"):
        results = augmentation_study(range(seeds), (mapping_steps, steps), out, say=tell)
    if as_json:
        typer.echo(one_line_entries(results))


@app.command()
def redraw(
    detector: Annotated[Path, typer.Argument(help="Folder of a trained detector, or name of a shipped one.")],
    decoders: Annotated[str, typer.Option(help="Folder of the autoencoders' weights, or their name.")] = "autoencoders",
    manifest: Annotated[str, typer.Option(help="A manifest file, or a name in the catalog.")] = "benchmark",
    root: Root = None,
    where: Where = None,
    split: Annotated[str, typer.Option(help="Split whose photographs are redrawn; 'all' for every row.")] = "val",
    most: Annotated[int, typer.Option(min=0, help="Sample at most so many photographs; 0: all.")] = 200,
    draws: Draws = 1000,
    device: Device = "cpu",
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Redraw photographs by autoencoders of real generators, seen in training or not: are the copies recognised?"""
    from helpers.api import detector_folder, find_device
    from helpers.data.catalog.weights import weights_folder
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows, sample_rows
    from helpers.detectors.config import SMALLEST, DetectorError
    from helpers.detectors.registry import load_detector
    from helpers.selection.redrawn import QUALITY, redrawn_study

    one, folder = load_detector(detector_folder(detector)).to(find_device(device)), weights_folder(decoders)
    df, place = load_rows(manifest, root, where)
    df = df[(df["label"] == "real") & ((df["split"] == split) | (split == "all"))].reset_index(drop=True)
    if df.empty:
        raise DetectorError(f"no photograph of split {split}")
    df, refused = readable_rows(sample_rows(df, most or len(df)).reset_index(drop=True), place, on_error, SMALLEST)
    photographs = list(ImageSet(df, place).images())
    false_alarms, results = redrawn_study(one, photographs, folder, n_draws=draws, progress=tell)
    head = {"detector": one.name, "manifest": Path(manifest).name, "split": split, "quality": QUALITY}
    if as_json:
        rates = {"photographs_called_generated": round(false_alarms, 4)}
        rows = {"decoders": [result.to_dict() for result in results]}
        print_json({**head, **rates, **rows, "refused": [error.to_dict() for error in refused]}, indent=1)
    else:
        cells = [
            (one.decoder, "yes" if one.seen else "no", str(one.auc), f"{one.higher:.2f}", f"{one.called_generated:.2f}")
            for one in results
        ]
        title = f"{len(photographs)} photographs, {false_alarms:.0%} of them called generated"
        print_rows(
            ("decoder", "seen in training", "AUC", "copy ranks higher", "copies called generated"), cells, title=title
        )
    tell_refused(refused)


@app.command()
def figure(
    record: Annotated[Path, typer.Option(help="What `sweep --json` printed.")] = Path(
        "data/results/robustness_zoo.json"
    ),
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("data/figures/robustness.png"),
    as_json: AsJson = False,
) -> None:
    """Draw AP and accuracy against strength from a record."""
    from helpers.lessons.lesson07.figures import summary_figure

    results = json.loads(record.read_text(encoding="utf-8"))
    draw_file(lambda: summary_figure(results), out, as_json)
