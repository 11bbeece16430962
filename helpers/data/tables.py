"""Tables in CSV as people have them: any encoding that says what it is, any line ends, one line for each mistake."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from helpers.errors import NaturalTracesError, printable

__all__ = ["ManifestError", "numbers", "read_table", "whole_numbers"]

# File names may hold bytes that are no text; Arrow's strings, which pandas takes where pyarrow is installed, cannot.
pd.set_option("mode.string_storage", "python")

_WHOLE = re.compile(r"\s*\+?(\d{1,15})(\.0*)?\s*")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class ManifestError(NaturalTracesError):
    """A manifest, or a path in it, that cannot be used; the message says which and why."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV file as text.

    UTF-8 and, where a byte order mark or zero bytes tell so, UTF-16 and UTF-32; lines may end in LF, CR or both; cells
    may be divided by commas, semicolons or tabs. An older encoding, such as Latin-1, cannot be told from others, so it
    is refused by the first cell that shows it.

    Args:
        path: The file; its first line names the columns.

    Returns:
        Table of texts, one row per line.

    Raises:
        ManifestError: No such file, or no such table; the message names line and column.
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(f"{path}: no such manifest") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not a CSV table: {_misplaced(data, encoding, error)}") from None
    try:
        head, *rows = [cells for _, cells in _lines(text)]
    except (csv.Error, ValueError) as error:
        reason = "it is empty" if not text.strip() else str(error)
        raise ManifestError(f"{path}: not a CSV table: {reason}") from None
    return pd.DataFrame(rows, columns=head, dtype=str)


def _encoding(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return "utf-16-le"
    return "utf-16-be" if data[:1] == b"\0" and data[1:2] != b"\0" else "utf-8"


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line that is not blank; the first are the names of the columns."""
    if "\0" in text:
        raise ValueError("it holds zero bytes")
    first = text.partition("\n")[0].partition("\r")[0]
    divider = next((sign for sign in ",;\t" if sign in first), ",")
    reader, head = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True), list[str]()
    for cells in reader:
        if not cells:
            continue
        if not head:
            cells = head = [name.strip() for name in cells]
        if len(cells) != len(head):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, and the first line has {len(head)}")
        if len(set(head)) != len(head):
            raise ValueError(f"the column {next(name for name in head if head.count(name) > 1)!r} occurs twice")
        yield reader.line_num, cells


def _misplaced(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    """Say where the first bytes stand that the encoding does not know."""
    if encoding != "utf-8":
        return f"it is not sound {encoding.upper()}"
    problem = f"byte 0x{data[error.start]:02x} is not UTF-8 (save the table as UTF-8)"
    try:
        head = list[str]()
        for number, cells in _lines(data.decode("latin-1")):
            head = head or cells
            for column, cell in zip(head, cells, strict=True):
                try:
                    cell.encode("latin-1").decode("utf-8")
                except UnicodeDecodeError:
                    return f"line {number}, column {column!r}: {problem}"
    except (csv.Error, ValueError):
        pass
    return problem


def whole_numbers(df: pd.DataFrame, column: str, name: str) -> pd.Series:
    """Read a column as whole numbers; "240.0", as spreadsheets write it, is one.

    Args:
        df: Manifest.
        column: Its column.
        name: What error messages call the manifest.

    Returns:
        int64, same index.

    Raises:
        ManifestError: A cell is blank, negative, or no whole number.
    """
    matches = [_WHOLE.fullmatch(str(cell)) for cell in df[column]]
    for place, match in enumerate(matches):
        if match is None:
            raise _wrong_cell(df, column, name, place, "whole numbers")
    return pd.Series([int(match[1]) for match in matches if match], index=df.index, dtype="int64")


def numbers(df: pd.DataFrame, column: str, name: str) -> pd.Series:
    """Read a column as numbers; a blank cell is not known.

    Args:
        df: Manifest.
        column: Its column.
        name: What error messages call the manifest.

    Returns:
        float64, same index; NaN where the cell is blank.

    Raises:
        ManifestError: A cell is neither blank nor a finite number.
    """
    values = []
    for place, cell in enumerate(df[column]):
        try:
            values.append(float(cell) if str(cell).strip() else float("nan"))
        except ValueError:
            raise _wrong_cell(df, column, name, place, "numbers or nothing") from None
        if abs(values[-1]) == float("inf"):
            raise _wrong_cell(df, column, name, place, "finite numbers or nothing")
    return pd.Series(values, index=df.index, dtype="float64")


def _wrong_cell(df: pd.DataFrame, column: str, name: str, place: int, wanted: str) -> ManifestError:
    where = f" (row of {df['path'].iloc[place]!r})" if "path" in df else f" (row {place + 1})"
    return ManifestError(f"{name}: {column} must hold {wanted}, not {df[column].iloc[place]!r}{where}")
