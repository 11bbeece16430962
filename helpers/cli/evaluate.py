"""`python -m helpers evaluate`: from a detector and a manifest to a report with intervals."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from helpers.data.images import Image, decode, encode_jpeg
from helpers.data.manifest import resolve
from helpers.data.select import check_sizes, load_rows
from helpers.detectors.base import WEIGHTS, Detector
from helpers.detectors.config import SMALLEST, DetectorError
from helpers.detectors.registry import load_detector
from helpers.evaluation.report import Report, compare
from helpers.evaluation.report import evaluate as make_report

SHOWN = ("ap", "auc", "accuracy", "accuracy_real", "accuracy_fake", "ece")


def score_table(
    detector: Detector,
    df: pd.DataFrame,
    root: Path | None,
    *,
    change: Callable[[Image], Image] | None = None,
    quiet: bool = True,
) -> pd.DataFrame:
    """Score every row of a manifest.

    Args:
        detector: A trained detector.
        df: Manifest rows.
        root: Folder of relative paths.
        change: What happens to each image before it is scored, such as a re-encoding.
        quiet: Show no progress.

    Returns:
        The rows with `score` and `probability`.
    """
    paths = tqdm(df["path"], unit="image", disable=quiet or None, leave=False)
    scores = detector.score_files((resolve(str(path), root) for path in paths), change)
    return df.assign(score=scores, probability=detector.probability(scores))


def cached_table(folder: Path, df: pd.DataFrame, root: Path | None, jpeg: int, quiet: bool) -> pd.DataFrame:
    """Score a manifest's rows by the detector in a folder, or take the scores from its cache.

    The cache lies beside the weights; its key covers the weights, the images' hashes and the re-encoding.
    """
    detector = load_detector(folder)
    key = hashlib.sha256((folder / WEIGHTS).read_bytes())
    key.update("".join(df["sha256"]).encode() + str(jpeg).encode())
    cache = folder / "scores" / f"{key.hexdigest()[:16]}.npy"
    if cache.is_file():
        scores = np.load(cache)
        return df.assign(score=scores, probability=detector.probability(scores))

    def change(img: Image) -> Image:
        return decode(encode_jpeg(img, jpeg))

    table = score_table(detector, df, root, change=change if jpeg else None, quiet=quiet)
    with suppress(OSError):  # an installed package may lie where nothing can be written
        cache.parent.mkdir(exist_ok=True)
        np.save(cache, table["score"].to_numpy())
    return table


def evaluate(
    detector: Annotated[
        list[Path], typer.Option(help="Folder of a trained detector; repeated: runs (seeds) of one detector.")
    ],
    manifest: Annotated[str, typer.Option(help="Manifest file, or a name in the catalog.")] = "benchmark",
    root: Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Keep rows with column=value[,value] or !=.")] = None,
    split: Annotated[str, typer.Option(help="Split to evaluate; 'all' for every row.")] = "test",
    against: Annotated[
        list[Path] | None, typer.Option(help="Another detector's folder(s): report the paired differences.")
    ] = None,
    jpeg: Annotated[int, typer.Option(min=0, max=100, help="Re-encode everything at this quality first; 0: not.")] = 0,
    cluster: Annotated[str, typer.Option(help="Resample by: auto, source, image, or a column.")] = "auto",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 1000,
    scores: Annotated[Path | None, typer.Option(help="Also write all scores to this CSV file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Report AP, AUC, accuracy at the stored threshold, ECE: per generator and kind of real, with 95 % intervals."""
    df, place = load_rows(manifest, root, where)
    df = df if split == "all" else df[df["split"] == split].reset_index(drop=True)
    if df.empty:
        raise DetectorError(f"no image of split {split}")
    check_sizes(df, SMALLEST)

    def tables_of(folders: list[Path]) -> tuple[list[Detector], list[pd.DataFrame]]:
        tables = [cached_table(folder, df, place, jpeg, as_json) for folder in folders]
        return [load_detector(folder) for folder in folders], tables

    detectors, tables = tables_of(detector)
    if scores is not None:
        columns = ["path", "label", "generator", "source", "score", "probability"]
        pd.concat([table[columns].assign(run=run) for run, table in enumerate(tables)]).to_csv(
            scores, index=False, float_format="%.5g", lineterminator="\n"
        )
    rivals, others = tables_of(against or [])
    histories = [one.history for one in (*detectors, *rivals)]  # what any of them saw is unseen by none
    known: dict[str, Any] = {
        f"seen_{kind}": sorted({name for history in histories for name in history[kind]})
        for kind in ("generators", "sources")
    }
    if against:
        report = compare(tables, others, **known, cluster=cluster, n_draws=draws)
    else:
        report = make_report(tables, [one.threshold for one in detectors], **known, cluster=cluster, n_draws=draws)
    head = {
        "detector": detectors[0].name,
        "against": rivals[0].name if rivals else None,
        "manifest": Path(manifest).name,
        "where": where or [],
        "split": split,
        "jpeg": jpeg,
        "images": len(df),
        "seeds": [one.config.seed for one in detectors],
    }
    if as_json:
        typer.echo(json.dumps({**head, **report.to_dict()}, indent=1))
        return
    _print(report, f"{head['detector']}: {len(df):,} images, {len(detectors)} run(s)")


def _print(report: Report, title: str) -> None:
    """Print means and rows, one line for each."""
    shown = Table("reals", "generator", *SHOWN, title=title, title_justify="left")
    for mean in report.means:
        cells = [_cell(mean.metrics, name) for name in SHOWN]
        shown.add_row(mean.tier, f"mean of {len(mean.generators)} {mean.over}", *cells, style="bold")
    for row in report.rows:
        shown.add_row(row.tier, row.generator, *[_cell(row.metrics, name) for name in SHOWN])
    Console(width=max(150, Console().width)).print(shown)


def _cell(metrics: object, name: str) -> str:
    value = dict(metrics).get(name)  # type: ignore[call-overload]
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else "-"
