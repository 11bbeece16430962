"""`natural-traces verdicts`: how a detector fares that may say "inconclusive"."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import AsJson, Device, Manifest, Root, Where, print_json, print_rows, tell

if TYPE_CHECKING:
    import pandas as pd

    from helpers.detectors.base import Detector


def verdicts(
    detector: Annotated[
        Path | None, typer.Option(help="Folder of a trained detector, or name of a shipped one; default: shipped.")
    ] = None,
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    split: Annotated[str, typer.Option(help="Split to judge; 'all' for every row.")] = "test",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Count verdicts with refusal: errors, inconclusive ones, and the calibration error at a base rate of one half.

    Scores lie in the cache folder: after another calibration of the same weights nothing is scored again.
    """
    from helpers.api import detector_folder, find_device
    from helpers.data.select import load_rows
    from helpers.detectors.config import DetectorError
    from helpers.detectors.registry import load_detector
    from helpers.detectors.scores import cached_table
    from helpers.evaluation.refusal import measure_refusal

    df, place = load_rows(manifest, root, where)
    df = df if split == "all" else df[df["split"] == split].reset_index(drop=True)
    folder = detector_folder(detector)
    judge = load_detector(folder)
    if judge.conformal is None:
        raise DetectorError(f"{folder}: keeps no scores of held-out pictures: `calibrate --scores` adds them")
    table = cached_table(folder, df, place, 0, cache=True, device=find_device(device), say=tell)
    table = table.assign(verdict=judge.conformal.verdicts(table["score"].to_numpy()), reason="")
    _refuse_outside(table, place, judge)
    rows, error = measure_refusal(table, judge.history.get("sources", ()))
    outside = int((table["reason"] != "").sum())
    if as_json:
        head: dict[str, Any] = {"detector": judge.name, "manifest": Path(manifest).name, "where": where or []}
        numbers = {"split": split, "images": len(table), "outside_range": outside, "ece": round(error, 4)}
        print_json({**head, **numbers, "rows": [row.to_dict() for row in rows]}, indent=1)
        return
    cells = [
        (
            row.name,
            f"{row.share.n:,}",
            str(row.share),
            "-" if row.lowest is None else f"{row.lowest:.3f}-{row.highest:.3f}",
        )
        for row in rows
    ]
    heads = ("share of", "images", "pooled", "over sources")
    print_rows(heads, cells, title=f"{judge.name}: {len(table):,} images", right=("images",))
    typer.echo(f"calibration error at a base rate of one half {error:.3f}; outside the calibrated range {outside}")


def _refuse_outside(table: "pd.DataFrame", place: Path | None, judge: "Detector") -> None:
    """Call what lies outside the calibrated range inconclusive, as a statement does; changes the table."""
    from helpers.data.images import decode, probe, read_bytes
    from helpers.data.manifest import resolve
    from helpers.detectors.statement import INCONCLUSIVE, out_of_range

    for index, path in enumerate(table["path"].astype(str)):
        data = read_bytes(resolve(path, place))
        img = decode(data, path)
        reasons = out_of_range(judge, img, probe(data, path), judge.views(img))
        if reasons:
            table.loc[index, ["verdict", "reason"]] = [INCONCLUSIVE, reasons[0]]
