"""What the commands share: their options, and how they print."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AsJson",
    "Config",
    "Draws",
    "Manifest",
    "ManifestName",
    "Root",
    "Seed",
    "Settings",
    "Where",
    "group",
    "interval",
    "one_line_entries",
    "one_line_numbers",
    "print_json",
    "print_rows",
    "print_table",
    "tell",
    "tell_file",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Config = Annotated[str, typer.Argument(help="Name of a configuration of the package, or a TOML file.")]
Draws = Annotated[int, typer.Option(min=1, help="Bootstrap draws.")]
Manifest = Annotated[str, typer.Option(help="Manifest file, or a name in the catalog.")]
ManifestName = Annotated[str, typer.Argument(help="Manifest file, or a name in the catalog.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the manifest's relative paths; its own folder by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="entry=value: replace one of the configuration.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Keep rows with column=value[,value] or column!=value[,value]; may be repeated."),
]


def group(about: str) -> typer.Typer:
    """Make a command that has sub-commands."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def tell(text: str) -> None:
    """Say how far the work is, on the standard error."""
    typer.echo(text, err=True)


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
    return re.sub(r"\{[^{}]*\}|\[[^\[\]{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)


def one_line_numbers(document: Mapping[str, Any]) -> str:
    """Write a document with every list of plain numbers on one line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\[[-\d.,e\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)


def tell_file(path: Path, as_json: bool) -> None:
    """Say which file was written, and how large it is."""
    size = path.stat().st_size
    if as_json:
        print_json({"file": path.as_posix(), "bytes": size}, indent=None)
    else:
        typer.echo(f"{path}: {size / 1000:.0f} kB")


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
