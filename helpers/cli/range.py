"""`natural-traces range`: where the features of known pictures lie, so that a statement refuses what resembles none."""

from typing import Annotated

import typer

from helpers.cli.common import AsJson, Device, Manifest, Root, Where, print_json, tell

EVERY = 500


def range(
    detector: Annotated[str, typer.Argument(help="Folder of a trained detector, or name of a shipped one.")],
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    split: Annotated[str, typer.Option(help="Split of the known pictures.")] = "train",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure where the features of known pictures lie, and write it beside the detector's weights.

    The limit comes from photo sources and generators that are left out in turn. Weights and card stay as they are.
    """
    from helpers.api import detector_folder, find_device
    from helpers.data.image_set import ImageSet
    from helpers.data.select import load_rows
    from helpers.detectors.base import RANGE
    from helpers.detectors.registry import load_detector
    from helpers.selection.calibration import calibrate_range

    def progress(done: int, of: int) -> None:
        if done % EVERY == 0 or done == of:
            tell(f"{done:,} of {of:,} pictures")

    folder = detector_folder(detector)
    chosen = load_detector(folder).to(find_device(device))
    df, place = load_rows(manifest, root, where)
    known = ImageSet(df[df["split"] == split].reset_index(drop=True), place)
    calibrate_range(chosen, known, progress=progress)
    measured = chosen.feature_range
    assert measured is not None
    measured.save(folder / RANGE)
    if as_json:
        print_json({"detector": chosen.name, "pictures": len(known), "limit": round(measured.limit, 4)})
    else:
        typer.echo(f"limit {measured.limit:.3f} of {len(known):,} pictures: {(folder / RANGE).as_posix()}")
