"""Where things lie: what ships with the package, recorded results, data sets of the reader's own, and caches.

| what | where |
|---|---|
| configurations, shipped detectors, embedded manifests | in the package; `data/` in a checkout |
| recorded results, the zoo's images and weights | `data/` in a checkout only |
| data sets: `<name>/manifest.csv` and its files | below `NATURAL_TRACES_DATA`, else below the cache folder |
| caches: scores and the like | the cache folder of the system's user, or `NATURAL_TRACES_CACHE` |

Importing this module costs nothing.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import NaturalTracesError

__all__ = [
    "CACHE_VARIABLE",
    "DATA_VARIABLE",
    "CachePart",
    "PlaceError",
    "cache_dir",
    "cached",
    "clear_cache",
    "data_dir",
    "data_root",
    "data_sets",
    "shipped",
]

DATA_VARIABLE = "NATURAL_TRACES_DATA"
"""Environment variable with the folder that holds `<name>/manifest.csv` for each data set; it may be read-only."""
CACHE_VARIABLE = "NATURAL_TRACES_CACHE"
"""Environment variable with another folder for caches."""

_PACKAGE = Path(__file__).resolve().parents[1]
_SETS = "data"


class PlaceError(NaturalTracesError):
    """Something that does not lie where it should."""


def data_dir() -> Path:
    """Return the folder of what ships with the project.

    Returns:
        `helpers/_data` where a wheel is installed, `data` beside the package in a checkout.

    Raises:
        PlaceError: There is neither.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if (folder / "configs").is_dir():
            return folder
    raise PlaceError(f"{_PACKAGE}: the package's data are missing; install it again")


def shipped(*parts: str) -> Path:
    """Find a file or folder that ships with the project.

    Args:
        parts: Way below the data folder, such as `"results", "statistics.json"`.

    Returns:
        Its path.

    Raises:
        PlaceError: It is not there, as in a wheel, which leaves out recorded results and the zoo.
    """
    path = data_dir().joinpath(*parts)
    if not path.exists():
        hint = "" if (_PACKAGE.parent / "pyproject.toml").is_file() else ": it lies in a checkout of the project only"
        raise PlaceError(f"data/{'/'.join(parts)}: not found{hint}")
    return path


def cache_dir() -> Path:
    """Return the folder of caches; it need not exist.

    Returns:
        What `NATURAL_TRACES_CACHE` says, else the system's folder for caches of this user.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("natural-traces", appauthor=False)


def data_root() -> Path:
    """Return the folder that holds `<name>/manifest.csv` for each data set; it need not exist.

    Returns:
        What `NATURAL_TRACES_DATA` says, else `data` in the cache folder.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_dir() / _SETS


def data_sets() -> dict[str, Path]:
    """List the data sets of this machine: name -> folder with its manifest.csv."""
    try:
        return {path.parent.name: path.parent for path in sorted(data_root().glob("*/manifest.csv"))}
    except OSError:
        return {}


@dataclass(frozen=True)
class CachePart:
    """One folder of the cache.

    Attributes:
        name: Such as "scores".
        files: Number of files.
        bytes: Their size.
    """

    name: str
    files: int
    bytes: int


def cached() -> list[CachePart]:
    """Measure the parts of the cache; data sets are none."""
    parts = []
    for folder in _cache_parts():
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        parts.append(CachePart(folder.name, len(sizes), sum(sizes)))
    return parts


def clear_cache() -> list[CachePart]:
    """Delete everything that can be computed again, and return what that was; data sets stay."""
    parts = cached()
    for folder in _cache_parts():
        shutil.rmtree(folder)
    return parts


def _cache_parts() -> list[Path]:
    root = cache_dir()
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name != _SETS) if root.is_dir() else []
