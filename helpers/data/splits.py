"""Splits that nothing leaks through: what belongs together, or is the same picture, goes to one side."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.data.duplicates import Duplicates, find_duplicates, joined
from helpers.data.manifest import FRACTIONS, LABELS, SPLITS, ManifestError, assign_splits

__all__ = ["AUTO", "Split", "keep_splits", "split_rows"]

AUTO = "auto"
"""Split by source, but a label of fewer sources than there are splits by image."""


@dataclass(frozen=True)
class Split:
    """A manifest that was split.

    Attributes:
        rows: Manifest, same rows and order.
        by: What was kept together in each label: "source", "image" or the name of a column.
        notes: What the reader should know, one sentence each.
        duplicates: Pictures that occur more than once; each lies in one split alone.
    """

    rows: pd.DataFrame
    by: dict[str, str]
    notes: tuple[str, ...]
    duplicates: Duplicates


def split_rows(df: pd.DataFrame, *, by: str = AUTO, seed: int = 0) -> Split:
    """Split a manifest into 70 % train, 15 % val and 15 % test.

    Args:
        df: Manifest; its `split` is replaced. With a column `phash`, near-duplicates stay together too.
        by: What stays together: "source", "image" (files of one name, so that a copy stays with its photograph), a
            column of the manifest, or `AUTO`.
        seed: Which of the equally good assignments.

    Returns:
        The split manifest with notes; equal and nearly equal pictures lie on one side.

    Raises:
        ManifestError: No such column, or fewer groups than splits.
    """
    keys, used, notes = _keys(df, by)
    duplicates = _duplicates(df)
    groups = _group_names(keys, duplicates)
    rows = df.assign(split=assign_splits(groups, df["label"], FRACTIONS, seed))
    return Split(rows, used, (*notes, *_lacking(rows)), duplicates)


def keep_splits(df: pd.DataFrame) -> Split:
    """Keep the splits that a manifest has, but for pictures that lie in several: all copies go to the strictest.

    Args:
        df: Manifest. Of train, val and test the later is the stricter, since a copy in training spoils it.

    Returns:
        The manifest with notes.
    """
    duplicates = _duplicates(df)
    rank = df["split"].map(SPLITS.index)
    strictest = rank.groupby(duplicates.group).transform("max")
    moved = rank != strictest
    notes = []
    if moved.any():
        first = df.loc[moved, "path"].iloc[0]
        notes.append(f"{int(moved.sum())} image(s) moved to the split of their copies, the first {first}")
    rows = df.assign(split=strictest.map(lambda place: SPLITS[place]))
    return Split(rows, dict.fromkeys(LABELS, "given"), (*notes, *_lacking(rows)), duplicates)


def _duplicates(df: pd.DataFrame) -> Duplicates:
    return find_duplicates(df["sha256"].tolist(), df["phash"].tolist() if "phash" in df else None)


def _keys(df: pd.DataFrame, by: str) -> tuple[pd.Series, dict[str, str], list[str]]:
    """Name what each row must stay together with, by label; say so where that is not what one expects."""
    if by not in (AUTO, "source", "image"):
        if by not in df:
            raise ManifestError(f"no column {by!r} to split by; there are {', '.join(map(str, df.columns))}")
        return df[by].astype(str).where(df[by].astype(str) != "", df["path"]), dict.fromkeys(LABELS, by), []
    keys, used, notes = df["source"].copy(), dict.fromkeys(LABELS, "source"), []
    for label in LABELS:
        chosen = df["label"] == label
        sources = sorted(df.loc[chosen, "source"].unique())
        few = by == AUTO and 0 < len(sources) < len(SPLITS)
        if by == "image" or few:
            keys[chosen] = _image_keys(df.loc[chosen, "path"])
            used[label] = "image"
        if few:
            named = f"{'one source' if len(sources) == 1 else f'{len(sources)} sources'} ({', '.join(sources)})"
            notes.append(
                f"all {int(chosen.sum())} {label} images come from {named}, so they were split by image: tests on them "
                f"say nothing about other sources (--by names a column that should stay together instead)"
            )
    return keys, used, notes


def _image_keys(paths: pd.Series) -> NDArray[np.object_]:
    """Name each image by its file, or by its whole path where most files are called alike."""
    stems = [PurePosixPath(path).stem for path in paths]
    alike = len(set(stems)) < max(len(SPLITS), len(stems) / 2)
    return np.array([str(PurePosixPath(path).with_suffix("")) for path in paths] if alike else stems, object)


def _group_names(keys: pd.Series, duplicates: Duplicates) -> pd.Series:
    """Join rows of one key and rows of one picture; a group is named after the first of its keys."""

    def chains(values: Sequence[object]) -> list[tuple[int, int]]:
        places: dict[object, list[int]] = {}
        for place, value in enumerate(values):
            places.setdefault(value, []).append(place)
        return [pair for same in places.values() for pair in pairwise(same)]

    groups = joined(len(keys), [*chains(keys.tolist()), *chains(duplicates.group.tolist())])
    return keys.astype(str).groupby(groups).transform("min")


def _lacking(df: pd.DataFrame) -> list[str]:
    """Name the splits in use that lack a label."""
    counts = pd.crosstab(df["split"], df["label"])
    return [
        f"{split} holds no {label} image"
        for split in SPLITS
        for label in LABELS
        if split in counts.index and not (label in counts and counts.loc[split, label])
    ]
