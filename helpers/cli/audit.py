"""`natural-traces audit`: what do format, size, tables, colour and metadata of a set give away?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli.common import (
    AsJson,
    Draws,
    ManifestName,
    OnError,
    Root,
    Seed,
    WhenRefused,
    Where,
    print_json,
    print_table,
    readable_rows,
    tell_refused,
)

if TYPE_CHECKING:
    import pandas as pd

    from helpers.evaluation.audit import AuditReport


def audit(
    name: ManifestName,
    root: Root = None,
    by: Annotated[str, typer.Option(help="Audit each value of this column apart (if present); '' for all.")] = "track",
    where: Where = None,
    folds: Annotated[str, typer.Option(help="Cross-validation keeps together: source or image.")] = "source",
    crop: Annotated[int, typer.Option(min=1, help="Side of the matched crop in pixels.")] = 64,
    max_images: Annotated[int, typer.Option(min=4, help="Sample at most so many images.")] = 20_000,
    draws: Draws = 1000,
    seed: Seed = 0,
    on_error: WhenRefused = OnError.STOP,
    as_json: AsJson = False,
) -> None:
    """Measure what format, size, tables, colour and metadata give away: leak AUC per cue, with 95 % interval."""
    from tqdm import tqdm

    from helpers.data.protocol import Protocol
    from helpers.data.select import load_rows, sample_rows
    from helpers.evaluation.audit import audit as run_audit

    df, place = load_rows(name, root, where)
    chosen, refused = readable_rows(sample_rows(df, max_images, seed), place, on_error)
    reports = {}
    for part, rows in _parts(chosen, by).items():

        def progress(paths: list[str], title: str = part) -> Any:  # noqa: ANN401
            return tqdm(paths, desc=title, unit="image", disable=None, leave=False)

        reports[part] = run_audit(
            rows, place, Protocol(crop=crop), folds_by=folds, seed=seed, n_draws=draws, progress=progress, name=name
        )
    if as_json:
        head = {"manifest": str(name), "images": len(df), "audited": len(chosen), "seed": seed}
        parts = {part: report.to_dict() for part, report in reports.items()}
        print_json({**head, "parts": parts, "refused": [one.to_dict() for one in refused]})
        tell_refused(refused)
        return
    if max_images < len(df):
        typer.echo(f"sampled {max_images:,} of {len(df):,} images with seed {seed}")
    for part, report in reports.items():
        _print_report(part, report)
    tell_refused(refused)


def _parts(df: "pd.DataFrame", by: str) -> "dict[str, pd.DataFrame]":
    if by not in df:
        return {"all": df}
    return {str(value): rows for value, rows in df.groupby(by, sort=True)}


def _print_report(part: str, report: "AuditReport") -> None:
    """Print one table per view, and the verdict in words."""
    typer.echo(f"{part}: {report.images:,} images ({report.real:,} real, {report.fake:,} fake)")
    table = report.to_frame()
    for view, rows in table.groupby("view", sort=False):
        print_table(rows.drop(columns="view"), f"{view}: leak AUC with 95 % interval")
    if report.skipped:
        typer.echo(f"{report.skipped} image(s) are smaller than the crop of {report.protocol.crop} pixels: not matched")
    if report.confounded:
        typer.echo(report.confounded)
    typer.echo(f"matched protocol: {_verdict(report)}")


def _verdict(report: "AuditReport") -> str:
    """Say which cues leak, and of which that cannot be told."""
    from helpers.evaluation.audit import LEAKY_ABOVE, MATCHED_PROTOCOL

    def named(cues: tuple[str, ...]) -> str:
        return ", ".join(f"{cue} ({report.result(MATCHED_PROTOCOL, cue).kind})" for cue in cues)

    parts = []
    if report.leaky_cues:
        parts.append(f"leaky (interval beyond {1 - LEAKY_ABOVE:.1f} to {LEAKY_ABOVE}) by: {named(report.leaky_cues)}")
    if report.undecided_cues:
        parts.append(f"too few images or sources, cannot tell: {named(report.undecided_cues)}")
    return "; ".join(parts) or "not leaky"
