"""The command line: `python -m helpers doctor | manifest | audit | ...`.

Exit status 0 means done, 2 means an error or a check that failed. Expected errors are one line on the standard error;
results go to the standard output, as text or, with `--json`, as one JSON document.

Further sub-commands are modules of `helpers/commands`. Each may hold a `typer.Typer` called `app` (mounted under the
module's name), a function of the module's name (one command), and a function `bench` (mounted as `bench <module>`).
"""

import importlib
import json
import pkgutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from helpers import cli as commands
from helpers.cli.machine import examine
from helpers.data import catalog
from helpers.data import manifest as manifests
from helpers.data.manifest import ManifestError
from helpers.data.protocol import Protocol
from helpers.data.select import sample_rows
from helpers.errors import NaturalTracesError
from helpers.evaluation.audit import LEAKY_ABOVE, MATCHED_PROTOCOL, AuditReport
from helpers.evaluation.audit import audit as run_audit

__all__ = ["app", "main"]

app = typer.Typer(
    name="natural-traces",
    help="Natural Traces: the course's tools, from a manifest to an audit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
manifest_app = typer.Typer(help="Make, check and split manifests.", no_args_is_help=True)
app.add_typer(manifest_app, name="manifest")

_OWN = ("doctor", "manifest", "audit")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths; its own folder by default.")]
Out = Annotated[Path, typer.Option(help="CSV file to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors become one line, exit status is 0 or 2.

    Args:
        arguments: Command and options; those of the process when None.

    Raises:
        SystemExit: Always.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] not in _OWN:  # importing every part takes seconds, and these need none of them
        mount_commands(app)
    try:
        status = app(arguments, standalone_mode=False)
    except NaturalTracesError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        if not hasattr(error, "format_message"):  # a mistake in the command line
            if type(error).__name__ == "Abort":
                _fail("interrupted")
            raise
        _fail(error.format_message() or "see --help")
    raise SystemExit(2 if isinstance(status, int) and status else 0)


def _fail(message: str) -> None:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    sys.stderr.write(f"error: {lines[-1] if lines else 'unknown'}\n")
    raise SystemExit(2)


def mount_commands(root: typer.Typer) -> None:
    """Add the sub-commands of `helpers/commands` that are not there yet.

    Args:
        root: Application to add to.
    """
    present = {group.name for group in root.registered_groups} | {c.name for c in root.registered_commands}
    bench = typer.Typer(help="Time parts of the course on this machine.", no_args_is_help=True)
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda entry: entry.name):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        name = found.name.replace("_", "-")
        if isinstance(getattr(module, "app", None), typer.Typer) and name not in present:
            root.add_typer(module.app, name=name)
        elif callable(getattr(module, found.name, None)) and name not in present:
            root.command(name)(getattr(module, found.name))
        if callable(getattr(module, "bench", None)):
            bench.command(name)(module.bench)
    if bench.registered_commands and "bench" not in present:
        root.add_typer(bench, name="bench")


@app.callback()
def _root() -> None:
    """Natural Traces: the course's tools, from a manifest to an audit."""


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


# doctor


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say whether this machine is ready for the course; exit status 2 if something is missing."""
    findings = examine()
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.status:<5}{finding.check:<13}{finding.detail}")
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(2)


# manifest


@manifest_app.command("photographs")
def manifest_photographs(as_json: AsJson = False) -> None:
    """Make the manifests of the embedded photographs and textures anew from the installed packages."""
    written = catalog.write_embedded()
    rows = [{"file": path.relative_to(catalog.data_dir()).as_posix(), "images": len(_read(path))} for path in written]
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            typer.echo(f"{row['file']}: {row['images']} images")


@manifest_app.command("folder")
def manifest_folder(
    folder: Annotated[Path, typer.Argument(help="Holds real/ and fake/<generator>/.")],
    out: Out,
    seed: Seed = 0,
    licence: Annotated[str, typer.Option(help="Terms of all files.")] = manifests.NOT_STATED,
    origin: Annotated[str, typer.Option(help="Origin of all files.")] = manifests.NOT_STATED,
    as_json: AsJson = False,
) -> None:
    """Build a manifest from a folder, split by source; paths count from the folder."""
    df = manifests.manifest_from_folder(folder, seed=seed, licence=licence, origin=origin)
    manifests.write_manifest(df, out)
    _print_counts(df, as_json)


@manifest_app.command("split")
def manifest_split(
    path: Annotated[Path, typer.Argument(help="Manifest to read.")],
    out: Out,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Split a manifest anew, by source: 70 % train, 15 % val, 15 % test."""
    df = manifests.split_by_source(_read(path), seed=seed)
    manifests.write_manifest(df, out)
    _print_counts(df, as_json)


@manifest_app.command("show")
def manifest_show(
    name: Annotated[str, typer.Argument(help="Manifest file, or a name in the catalog.")], as_json: AsJson = False
) -> None:
    """Count a manifest's images by split, label and generator."""
    df, _ = _load(name, None)
    _print_counts(df, as_json)


@manifest_app.command("verify")
def manifest_verify(
    name: Annotated[str, typer.Argument(help="Manifest file, or a name in the catalog.")],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Read every file and compare hash, size, format and pixels; exit status 2 if anything is wrong."""
    df, place = _load(name, root)
    problems = manifests.verify(df, place)
    if as_json:
        _print_json({"images": len(df), "problems": manifests.problems_as_records(problems)})
    else:
        for problem in problems:
            typer.echo(f"{problem.kind:<12}{problem.path}: {problem.detail}")
        typer.echo(f"{len(df)} images, {len(problems)} problem(s)")
    if problems:
        raise typer.Exit(2)


def _read(path: Path) -> pd.DataFrame:
    return manifests.read_manifest(path)


def _load(name: str, root: Path | None) -> tuple[pd.DataFrame, Path | None]:
    """Read a manifest file, or load a data set of the catalog."""
    if name in catalog.names() and not Path(name).is_file():
        df, place = catalog.load(name)
        return df, root or place
    return _read(Path(name)), root or Path(name).parent


def _print_counts(df: pd.DataFrame, as_json: bool) -> None:
    """Print the number of images by split, label and generator, and the sources that lie in several splits."""
    counts = df.groupby(["split", "label", "generator"], sort=True).size().reset_index(name="images")
    shared = manifests.shared_sources(df)
    if as_json:
        _print_json({"images": len(df), "counts": counts.to_dict("records"), "shared_sources": shared})
        return
    _print_table(counts, f"{len(df)} images from {df['source'].nunique()} sources")
    if shared:
        typer.echo(f"in several splits: {len(shared)} source(s), the first {shared[0]}")


def _print_table(df: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in df.columns:
        table.add_column(str(column), justify="right" if pd.api.types.is_numeric_dtype(df[column]) else "left")
    for row in df.itertuples(index=False):
        table.add_row(*[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row])
    Console().print(table)


# audit


@app.command()
def audit(
    name: Annotated[str, typer.Argument(help="Manifest file, or a name in the catalog.")],
    root: Root = None,
    by: Annotated[str, typer.Option(help="Audit each value of this column apart (if present); '' for all.")] = "track",
    where: Annotated[
        list[str] | None, typer.Option(help="Keep rows with column=value or column!=value; may be repeated.")
    ] = None,
    folds: Annotated[str, typer.Option(help="Cross-validation keeps together: source or image.")] = "source",
    crop: Annotated[int, typer.Option(min=1, help="Side of the matched crop in pixels.")] = 64,
    max_images: Annotated[int, typer.Option(min=4, help="Sample at most so many images.")] = 20_000,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 1000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what format, size, tables, colour and metadata give away: leak AUC per cue, with 95 % interval."""
    df, place = _load(name, root)
    df = _filtered(df, where or [])
    chosen = sample_rows(df, max_images, seed)
    reports = {}
    for part, rows in _parts(chosen, by).items():

        def progress(paths: list[str], title: str = part) -> Any:  # noqa: ANN401
            return tqdm(paths, desc=title, unit="image", disable=as_json or None, leave=False)

        reports[part] = run_audit(
            rows, place, Protocol(crop=crop), folds_by=folds, seed=seed, n_draws=draws, progress=progress
        )
    if as_json:
        head = {"manifest": str(name), "images": len(df), "audited": len(chosen), "seed": seed}
        _print_json({**head, "parts": {part: report.to_dict() for part, report in reports.items()}})
        return
    if len(chosen) < len(df):
        typer.echo(f"sampled {len(chosen):,} of {len(df):,} images with seed {seed}")
    for part, report in reports.items():
        _print_report(part, report)


def _filtered(df: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """Keep the rows that meet every condition `column=value` or `column!=value`."""
    for condition in conditions:
        column, sign, value = condition.partition("!=" if "!=" in condition else "=")
        if not sign or column not in df:
            raise ManifestError(f"{condition!r}: needs column=value or column!=value with a column of the manifest")
        same = df[column].astype(str) == value
        df = df.loc[~same if sign == "!=" else same]
    if df.empty:
        raise ManifestError(f"no image meets {' and '.join(conditions)}")
    return df


def _parts(df: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    if by not in df:
        return {"all": df}
    return {str(value): rows for value, rows in df.groupby(by, sort=True)}


def _print_report(part: str, report: AuditReport) -> None:
    """Print one table per view, and the verdict in words."""
    typer.echo(f"{part}: {report.images:,} images ({report.real:,} real, {report.fake:,} fake)")
    table = report.to_frame()
    table["leaky"] = table["leaky"].map({True: "leaky", False: ""})
    for view, rows in table.groupby("view", sort=False):
        _print_table(rows.drop(columns="view"), f"{view}: leak AUC with 95 % interval")
    if report.skipped:
        typer.echo(f"{report.skipped} image(s) are smaller than the crop of {report.protocol.crop} pixels: not matched")
    cues = ", ".join(f"{cue} ({report.result(MATCHED_PROTOCOL, cue).kind})" for cue in report.leaky_cues)
    typer.echo(
        f"matched protocol: leaky (AUC above {LEAKY_ABOVE}) by: {cues}" if cues else "matched protocol: not leaky"
    )
