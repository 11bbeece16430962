"""`natural-traces calibrate`: fix a detector's threshold on a hold-out, or on photographs of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.cli.common import AsJson, Device, print_json, tell


def calibrate(
    detector: Annotated[Path, typer.Argument(help="Folder of a trained detector, or name of a shipped one.")],
    out: Annotated[Path, typer.Option(help="Folder for the calibrated detector; may be the same.")],
    scores: Annotated[
        Path | None, typer.Option(help="Table of held-out scores, as holdout --scores writes it.")
    ] = None,
    photographs: Annotated[Path | None, typer.Option(help="Folder of photographs of your own.")] = None,
    level: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of photographs that may be called generated.")
    ] = 0.05,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Fix threshold and p-values by held-out pictures, or by photographs of your own; the weights stay as they are."""
    import pandas as pd

    from helpers.api import detector_folder, find_device
    from helpers.data.inputs import find_inputs
    from helpers.detectors.config import DetectorError
    from helpers.detectors.registry import load_detector
    from helpers.selection.calibration import calibrate_on_held_out, calibrate_on_photographs

    if (scores is None) == (photographs is None):
        raise DetectorError("give either --scores, a table of a hold-out, or --photographs, a folder")
    chosen = load_detector(detector_folder(detector)).to(find_device(device))
    if scores is not None:
        calibrate_on_held_out(chosen, pd.read_csv(scores, keep_default_na=False), level=level)
        used = f"hold-out {scores.name}"
    else:
        assert photographs is not None
        paths = [Path(path) for path in find_inputs([str(photographs)]).paths]
        tell(f"{len(paths)} photographs")
        calibrate_on_photographs(chosen, chosen.score_files(paths))
        used = f"{len(paths)} photographs of {photographs.name}"
    chosen.save(out, {"calibrated_on": used})
    if as_json:
        print_json({"detector": out.as_posix(), "threshold": chosen.threshold, "calibrated_on": used})
    else:
        typer.echo(f"threshold {chosen.threshold:.3f} from {used}: {out}")
