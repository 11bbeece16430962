"""`natural-traces combine`: average trained detectors."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import (
    AsJson,
    Device,
    Manifest,
    OnError,
    Root,
    WhenRefused,
    Where,
    only_run,
    print_json,
    readable_rows,
    tell_refused,
)


def combine(
    members: Annotated[list[Path], typer.Argument(help="Folders of trained detectors, of one seed.")],
    out: Annotated[Path, typer.Option(help="Folder of the ensemble.")],
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    device: Device = "cpu",
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Average trained detectors: scales from the train split, threshold and calibration from the val split."""
    from helpers.api import find_device
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows
    from helpers.detectors.ensemble import Ensemble
    from helpers.detectors.registry import load_detector

    df, place = load_rows(manifest, root, where)
    df, refused = readable_rows(df[df["split"].isin(("train", "val"))].reset_index(drop=True), place, on_error)
    train, val = (ImageSet(df[df["split"] == name].reset_index(drop=True), place) for name in ("train", "val"))
    ensemble = Ensemble.from_members([load_detector(folder) for folder in members]).to(find_device(device))
    ensemble.standardise(train)
    scores = ensemble.calibrate(val)
    area = ensemble.note_history(train, val, scores)
    names = [folder.name for folder in members]
    with only_run(out):
        ensemble.save(out, {"members": names})
    if as_json:
        left_out = [one.to_dict() for one in refused]
        print_json({"members": names, **ensemble.history, "refused": left_out}, indent=None)
    else:
        typer.echo(f"ensemble of {len(members)}: AUC on val {area:.3f}, {out}")
    tell_refused(refused)
