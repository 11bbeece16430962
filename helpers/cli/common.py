"""What the commands share: their options, and how they print."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.cli import Status
from helpers.errors import NaturalTracesError, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from helpers.data.readable import Refused

__all__ = [
    "AsJson",
    "BatchSize",
    "BusyError",
    "Config",
    "DetectorName",
    "Device",
    "Draws",
    "InterruptedRunError",
    "Manifest",
    "ManifestName",
    "OnError",
    "Root",
    "Seed",
    "Settings",
    "WhenRefused",
    "Where",
    "Workers",
    "draw_file",
    "group",
    "interval",
    "kept_checkpoint",
    "kept_on_interrupt",
    "one_line_entries",
    "one_line_numbers",
    "only_run",
    "only_writer",
    "print_json",
    "print_rows",
    "print_table",
    "readable_rows",
    "tell",
    "tell_refused",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Config = Annotated[str, typer.Argument(help="Name of a configuration of the package, or a TOML file.")]
BatchSize = Annotated[int | None, typer.Option("--batch", min=1, help="Pictures at a time; by device when left out.")]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="Folder of a trained detector, or name of a shipped one.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...; auto: a GPU if there is one.")]
Draws = Annotated[int, typer.Option(min=1, help="Bootstrap draws.")]
Manifest = Annotated[str, typer.Option(help="Manifest file, folder of shards, or a name in the catalog.")]
ManifestName = Annotated[str, typer.Argument(help="Manifest file, folder of shards, or a name in the catalog.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths; its own folder by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="entry=value: replace one of the configuration.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads that read and decode files.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Keep rows with column=value[,value] or column!=value[,value]; may be repeated."),
]


class OnError(StrEnum):
    """What happens when a file is refused."""

    STOP = "stop"
    SKIP = "skip"


WhenRefused = Annotated[
    OnError, typer.Option("--on-error", help="When a file cannot be read: stop, or skip all such files and name them.")
]


class InterruptedRunError(NaturalTracesError):
    """A run that Ctrl-C has ended; says what is kept."""


class BusyError(NaturalTracesError):
    """A folder or file that another run writes to."""


def group(about: str) -> typer.Typer:
    """Make a command that has sub-commands."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def tell(text: str) -> None:
    """Say how far the work is, on the standard error."""
    typer.echo(text, err=True)


@contextmanager
def kept_on_interrupt(kept: str | Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C into one line that says what is kept.

    Args:
        kept: One clause, or a function that makes it then.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(f"interrupted: {kept if isinstance(kept, str) else kept()}") from None


def kept_checkpoint(folder: Path) -> Callable[[], str]:
    """Say whether a folder of training holds a checkpoint, when it is asked."""

    def told() -> str:
        if any(folder.rglob("checkpoint.safetensors")):
            return f"{folder} keeps the last checkpoint; the same command goes on from there"
        return f"{folder} holds no checkpoint yet; the same command begins anew"

    return told


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Let one run at a time write to a folder.

    Args:
        folder: Is made; the lock lies in it.

    Raises:
        BusyError: Another run writes there; the message names its process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / ".lock", folder):
        yield


@contextmanager
def only_writer(file: Path) -> Iterator[None]:
    """Let one run at a time write to a file; the lock lies beside it.

    Raises:
        BusyError: Another run writes there; the message names its process.
    """
    with _held(file.with_name(f".{file.name}.lock"), file):
        yield


@contextmanager
def _held(lock: Path, what: Path) -> Iterator[None]:

    from filelock import FileLock, Timeout

    owner, held = lock.with_name(f"{lock.name}.owner"), FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        who = owner.read_text(encoding="utf-8") if owner.is_file() else "another process"
        raise BusyError(f"{what}: {who} is writing here; wait for it, or choose another --out") from None
    try:
        owner.write_text(f"process {os.getpid()}", encoding="utf-8")
        yield
    finally:
        for file in (owner, lock):
            with suppress(OSError):  # Windows deletes no file that is open
                file.unlink()
        held.release()


def readable_rows(
    df: "pd.DataFrame", root: Path | None, on_error: OnError, least: int = 1
) -> "tuple[pd.DataFrame, list[Refused]]":
    """With `skip`, read every file once and leave out what cannot be used; with `stop`, change nothing.

    Args:
        df: Manifest.
        root: Folder of relative paths.
        on_error: What the command line says.
        least: Shortest side that is wanted, in pixels.

    Returns:
        The rows that are left, and what was left out.
    """
    if on_error is OnError.STOP:
        return df, []
    from tqdm import tqdm

    from helpers.data.readable import split_readable

    def progress(done: Iterable[str | None]) -> Iterable[str | None]:
        return tqdm(done, desc="reading", total=len(df), unit="image", disable=None, leave=False)

    return split_readable(df, root, least=least, progress=progress)


def tell_refused(refused: "Sequence[Refused]") -> None:
    """Name every file that was left out, at the end; then the exit status is 2."""
    for one in refused:
        tell(f"left out: {printable(one.path)}: {one.error}")
    if refused:
        tell(f"{len(refused):,} file(s) left out")
        raise typer.Exit(Status.FAILED)


def print_json(value: object, indent: int | None = 2) -> None:
    """Print one JSON document; what the standard output cannot show is escaped, so that it stays sound JSON."""
    print_text(json.dumps(value, indent=indent, ensure_ascii=False), json.dumps(value, indent=indent))


def print_text(text: str, otherwise: str) -> None:
    """Print a text, or another where the standard output cannot show it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = otherwise
    typer.echo(text)


def one_line_entries(document: Mapping[str, Any]) -> str:
    """Write a document with one line for each entry of its lists, so that a changed cell is one changed line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\{[^{}]*\}|\[[^\[\]{}]*\]", lambda match: re.sub(r"\s*\n\s*", " ", match[0]), text)


def one_line_numbers(document: Mapping[str, Any]) -> str:
    """Write a document with every list of plain numbers on one line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\[[-\d.,e\s]+\]", lambda match: re.sub(r"\s+", "", match[0]), text)


def draw_file(make: "Callable[[], Figure]", path: Path, as_json: bool) -> None:
    """Draw a figure in the course's style, write it to a PNG file, and say which and how large it is."""
    from helpers.course.figures import png_bytes, use_style
    from helpers.data.files import write_atomic

    use_style()
    data = png_bytes(make())
    write_atomic(path, data)
    if as_json:
        print_json({"file": path.as_posix(), "bytes": len(data)}, indent=None)
    else:
        typer.echo(f"{path}: {len(data) / 1000:.0f} kB")


def print_rows(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    width: int = 0,
    right: Sequence[str] = (),
    bold: int = 0,
) -> None:
    """Print a table.

    Args:
        heads: Titles of the columns.
        rows: Cells.
        title: Above it.
        width: Least width in characters; the terminal's, if that is more.
        right: Columns that are flush right.
        bold: So many rows at the top are set in bold.
    """
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for head in heads:
        shown.add_column(head, justify="right" if head in right else "left")
    for number, row in enumerate(rows):
        shown.add_row(*row, style="bold" if number < bold else None)
    Console(width=max(width, Console().width), markup=False, highlight=False).print(shown)


def print_table(df: "pd.DataFrame", title: str) -> None:
    """Print a data frame: numbers flush right, with three decimals."""
    numeric = [str(name) for name in df.columns if df[name].dtype.kind in "biuf"]
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row]
        for row in df.itertuples(index=False)
    ]
    print_rows([str(name) for name in df.columns], rows, title=title, right=numeric)


def interval(part: Mapping[str, float] | None) -> str:
    """Write a number with its 95 % interval, or nothing.

    >>> interval({"value": 0.5, "low": 0.41, "high": 0.62})
    '0.500 [0.410, 0.620]'
    """
    return f"{part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]" if part else ""
