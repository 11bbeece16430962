"""`natural-traces results`: the table of the README, from the recorded reports in data/results."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.cli.common import AsJson, print_json

DETECTORS = {
    "wild_ntf": "natural traces (NTF), all three members",
    "wild_ntf_counts": "NTF on counted statistics",
    "wild_ntf_pixels": "NTF on pixels",
    "wild_ntf_difference": "NTF on pixel differences",
    "wild_cross_entropy": "cross-entropy on pixels",
    "wild_npr": "cross-entropy on pixel differences",
    "wild_cross_entropy_ensemble": "cross-entropy, three members on the same inputs",
    "wild_spectrum": "radial spectrum, logistic regression",
}
"""File below data/results -> what the table calls it."""
TIERS = {"seen-source": "photo sources seen in training", "unseen-source": "photo sources never seen"}


def read_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the recorded reports that are there: title -> report."""
    found = {name: folder / f"{name}.json" for name in DETECTORS}
    return {
        DETECTORS[name]: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.is_file()
    }


def markdown(reports: dict[str, dict[str, Any]], metric: str = "ap") -> str:
    """Lay out detectors x generators, with the mean and its 95 % interval first.

    Args:
        reports: As `read_reports` returns them.
        metric: Of `helpers.evaluation.report.METRICS`.

    Returns:
        Markdown, one table for each kind of real images.
    """
    lines = []
    for tier, title in TIERS.items():
        names = sorted(
            {row["generator"] for report in reports.values() for row in report["generators"] if row["tier"] == tier}
        )
        lines += [f"Against {title}:", "", "| detector | runs | mean | " + " | ".join(names) + " |"]
        lines.append("|---|---|---|" + "---|" * len(names))
        for detector, report in reports.items():
            mean = next(m for m in report["means"] if m["tier"] == tier and m["over"] == "unseen")["metrics"][metric]
            rows = {row["generator"]: row["metrics"][metric] for row in report["generators"] if row["tier"] == tier}
            cells = [_cell(rows[name]) for name in names]
            lines.append(f"| {detector} | {report['runs']} | {_cell(mean)} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _cell(value: dict[str, float]) -> str:
    """A number with its interval, in hundredths."""
    return f"{100 * value['value']:.1f} [{100 * value['low']:.0f}, {100 * value['high']:.0f}]"


def results(
    metric: Annotated[str, typer.Option(help="ap, auc, accuracy, ece, ...")] = "ap",
    folder: Annotated[Path | None, typer.Option(help="Folder of the reports; data/results by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print recorded results on real generators as Markdown tables, in hundredths with 95 % intervals."""
    from helpers.data.places import shipped

    reports = read_reports(folder or shipped("results"))
    if as_json:
        print_json(reports)
        return
    typer.echo(markdown(reports, metric), nl=False)
