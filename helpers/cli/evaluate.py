"""`natural-traces evaluate`: from a detector and a manifest to a report with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import AsJson, Draws, Manifest, Root, Where, print_json, print_rows

if TYPE_CHECKING:
    from helpers.evaluation.report import Report

SHOWN = ("ap", "auc", "accuracy", "accuracy_real", "accuracy_fake", "ece")


def evaluate(
    detector: Annotated[
        list[Path], typer.Option(help="Folder of a trained detector; repeated: runs (seeds) of one detector.")
    ],
    manifest: Manifest = "benchmark",
    root: Root = None,
    where: Where = None,
    split: Annotated[str, typer.Option(help="Split to evaluate; 'all' for every row.")] = "test",
    against: Annotated[
        list[Path] | None, typer.Option(help="Another detector's folder(s): report the paired differences.")
    ] = None,
    jpeg: Annotated[int, typer.Option(min=0, max=100, help="Re-encode everything at this quality first; 0: not.")] = 0,
    cluster: Annotated[str, typer.Option(help="Resample by: auto, source, image, or a column.")] = "auto",
    draws: Draws = 1000,
    scores: Annotated[Path | None, typer.Option(help="Also write all scores to this CSV file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Report AP, AUC, accuracy at the stored threshold, ECE: per generator and kind of real, with 95 % intervals."""
    import pandas as pd

    from helpers.data.select import check_sizes, load_rows
    from helpers.detectors.base import Detector
    from helpers.detectors.config import SMALLEST, DetectorError
    from helpers.detectors.registry import load_detector
    from helpers.detectors.scores import cached_table
    from helpers.evaluation import report as reports

    df, place = load_rows(manifest, root, where)
    df = df if split == "all" else df[df["split"] == split].reset_index(drop=True)
    if df.empty:
        raise DetectorError(f"no image of split {split}")
    check_sizes(df, SMALLEST)

    def tables_of(folders: list[Path]) -> tuple[list[Detector], list[pd.DataFrame]]:
        tables = [cached_table(folder, df, place, jpeg) for folder in folders]
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
        report = reports.compare(tables, others, **known, cluster=cluster, n_draws=draws)
    else:
        thresholds = [one.threshold for one in detectors]
        report = reports.evaluate(tables, thresholds, **known, cluster=cluster, n_draws=draws)
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
        print_json({**head, **report.to_dict()}, indent=1)
        return
    _print(report, f"{head['detector']}: {len(df):,} images, {len(detectors)} run(s)")


def _print(report: "Report", title: str) -> None:
    """Print means and rows, one line for each."""
    rows = [
        (mean.tier, f"mean of {len(mean.generators)} {mean.over}", *[_cell(mean.metrics, name) for name in SHOWN])
        for mean in report.means
    ]
    rows += [(row.tier, row.generator, *[_cell(row.metrics, name) for name in SHOWN]) for row in report.rows]
    print_rows(("reals", "generator", *SHOWN), rows, title=title, width=150, bold=len(report.means))


def _cell(metrics: object, name: str) -> str:
    value = dict(metrics).get(name)  # type: ignore[call-overload]
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else "-"
