"""Where data sets live: one name for each, from the embedded photographs to a benchmark on this machine.

`load(name)` returns a manifest and the root of its relative paths. A further data set is a folder `<name>` with a
`manifest.csv` below the data root, see `helpers.data.places`.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from helpers.data.catalog import zoo
from helpers.data.catalog.photographs import PHOTOGRAPHS, TEXTURES, build
from helpers.data.images import Image, read_image
from helpers.data.manifest import ManifestError, read_manifest, resolve, write_manifest
from helpers.data.places import DATA_VARIABLE, data_dir, data_root, data_sets, shipped

__all__ = [
    "data_dir",
    "load",
    "names",
    "photograph",
    "photographs",
    "textures",
    "write_embedded",
]

_EMBEDDED = {"photographs": PHOTOGRAPHS, "textures": TEXTURES}


def names() -> list[str]:
    """List the data sets that `load` knows: those of the package, and those below the data root.

    Returns:
        Names, sorted.
    """
    return sorted({*_LOADERS, *data_sets()})


def load(name: str) -> tuple[pd.DataFrame, Path | None]:
    """Load a data set's manifest.

    Args:
        name: One of `names()`.

    Returns:
        Manifest, and the root of its paths (None where they point into packages).

    Raises:
        ManifestError: Unknown name, or the data set does not lie on this machine.
    """
    if name in _LOADERS:
        return _LOADERS[name]()
    known = data_sets()
    if name not in known:
        raise ManifestError(
            f"{name}: no such data set (known: {', '.join(names())}); "
            f"{DATA_VARIABLE} may name the folder that holds {name}/manifest.csv; now it is {data_root()}"
        )
    return read_manifest(known[name] / "manifest.csv"), known[name]


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


_LOADERS: dict[str, Callable[[], tuple[pd.DataFrame, Path | None]]] = {
    "photographs": lambda: (photographs(), None),
    "textures": lambda: (textures(), None),
    "zoo": lambda: zoo.load(shipped("zoo")),
}
