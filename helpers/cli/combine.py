"""`natural-traces combine`: average trained detectors."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import AsJson, Manifest, Root, Where, print_json


def combine(
    members: Annotated[list[Path], typer.Argument(help="Folders of trained detectors, of one seed.")],
    out: Annotated[Path, typer.Option(help="Folder of the ensemble.")],
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """Average trained detectors: scales from the train split, threshold and calibration from the val split."""
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows
    from helpers.detectors.ensemble import Ensemble
    from helpers.detectors.registry import load_detector

    df, place = load_rows(manifest, root, where)
    train, val = (ImageSet(df[df["split"] == name].reset_index(drop=True), place) for name in ("train", "val"))
    ensemble = Ensemble.from_members([load_detector(folder) for folder in members])
    ensemble.standardise(train)
    scores = ensemble.calibrate(val)
    found = ensemble.note_history(train, val, scores)
    ensemble.save(out, {"members": [folder.name for folder in members]})
    if as_json:
        print_json({"members": [folder.name for folder in members], **ensemble.history}, indent=None)
        return
    typer.echo(f"ensemble of {len(members)}: AUC on val {found:.3f}, {out}")
