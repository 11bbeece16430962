"""Manifests of what people have: folders in the layouts of the field, and lists in CSV.

Nothing is left out in silence: a `Collection` lists every file that is not in its rows, with the reason, and every
decision that the reader may not expect.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from helpers.data.duplicates import perceptual_hash
from helpers.data.folders import SPLIT_FOLDERS, LeftOut, Place, read_layout
from helpers.data.images import ImageError, decode, probe, read_bytes
from helpers.data.manifest import COLUMNS, LABEL_NAMES, NOT_STATED, ManifestError, validate
from helpers.data.paths import PATH_RULE, is_safe
from helpers.data.splits import AUTO, Split, keep_splits, split_rows
from helpers.data.tables import read_table

__all__ = [
    "Collecting",
    "Collection",
    "collect_folder",
    "collect_list",
    "manifest_from_folder",
    "parse_columns",
]

STOP, SKIP = "stop", "skip"
LIST_LABELS: Mapping[str, str] = {
    **LABEL_NAMES,
    **dict.fromkeys(("false", "no", "authentic", "natural", "photo", "photograph"), "real"),
    **dict.fromkeys(("true", "yes", "generated", "synthetic"), "fake"),
}
"""How lists write labels, in lower case; true stands for fake, unless the column is called `is_real`."""
_USUAL: Mapping[str, tuple[str, ...]] = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "labels", "is_fake", "fake", "target", "class", "y", "gt", "ground_truth", "is_real"),
    "generator": ("generator", "model", "method", "source_model", "architecture"),
    "source": ("source", "group", "scene"),
    "split": ("split", "subset", "partition", "phase"),
    "family": ("family",),
}
_THREADS = 4


@dataclass(frozen=True)
class Collecting:
    """How a set is collected.

    Attributes:
        seed: Seed of the split.
        licence: Terms, the same for all files.
        origin: Origin, the same for all files.
        by: What stays together when the set is split; see `helpers.data.splits.split_rows`.
        test_only: Put everything into `test`.
        fast: Read headers alone: damage inside a file and near-duplicates are not found.
        on_error: "stop" at files that cannot be used, or "skip" them, which lists them.
        generator: What made the fakes for which nothing else tells.
        columns: For lists: manifest column -> column of the list; the usual names are known.
    """

    seed: int = 0
    licence: str = NOT_STATED
    origin: str = NOT_STATED
    by: str = AUTO
    test_only: bool = False
    fast: bool = False
    on_error: str = STOP
    generator: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_error not in (STOP, SKIP):
            raise ManifestError(f"on-error must be {STOP} or {SKIP}, not {self.on_error!r}")


@dataclass(frozen=True)
class Collection:
    """A manifest, and what became of everything else.

    Attributes:
        rows: Manifest, sorted by path.
        split: How it was split.
        left_out: Files and folders that are not in it.
    """

    rows: pd.DataFrame
    split: Split
    left_out: tuple[LeftOut, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out for which reason, the most frequent first."""
        return dict(Counter(one.reason for one in self.left_out).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Turn everything but the rows into plain values for JSON."""
        duplicates = self.split.duplicates
        files = [asdict(one) for one in self.left_out]
        return {
            "split_by": self.split.by,
            "notes": list(self.split.notes),
            "duplicates": {"equal": duplicates.equal, "near": duplicates.near},
            "left_out": {
                "count": len(self.left_out),
                "reasons": self.reasons,
                "files": files,
            },
        }


Progress = Callable[[Iterable[Any]], Iterable[Any]]


def manifest_from_folder(
    root: str | Path, *, seed: int = 0, licence: str = NOT_STATED, origin: str = NOT_STATED
) -> pd.DataFrame:
    """Build a manifest from `real/` and `fake/<generator>/`, or another layout of `helpers.data.folders`.

    The source of an image is the first folder below `real/` or below `fake/<generator>/` if there is one
    (`real/holiday/a.jpg` -> `holiday`), else the file's name without its ending (`real/cat.jpg` and `fake/gan/cat.png`
    are both `cat`, so that a copy made from a photograph shares the photograph's split). `collect_folder` also tells
    what was left out, and has more options.

    Args:
        root: Folder that holds `real` and `fake`.
        seed: Seed of the split.
        licence: Terms, the same for all files.
        origin: Origin, the same for all files.

    Returns:
        Manifest, sorted by path; paths are relative to `root`.

    Raises:
        ManifestError: A folder is missing or empty, a fake has no generator's folder, or files are unreadable.
    """
    return collect_folder(root, Collecting(seed=seed, licence=licence, origin=origin)).rows


def collect_folder(root: str | Path, options: Collecting | None = None, progress: Progress = iter) -> Collection:
    """Collect a folder in one of the layouts of `helpers.data.folders`.

    Args:
        root: Folder; the manifest's paths count from it.
        options: How; the defaults when None.
        progress: Wraps the list of files, such as `tqdm`.

    Returns:
        Manifest, and what was left out.

    Raises:
        ManifestError: The folder has none of the layouts, a fake has no generator, or, unless such files are skipped,
            a file is unreadable or has a name that no manifest can hold.
    """
    options = options or Collecting()
    places, left_out = read_layout(root, options.generator)
    return _collected(Path(root), places, left_out, options, progress)


def collect_list(
    path: str | Path, root: str | Path | None = None, options: Collecting | None = None, progress: Progress = iter
) -> Collection:
    """Collect the images of a list in CSV.

    Args:
        path: List with at least a column of paths and one of labels (0 or 1, `real` or `fake` in any case, ...).
        root: Folder that the paths count from; the list's own when None.
        options: How; `options.columns` names the list's columns where they are not the usual ones.
        progress: Wraps the list of files, such as `tqdm`.

    Returns:
        Manifest, and what was left out.

    Raises:
        ManifestError: A column is missing, a label cannot be read, a path leads out of the root, or as
            `collect_folder`.
    """
    options = options or Collecting()
    folder = Path(path).parent if root is None else Path(root)
    table = read_table(path)
    names = _list_columns(table, options.columns, str(path))
    given = {column: table[name].str.strip() for column, name in names.items()}
    labels = _labels(given["label"], names["label"], str(path))
    paths = [_below(cell, folder, str(path)) for cell in given["path"]]
    splits = _splits(given.get("split"), str(path)) or [""] * len(table)
    places = [
        Place(
            path=paths[row],
            label=labels[row],
            generator="" if labels[row] == "real" else _cell(given, "generator", row) or options.generator,
            source=_cell(given, "source", row) or PurePosixPath(paths[row]).stem,
            split=splits[row],
            subset="",
        )
        for row in range(len(table))
    ]
    return _collected(folder, sorted(places, key=lambda place: place.path), [], options, progress)


def _cell(given: Mapping[str, "pd.Series"], column: str, row: int) -> str:
    return str(given[column].iloc[row]) if column in given else ""


# Rows


def _collected(
    root: Path, places: Sequence[Place], left_out: Sequence[LeftOut], options: Collecting, progress: Progress
) -> Collection:
    """Read the files, make the rows, split them."""
    nameless = next((place.path for place in places if place.label == "fake" and not place.generator), None)
    if nameless is not None:
        raise ManifestError(
            f"{root / nameless}: a fake must lie in fake/<generator>/, or --generator names what made it"
        )
    rows, refused = _read_all(root, places, options, progress)
    df = pd.DataFrame(rows).assign(family="", licence=options.licence, origin=options.origin)
    extra = [name for name in ("subset", "phash") if name in df and (df[name] != "").any()]
    df = validate(df.assign(split=df["split"].replace("", "test"))[[*COLUMNS, *extra]], str(root))
    if options.test_only:
        split = keep_splits(df.assign(split="test"))
    elif all(row["split"] for row in rows) and options.by == AUTO:
        split = keep_splits(df)
    else:
        split = split_rows(df, by=options.by, seed=options.seed)
    return Collection(split.rows, split, tuple(sorted([*left_out, *refused], key=lambda one: one.path)))


def _read_all(
    root: Path, places: Sequence[Place], options: Collecting, progress: Progress
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """Describe every file; those that cannot be used are errors, or are listed."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        described = list(progress(pool.map(partial(_describe, root, fast=options.fast), places)))
    rows = [one for one in described if not isinstance(one, LeftOut)]
    refused = [one for one in described if isinstance(one, LeftOut)]
    if refused and options.on_error == STOP:
        first = refused[0]
        raise ManifestError(
            f"{len(refused)} unreadable image file(s), the first: {root / first.path}: {first.reason} "
            "(--on-error skip leaves them out)"
        )
    if not rows:
        raise ManifestError(f"{root}: no image can be read")
    return rows, refused


def _describe(root: Path, place: Place, *, fast: bool) -> dict[str, Any] | LeftOut:
    """Describe one file, or say why it cannot be used."""
    if not is_safe(place.path):
        return LeftOut(place.path, PATH_RULE)
    try:
        data = read_bytes(root / place.path)
        info = probe(data, place.path)
        look = {} if fast else {"phash": perceptual_hash(decode(data, place.path))}
    except ImageError as error:
        return LeftOut(place.path, error.reason)
    kept = {"width": info.width, "height": info.height, "format": info.format}
    return {**asdict(place), **kept, "sha256": hashlib.sha256(data).hexdigest(), **look}


# Lists


def parse_columns(text: str) -> dict[str, str]:
    """Read `path=file,label=is_fake` into a mapping.

    Args:
        text: Pairs of a manifest's column and the list's column.

    Returns:
        Manifest column -> column of the list.

    Raises:
        ManifestError: Not such pairs, or a column that lists do not give.

    >>> parse_columns("path=file, label=is_fake")
    {'path': 'file', 'label': 'is_fake'}
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(sign and value.strip() and name.strip() in _USUAL for name, sign, value in pairs):
        raise ManifestError(f"--columns {text!r}: needs name=column pairs, and the names are {', '.join(_USUAL)}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _list_columns(table: pd.DataFrame, wanted: Mapping[str, str], name: str) -> dict[str, str]:
    """Find the list's columns: those that are named, else the usual ones in any case of letters."""
    present = {str(column).lower(): str(column) for column in table}
    columns = {}
    for column, usual in _USUAL.items():
        choices = (wanted[column].lower(),) if column in wanted else usual
        match = next((present[choice] for choice in choices if choice in present), None)
        if match is not None:
            columns[column] = match
        elif column in ("path", "label") or column in wanted:
            raise ManifestError(
                f"{name}: no column {' or '.join(choices)}; found {', '.join(map(str, table))} "
                f"(--columns {column}=NAME says which it is)"
            )
    return columns


def _labels(cells: pd.Series, column: str, name: str) -> list[str]:
    """Read labels in any of their spellings."""
    labels = [LIST_LABELS.get(cell.lower()) for cell in cells]
    for row, label in enumerate(labels):
        if label is None:
            raise ManifestError(
                f"{name}: column {column!r} must hold 0 or 1, real or fake, not {cells.iloc[row]!r} (row {row + 1})"
            )
    turned = {"real": "fake", "fake": "real"} if column.lower() in ("is_real", "real") else {}
    given = [str(label) for label in labels]
    words = [cell.lower() in ("real", "fake") for cell in cells]
    return [label if word else turned.get(label, label) for label, word in zip(given, words, strict=True)]


def _splits(cells: "pd.Series | None", name: str) -> list[str]:
    """Read splits in any of their spellings; a list without them is split anew."""
    if cells is None:
        return []
    for row, cell in enumerate(cells):
        if cell and cell.lower() not in SPLIT_FOLDERS:
            raise ManifestError(
                f"{name}: split must be one of {', '.join(SPLIT_FOLDERS)}, not {cell!r} (row {row + 1})"
            )
    return [SPLIT_FOLDERS.get(cell.lower(), "") for cell in cells]


def _below(cell: str, root: Path, name: str) -> str:
    """Turn a path of a list into one that counts from the root."""
    path = PureWindowsPath(cell).as_posix() if "\\" in cell else cell
    if PurePosixPath(path).is_absolute():
        try:
            path = Path(path).relative_to(root.absolute()).as_posix()
        except ValueError:
            raise ManifestError(f"{name}: {cell!r} does not lie below {root} (--root names another folder)") from None
    return PurePosixPath(path).as_posix()
