"""`python -m helpers train`: from a configuration and a manifest to a detector on disk."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from helpers.data.image_set import ImageSet
from helpers.data.select import check_sizes, load_rows
from helpers.detectors.config import SMALLEST, changes_from, config_path, read_config
from helpers.detectors.registry import make_detector


def train(
    config: Annotated[str, typer.Argument(help="Name of a configuration in data/configs, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="Folder for the detector, its checkpoints and logs.")],
    manifest: Annotated[str, typer.Option(help="Manifest file, or a name in the catalog.")] = "benchmark",
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep rows with column=value[,value] or !=.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="entry=value: replace one of the configuration.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a detector on the train split; threshold and calibration come from the val split."""
    chosen = read_config(config_path(config), **{"seed": seed, **changes_from(setting or [])})
    df, place = load_rows(manifest, root, where)
    check_sizes(df[df["split"] == "train"], chosen.size)
    check_sizes(df[df["split"] == "val"], SMALLEST)
    train_set, val_set = (ImageSet(df[df["split"] == name].reset_index(drop=True), place) for name in ("train", "val"))
    begin = time.perf_counter()
    detector = make_detector(chosen).fit(train_set, val_set, out)
    seconds = time.perf_counter() - begin
    notes = {"manifest": Path(manifest).name, "where": where or [], "seconds": round(seconds, 1)}
    detector.save(out, notes)
    result = {"detector": detector.name, "seed": chosen.seed, **notes, **detector.history}
    found = detector.history["validation_auc"]
    typer.echo(json.dumps(result) if as_json else f"{detector.name}: {seconds:.0f} s, AUC on val {found:.3f}, {out}")
