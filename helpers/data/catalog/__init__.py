"""Where data sets live: one name for each, from the embedded photographs to a benchmark on this machine.

`load(name)` returns a manifest and the root of its relative paths. A further data set is one more entry of `_LOADERS`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from helpers.data.catalog import zoo
from helpers.data.catalog.photographs import PHOTOGRAPHS, TEXTURES, build
from helpers.data.images import Image, read_image
from helpers.data.manifest import ManifestError, read_manifest, resolve, write_manifest

__all__ = [
    "DATA_VARIABLE",
    "benchmark_folder",
    "data_dir",
    "load",
    "names",
    "photograph",
    "photographs",
    "textures",
    "write_embedded",
]

DATA_VARIABLE = "NATURAL_TRACES_DATA"
"""Environment variable with the folder of a benchmark, or a folder that holds one called `benchmark`."""

_EMBEDDED = {"photographs": PHOTOGRAPHS, "textures": TEXTURES}


def data_dir() -> Path:
    """Return the project's data folder.

    Returns:
        `data` beside the package, as in a checkout.

    Raises:
        ManifestError: The package is not installed from a checkout, so there is no such folder.
    """
    folder = Path(__file__).resolve().parents[3] / "data"
    if not folder.is_dir():
        raise ManifestError(f"{folder}: the course's data folder is missing; install the package from its checkout")
    return folder


def names() -> list[str]:
    """List the data sets that `load` knows.

    Returns:
        Names, sorted; whether a benchmark lies on this machine is not checked.
    """
    return sorted(_LOADERS)


def load(name: str) -> tuple[pd.DataFrame, Path | None]:
    """Load a data set's manifest.

    Args:
        name: One of `names()`.

    Returns:
        Manifest, and the root of its paths (None where they point into packages).

    Raises:
        ManifestError: Unknown name, or the data set does not lie on this machine.
    """
    if name not in _LOADERS:
        raise ManifestError(f"{name}: no such data set (known: {', '.join(names())})")
    return _LOADERS[name]()


def photographs() -> pd.DataFrame:
    """Load the embedded colour photographs.

    Returns:
        Manifest with the extra columns name, title and scene ("everyday" or "scientific").
    """
    return read_manifest(data_dir() / "photographs" / "manifest.csv")


def textures() -> pd.DataFrame:
    """Load the embedded grey pictures, which serve statistics only.

    Returns:
        Manifest with the extra columns name, title and scene ("texture", "everyday" or "scientific").
    """
    return read_manifest(data_dir() / "textures" / "manifest.csv")


def photograph(name: str) -> Image:
    """Read one embedded picture by its name.

    Args:
        name: Entry of the column `name` of `photographs()` or `textures()`, such as "coffee".

    Returns:
        Image, uint8 (3, H, W).

    Raises:
        ManifestError: There is no picture of this name.
    """
    known = pd.concat([photographs(), textures()])
    rows = known.loc[known["name"] == name, "path"]
    if rows.empty:
        raise ManifestError(f"{name}: no such picture (known: {', '.join(known['name'])})")
    return read_image(resolve(str(rows.iloc[0]), None))


def write_embedded(folder: Path | None = None) -> list[Path]:
    """Make the manifests of the embedded pictures anew from the installed packages.

    Args:
        folder: Where `photographs/manifest.csv` and `textures/manifest.csv` go; the project's data folder when None.

    Returns:
        The files written.
    """
    written = []
    for name, pictures in _EMBEDDED.items():
        path = (data_dir() if folder is None else folder) / name / "manifest.csv"
        write_manifest(build(pictures), path)
        written.append(path)
    return written


def benchmark_folder() -> Path | None:
    """Find the benchmark of real generators.

    Returns:
        Its folder: what the environment variable `NATURAL_TRACES_DATA` points to, else `shared/benchmark` beside the
        checkout; None where neither holds a manifest.
    """
    beside = Path(__file__).resolve().parents[4] / "shared" / "benchmark"
    chosen = os.environ.get(DATA_VARIABLE)
    candidates = [Path(chosen), Path(chosen) / "benchmark"] if chosen else [beside]
    return next((folder for folder in candidates if (folder / "manifest.csv").is_file()), None)


def _load_benchmark() -> tuple[pd.DataFrame, Path | None]:
    folder = benchmark_folder()
    if folder is None:
        raise ManifestError(f"benchmark: not found; point {DATA_VARIABLE} to the folder that holds its manifest.csv")
    return read_manifest(folder / "manifest.csv"), folder


_LOADERS: dict[str, Callable[[], tuple[pd.DataFrame, Path | None]]] = {
    "benchmark": _load_benchmark,
    "photographs": lambda: (photographs(), None),
    "textures": lambda: (textures(), None),
    "zoo": lambda: zoo.load(data_dir() / "zoo"),
}
