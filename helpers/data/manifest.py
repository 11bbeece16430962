"""One table for every data set: read, write, check and split it. `helpers.data.collect` builds one from a folder.

A *manifest* is a pandas DataFrame, one row per image, stored as UTF-8 CSV. Columns:

| column | meaning |
|---|---|
| path | file, relative to the manifest's root with forward slashes; `pkg:skimage/data/coffee.png` lies in a package |
| label | `real` or `fake` |
| generator, family | what made a fake, and its kind; the generator of a real image is empty |
| source | what must stay together: the photograph, or the collection, that an image comes from |
| split | `train`, `val` or `test` |
| width, height, format | pixels and format by content, as `helpers.data.images.probe` reports them |
| sha256 | of the file, lower-case hexadecimal |
| licence, origin | terms as stated by the origin, and where that is |

Further columns are kept as text. Empty cells are empty strings, never NaN.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd

from helpers.data.images import ImageError, decode, probe, read_bytes
from helpers.data.paths import PACKAGE_PREFIX, PATH_RULE, is_encodable, is_safe
from helpers.data.tables import ManifestError, read_table, whole_numbers

__all__ = [
    "COLUMNS",
    "FRACTIONS",
    "LABELS",
    "LABEL_NAMES",
    "SPLITS",
    "ManifestError",
    "Problem",
    "assign_splits",
    "read_manifest",
    "resolve",
    "shared_pictures",
    "shared_sources",
    "split_by_source",
    "validate",
    "verify",
    "write_manifest",
]

COLUMNS = (
    "path", "label", "generator", "family", "source", "split",
    "width", "height", "format", "sha256", "licence", "origin",
)  # fmt: skip
LABELS = ("real", "fake")
LABEL_NAMES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("real", "0", "0.0", "0_real", "nature"), "real")
    | dict.fromkeys(("fake", "1", "1.0", "1_fake", "ai"), "fake")
)
"""How the field writes labels, in lower case."""
SPLITS = ("train", "val", "test")
FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "val": 0.15, "test": 0.15})
NOT_STATED = "not stated"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file of a manifest.

    Attributes:
        path: The file, as the manifest names it.
        kind: "path", "missing", "undecodable", "size", "format" or "hash".
        detail: One clause.
    """

    path: str
    kind: str
    detail: str


# Read, write, check


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read and validate a manifest.

    Args:
        path: CSV file. Where it has no `origin`, one is made of its `origin_repo`, `origin_commit`, `origin_path`.

    Returns:
        DataFrame with `COLUMNS` first (width and height int64, all others text), further columns after them. Labels in
        any spelling of `LABEL_NAMES` become `real` and `fake`.

    Raises:
        ManifestError: The file is missing, is not such a table, or breaks a rule of `validate`.
    """
    df = read_table(path)
    if "origin" not in df and {"origin_repo", "origin_path"} <= set(df):
        df["origin"] = _joined_origin(df)
    _check_columns(df, str(path))
    df["label"] = [LABEL_NAMES.get(label.strip().lower(), label) for label in df["label"]]
    df["sha256"] = df["sha256"].str.lower()
    df = df.assign(**{column: whole_numbers(df, column, str(path)) for column in ("width", "height")})
    return validate(_ordered(df), str(path))


def _joined_origin(df: pd.DataFrame) -> list[str]:
    """Compose `repository@commit/path` from the columns of manifests that keep them apart."""
    commits = df["origin_commit"] if "origin_commit" in df else [""] * len(df)
    rows = zip(df["origin_repo"], commits, df["origin_path"], strict=True)
    return [f"{repo}{'@' + commit if commit else ''}{'/' + path if path else ''}" for repo, commit, path in rows]


def _ordered(df: pd.DataFrame) -> pd.DataFrame:
    return df[[*COLUMNS, *(name for name in df.columns if name not in COLUMNS)]].reset_index(drop=True)


def _check_columns(df: pd.DataFrame, name: str) -> None:
    missing = [column for column in COLUMNS if column not in df]
    if missing:
        raise ManifestError(f"{name}: lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}")


def validate(df: pd.DataFrame, name: str = "manifest") -> pd.DataFrame:
    """Check the rules that every manifest keeps; no file is opened.

    Args:
        df: Manifest.
        name: What error messages call it.

    Returns:
        The same object, so that calls can be chained.

    Raises:
        ManifestError: The first rule that is broken, with the path of the first row that breaks it.
    """
    _check_columns(df, name)
    generator, real = df["generator"].astype(str), df["label"] == "real"
    safe = [is_safe(path) for path in df["path"].astype(str)]
    hashed = df["sha256"].astype(str).map(lambda text: bool(_SHA256.fullmatch(text)))
    rules = {
        PATH_RULE: pd.Series(safe, index=df.index, dtype=bool),
        "path must be unique": ~df["path"].duplicated(),
        f"label must be one of {', '.join(LABELS)}": df["label"].isin(LABELS),
        f"split must be one of {', '.join(SPLITS)}": df["split"].isin(SPLITS),
        "a real image has no generator": ~real | (generator == ""),
        "a fake image needs a generator": real | (generator.str.strip() != ""),
        "source must not be empty": df["source"].astype(str).str.strip() != "",
        "width and height must be positive": (df["width"] > 0) & (df["height"] > 0),
        "sha256 must be 64 hexadecimal digits in lower case": hashed,
        "cells must not be NaN": ~df[list(COLUMNS)].isna().any(axis=1),
    }
    for rule, holds in rules.items():
        if not holds.all():
            raise ManifestError(f"{name}: {rule} (row of {df.loc[~holds, 'path'].iloc[0]!r})")
    _check_encoding(df, name)
    return df


def _check_encoding(df: pd.DataFrame, name: str) -> None:
    """Refuse text that no file can hold, such as names from a disk whose names are not UTF-8."""
    for column in df.columns:
        for path, cell in zip(df["path"], df[column], strict=True):
            if isinstance(cell, str) and not cell.isascii() and not is_encodable(cell):
                raise ManifestError(f"{name}: {column} {cell!r} is not UTF-8 (row of {path!r})")


def write_manifest(df: pd.DataFrame, path: str | Path) -> None:
    """Validate a manifest and write it; a reader sees the old file or the new one, never half of one.

    Args:
        df: Manifest.
        path: CSV file; its folder is made.

    Raises:
        ManifestError: The manifest breaks a rule of `validate`.
    """
    path = Path(path)
    text = _ordered(validate(df, str(path))).to_csv(index=False, lineterminator="\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(temporary).chmod(0o644)  # mkstemp makes files that only their owner may read
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


# Files


def resolve(path: str, root: str | Path | None) -> Path:
    """Find the file that a manifest path names.

    Args:
        path: Relative path with forward slashes, or `pkg:<package>/<path inside the package>`.
        root: Folder that relative paths start from; not needed for `pkg:` paths.

    Returns:
        Path on this machine; whether a file lies there is not checked.

    Raises:
        ManifestError: The path is absolute, climbs with '..', has no root, or names a package that is not installed.
    """
    if not is_safe(path):
        raise ManifestError(f"{path!r}: {PATH_RULE}")
    if path.startswith(PACKAGE_PREFIX):
        package, *inside = PurePosixPath(path.removeprefix(PACKAGE_PREFIX)).parts
        return _package_folder(package).joinpath(*inside)
    if root is None:
        raise ManifestError(f"{path!r}: a relative path needs a root folder")
    return Path(root, *PurePosixPath(path).parts)


def _package_folder(package: str) -> Path:
    spec = find_spec(package) if package.isidentifier() else None  # finds without importing
    if spec is None or not spec.submodule_search_locations:
        raise ManifestError(f"{PACKAGE_PREFIX}{package}: this package is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def read_checked(path: str, sha256: str, root: str | Path | None) -> bytes:
    """Read the file of a row, and see that it is the one that the manifest means.

    Args:
        path: As the row names it.
        sha256: Of the row.
        root: Folder that relative paths start from.

    Returns:
        Its content.

    Raises:
        ManifestError: The file is another one.
        ImageError: It cannot be read.
    """
    data = read_bytes(resolve(path, root))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ManifestError(f"{path}: the file differs from its sha256 in the manifest")
    return data


def verify(df: pd.DataFrame, root: str | Path | None, *, pixels: bool = True) -> list[Problem]:
    """Check every file of a manifest against its row; each file is read once.

    Args:
        df: Manifest.
        root: Folder that relative paths start from.
        pixels: Decode each image as well; without it damage is found by the hash alone.

    Returns:
        Problems in the manifest's order; empty when all is well.
    """
    rows = zip(df["path"], df["width"], df["height"], df["format"], df["sha256"], strict=True)
    return [problem for row in rows for problem in _verify_file(root, pixels, *row)]


def _verify_file(
    root: str | Path | None, pixels: bool, path: str, width: int, height: int, kind: str, sha256: str
) -> Iterable[Problem]:
    """Yield what is wrong with one file."""
    try:
        place = resolve(path, root)
    except ManifestError as error:
        yield Problem(path, "path", str(error))
        return
    try:
        data = read_bytes(place)
    except ImageError as error:
        yield Problem(path, "missing", error.reason)
        return
    if (digest := hashlib.sha256(data).hexdigest()) != sha256:
        yield Problem(path, "hash", f"SHA-256 is {digest}")
    try:
        info = probe(data, path)
        if pixels:
            decode(data, path)
    except ImageError as error:
        yield Problem(path, "undecodable", error.reason)
        return
    if (info.width, info.height) != (width, height):
        yield Problem(path, "size", f"is {info.width} x {info.height}, not {width} x {height}")
    if info.format != kind:
        yield Problem(path, "format", f"is {info.format}, not {kind}")


# Splits


def shared_sources(df: pd.DataFrame) -> list[str]:
    """List the sources that lie in more than one split.

    Args:
        df: Manifest.

    Returns:
        Sorted names. Where `source` means the photograph, any entry is a leak from training into test; where it means a
        collection (as in a benchmark that tests on known collections on purpose), it is a fact to report.
    """
    counts = df.groupby("source")["split"].nunique()
    return sorted(str(source) for source in counts.index[counts > 1])


def shared_pictures(df: pd.DataFrame) -> list[str]:
    """List the files that lie in more than one split under several names.

    Args:
        df: Manifest.

    Returns:
        Sorted paths, all copies; any entry is a leak from training into test.
    """
    splits = df.groupby("sha256")["split"].transform("nunique")
    return sorted(df.loc[splits > 1, "path"].astype(str))


def split_by_source(df: pd.DataFrame, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0) -> pd.DataFrame:
    """Assign whole sources to splits, so that each label nears the wanted fractions.

    Sources are taken in random order, larger ones first; each goes where the squared distance of all label counts from
    their targets becomes smallest. The result depends on the sources' names, sizes and labels and on the seed, not on
    the order of rows.

    Args:
        df: Manifest; its `split` is replaced.
        fractions: Wanted share of each split; positive, sum 1.
        seed: Which of the equally good assignments.

    Returns:
        New manifest, same rows and order.

    Raises:
        ManifestError: The fractions are not such, or there are fewer sources than splits.
    """
    return df.assign(split=assign_splits(df["source"], df["label"], fractions, seed))


def assign_splits(groups: pd.Series, labels: pd.Series, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Assign whole groups to splits; see `split_by_source`.

    Args:
        groups: Name of each row's group.
        labels: Label of each row.
        fractions: Wanted share of each split; positive, sum 1.
        seed: Which of the equally good assignments.

    Returns:
        Split of each row.

    Raises:
        ManifestError: The fractions are not such, or there are fewer groups than splits.
    """
    names = list(fractions)
    if not set(names) <= set(SPLITS) or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ManifestError(
            f"fractions must be positive shares of {', '.join(SPLITS)} that sum to 1, got {dict(fractions)}"
        )
    counts = pd.crosstab(groups, labels).sort_index()
    if len(counts) < len(names):
        raise ManifestError(f"{len(counts)} source(s) cannot be split into {len(names)} parts (see --test-only)")
    table = counts.to_numpy(float)
    shuffled = np.random.default_rng(seed).permutation(len(table))
    order = shuffled[np.argsort(-table.sum(1)[shuffled], kind="stable")]
    places = _place_groups(table[order], np.array([fractions[name] for name in names]))
    chosen = {counts.index[group]: names[place] for group, place in zip(order, places, strict=True)}
    return groups.map(chosen)


def _place_groups(groups: np.ndarray, shares: np.ndarray) -> list[int]:
    """Place groups one by one where the label counts come nearest to their targets.

    Args:
        groups: (G, L) images per group and label, in the order of placement.
        shares: (S,) wanted share of each split.

    Returns:
        G indices of splits.
    """
    totals = groups.sum(0)
    target = np.outer(shares, totals)
    filled, places = np.zeros_like(target), []
    for row, group in enumerate(groups):
        left_after = len(groups) - row - 1
        # What each choice changes in the sum of ((count - target) / total of the label) ** 2.
        change = (((filled + group - target) ** 2 - (filled - target) ** 2) / totals**2).sum(1)
        empty = filled.sum(1) == 0
        if empty.sum() > left_after:  # the last groups go to splits that would otherwise stay empty
            change = np.where(empty, change, np.inf)
        places.append(int(change.argmin()))
        filled[places[-1]] += group
    return places


def problems_as_records(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """Turn problems into plain dictionaries.

    Args:
        problems: As `verify` returns them.

    Returns:
        One dictionary per problem, for JSON.
    """
    return [asdict(problem) for problem in problems]
