"""`natural-traces evaluate`: from a detector and a manifest to a report with intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Device,
    Draws,
    Manifest,
    OnError,
    Root,
    WhenRefused,
    Where,
    kept_on_interrupt,
    print_json,
    print_rows,
    readable_rows,
    tell,
    tell_refused,
)

if TYPE_CHECKING:
    import pandas as pd

    from helpers.detectors.base import Detector
    from helpers.evaluation.error_rates import PairedRanking, SourceRate
    from helpers.evaluation.report import Report

SHOWN = ("ap", "auc", "accuracy", "accuracy_real", "accuracy_fake", "ece")
KEPT = ("path", "label", "generator", "family", "source", "track", "tier", "group", "origin")
"""Columns of the manifest that --scores keeps, where there are any."""


def evaluate(
    detector: Annotated[
        list[Path], typer.Option(help="Folder of a trained detector, or name of a shipped one; repeated: runs (seeds).")
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
    pair: Annotated[
        str | None, typer.Option(help="Also rank pairs of one pipeline: images with the same value of this column.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Also write all scores to this CSV file.")] = None,
    device: Device = "cpu",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each machine, each on its own device.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command by torchrun on each.")] = 1,
    cache: Annotated[bool, typer.Option(help="Take scores from the cache folder, and keep new ones there.")] = True,
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Report AP, AUC, accuracy at the stored threshold, ECE: per generator and kind of real, with 95 % intervals.

    Then the false-positive rate of each photo source, and with --pair how often the generated one of a pair has the
    higher score. A set of photographs alone gives these rates alone.
    """
    from helpers.api import detector_folder, find_device
    from helpers.data.select import load_rows
    from helpers.detectors.config import SMALLEST
    from helpers.detectors.registry import load_detector
    from helpers.detectors.scores import cached_table
    from helpers.evaluation import error_rates
    from helpers.evaluation import report as reports
    from helpers.evaluation.report import EvaluationError
    from helpers.training.processes import is_first, spread

    processes = spread(devices, nodes, "evaluate")
    df, place = load_rows(manifest, root, where)
    df = df if split == "all" else df[df["split"] == split].reset_index(drop=True)
    whole = _check(df, split, cluster, pair, scores)
    if against and not whole:
        raise EvaluationError("--against needs both photographs and generated images")
    folders, rival_folders = ([detector_folder(one) for one in which] for which in (detector, against or []))
    detectors, rivals = ([load_detector(folder) for folder in one] for one in (folders, rival_folders))
    df, refused = readable_rows(df, place, on_error, SMALLEST)
    kept = "what is scored lies in the cache folder; the same command goes on from there"
    with kept_on_interrupt(kept if cache else "nothing is kept with --no-cache"):
        how: dict[str, Any] = {"cache": cache, "device": find_device(device), "processes": processes, "say": tell}
        tables, others = (
            [cached_table(folder, df, place, jpeg, **how) for folder in one] for one in (folders, rival_folders)
        )
    if not is_first():
        return
    if scores is not None:
        _write_scores(tables, scores)
    known = _known([*detectors, *rivals])
    thresholds = [one.threshold for one in detectors]
    report: Report | None = None
    if against:
        report = reports.compare(tables, others, **known, cluster=cluster, n_draws=draws)
    elif whole:
        report = reports.evaluate(tables, thresholds, **known, cluster=cluster, n_draws=draws)
    rating: dict[str, Any] = {"seen_sources": known["seen_sources"], "n_draws": draws}
    sources = error_rates.false_positive_rates(tables, thresholds, **rating)
    pooled = error_rates.false_positive_rates(tables, thresholds, pooled=True, **rating)
    pairs = error_rates.paired_ranking(tables, pair, n_draws=draws) if pair else None
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
        more: dict[str, Any] = {"photographs": [one.to_dict() for one in pooled]}
        more |= {"photo_sources": [source.to_dict() for source in sources]}
        more |= {"pairs": pairs.to_dict()} if pairs else {}
        numbers = report.to_dict() if report else {"thresholds": [round(threshold, 6) for threshold in thresholds]}
        print_json({**head, **numbers, **more, "refused": [one.to_dict() for one in refused]}, indent=1)
    else:
        if report:
            _print(report, f"{head['detector']}: {len(df):,} images, {len(detectors)} run(s)")
        _print_sources([*pooled, *sources], pairs)
    tell_refused(refused)


def _known(detectors: "list[Detector]") -> dict[str, Any]:
    """Gather what any of the detectors saw: it is unseen by none."""
    return {
        f"seen_{kind}": sorted({name for one in detectors for name in one.history[kind]})
        for kind in ("generators", "sources")
    }


def _check(df: "pd.DataFrame", split: str, cluster: str, pair: str | None, scores: Path | None) -> bool:
    """Refuse what cannot end well before anything is scored; say whether there are generated images."""
    from helpers.data.manifest import LABELS
    from helpers.data.select import check_sizes
    from helpers.detectors.config import SMALLEST
    from helpers.evaluation.error_rates import check_pairs
    from helpers.evaluation.report import EvaluationError

    if df.empty:
        raise EvaluationError(f"no image of split {split}")
    if LABELS[0] not in set(df["label"]):
        raise EvaluationError(f"split {split} holds no {LABELS[0]} image, and no error rate can do without")
    if cluster not in ("auto", "source", "image", *df.columns):
        names = ", ".join(map(str, df.columns))
        raise EvaluationError(f"cluster must be auto, source, image or a column of the manifest ({names})")
    if pair is not None:
        check_pairs(df, pair)
    if scores is not None and (scores.is_dir() or not scores.parent.is_dir()):
        raise EvaluationError(f"{scores}: --scores needs a file in a folder that exists")
    check_sizes(df, SMALLEST)
    return LABELS[1] in set(df["label"])


def _write_scores(tables: "list[pd.DataFrame]", path: Path) -> None:
    """Write the scores of all runs, with the columns that tell the images apart."""
    import pandas as pd

    from helpers.data.files import write_atomic

    columns = [name for name in (*KEPT, *_origins(tables[0]), "score", "probability") if name in tables[0]]
    rows = pd.concat([table[columns].assign(run=run) for run, table in enumerate(tables)])
    text = rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    write_atomic(path, text.encode("utf-8", "surrogateescape"))


def _origins(table: "pd.DataFrame") -> list[str]:
    return [str(name) for name in table.columns if str(name).startswith("origin_")]


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


def _print_sources(sources: "list[SourceRate]", pairs: "PairedRanking | None") -> None:
    """Print how many photographs of each source are called generated, and how pairs are ranked."""
    rows = [(one.tier, one.source, f"{one.images:,}", str(one.rate)) for one in sources]
    heads = ("reals", "photo source", "images", "called generated")
    print_rows(heads, rows, title="False-positive rate of each photo source", right=("images",))
    if pairs:
        typer.echo(
            f"pairs by {pairs.column}: the generated one ranks higher in {pairs.ranking} of {pairs.pairs:,} pairs"
        )
