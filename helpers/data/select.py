"""Rows of a manifest by conditions, and samples of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data import catalog
from helpers.data.manifest import ManifestError, read_manifest
from helpers.data.parquet import SUFFIX
from helpers.data.seeds import derive_seed
from helpers.data.shards import read_shards

__all__ = ["check_sizes", "load_rows", "sample_rows", "select"]


def sample_rows(df: pd.DataFrame, max_images: int, seed: int = 0) -> pd.DataFrame:
    """Draw at most so many rows, keeping the share of each label, generator and source.

    Which images are drawn depends on their paths and the seed, not on the order of rows.

    Args:
        df: Manifest.
        max_images: Upper limit of rows.
        seed: Seed of the draw.

    Returns:
        Rows in their old order; all of them if they are few enough.
    """
    if len(df) <= max_images:
        return df
    lots = np.array([derive_seed(seed, "sample", str(path)) for path in df["path"]])
    mixed = df.iloc[np.argsort(lots)]
    place = mixed.groupby(["label", "generator", "source"]).cumcount()
    size = mixed.groupby(["label", "generator", "source"])["path"].transform("size")
    chosen = ((place + 0.5) / size).sort_values(kind="stable").index[:max_images]
    return df.loc[df.index.isin(chosen)]


def select(df: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """Keep the rows that meet every condition; conditions on generators and families concern fakes alone.

    Args:
        df: Manifest.
        conditions: Each `column=value[,value]` or `column!=value[,value]`.

    Returns:
        Rows, numbered anew.

    Raises:
        ManifestError: A condition cannot be read, or after it no row is left.
    """
    for condition in conditions:
        column, sign, value = condition.partition("!=" if "!=" in condition else "=")
        if not sign or column not in df:
            raise ManifestError(
                f"{condition!r}: needs column=value or column!=value with a column of the manifest: "
                f"{', '.join(map(str, df.columns))}"
            )
        same = df[column].astype(str).isin(value.split(","))
        kept = ~same if sign == "!=" else same
        known = df[column].astype(str).unique()
        df = df.loc[kept | (df["label"] == "real") if column in ("generator", "family") else kept]
        if df.empty or (not kept.any() and sign == "="):
            raise ManifestError(f"no image meets {condition!r}; {column} holds {_some(known)}")
    return df.reset_index(drop=True)


def _some(values: np.ndarray, most: int = 10) -> str:
    """Name the first values, sorted, and count the rest."""
    named = [value or "''" for value in sorted(values)]
    rest = f" and {len(named) - most:,} more" if len(named) > most else ""
    return ", ".join(named[:most]) + rest


def load_rows(name: str, root: Path | None, where: list[str] | None) -> tuple[pd.DataFrame, Path | None]:
    """Read a manifest file, a folder of shards or a data set of the catalog, and keep the wanted rows."""
    path = Path(name)
    if path.is_dir() and any(path.glob(f"*{SUFFIX}")):
        return select(read_shards(path), where or []), path
    by_name = not path.is_file() and (name in catalog.names() or (path.name == name and not path.suffix))
    df, place = catalog.load(name) if by_name else (read_manifest(path), path.parent)
    return select(df, where or []), root or place


def check_sizes(df: pd.DataFrame, least: int) -> None:
    """Name the first image with a side below `least` pixels, before hours are spent on the others."""
    small = df[df[["width", "height"]].min(axis=1) < least]
    if len(small):
        path, width, height = small[["path", "width", "height"]].iloc[0]
        rest = f", like {len(small) - 1:,} more" if len(small) > 1 else ""
        raise ManifestError(f"{path}: {width} x {height} pixels are fewer than the {least} x {least} needed{rest}")
