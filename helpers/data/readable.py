"""Rows whose files cannot be read: left out before long work begins, and named with the reason."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from helpers.data.images import ImageError, decode, read_bytes
from helpers.data.manifest import ManifestError, resolve

__all__ = ["Refused", "split_readable"]


@dataclass(frozen=True)
class Refused:
    """A file that is left out.

    Attributes:
        path: As the manifest names it.
        error: Why.
    """

    path: str
    error: str

    def to_dict(self) -> dict[str, str]:
        """Return plain values for JSON."""
        return asdict(self)


def split_readable(
    df: pd.DataFrame,
    root: Path | None,
    *,
    least: int = 1,
    progress: Callable[[Iterable[str | None]], Iterable[str | None]] = lambda reasons: reasons,
    threads: int = 2,
) -> tuple[pd.DataFrame, list[Refused]]:
    """Read every file of a manifest once, and set those aside that cannot be used.

    Args:
        df: Manifest; where it holds `sha256`, a file with other bytes cannot be used.
        root: Folder of relative paths.
        least: Shortest side that is wanted, in pixels.
        progress: Wraps the files as they are done, such as `tqdm`.
        threads: How many files are read at a time.

    Returns:
        The rows that can be used, numbered anew, and the others.
    """

    def reason(path: str, expected: str) -> str | None:
        try:
            data = read_bytes(resolve(path, root))
            height, width = decode(data, path).shape[-2:]
        except ImageError as error:
            return error.reason or str(error)
        except ManifestError as error:
            return str(error)
        if expected and hashlib.sha256(data).hexdigest() != expected:
            return "the file differs from its sha256 in the manifest"
        small = f"{width} x {height} pixels are fewer than the {least} x {least} needed"
        return small if min(height, width) < least else None

    paths = df["path"].astype(str).tolist()
    hashes = df["sha256"].astype(str).tolist() if "sha256" in df else [""] * len(df)
    with ThreadPoolExecutor(threads) as pool:
        reasons = list(progress(pool.map(reason, paths, hashes)))
    refused = [Refused(path, why) for path, why in zip(paths, reasons, strict=True) if why]
    kept = pd.Series([why is None for why in reasons], index=df.index, dtype=bool)
    return df[kept].reset_index(drop=True), refused
