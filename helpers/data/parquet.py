"""Images inside Parquet files, read like files: `train-00000-of-00012.parquet/cats/1.png` is one.

A Parquet file holds rows in groups, and a group is what is read at a time. The groups that were used last stay in
memory, up to `KEPT_BYTES`, whatever the size of the set: who goes through rows in order reads each group once.
The column `image` is the Hub's: a structure of `bytes` and `path`.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import NaturalTracesError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "IMAGE",
    "MARK",
    "SUFFIX",
    "Container",
    "ShardError",
    "container_of",
    "open_container",
    "read_member",
    "written_whole",
]

SUFFIX = ".parquet"
IMAGE = "image"
MARK = b"natural-traces"
"""Key of a file's metadata under which stands what it was made of."""
KEPT_BYTES = 2**28
"""Row groups that stay in memory, in bytes: a quarter of a gibibyte."""
KEPT_FILES = 64


class ShardError(NaturalTracesError):
    """A Parquet file that cannot be read or written, or that holds no images."""


def _library() -> Any:  # noqa: ANN401
    try:
        import pyarrow.parquet
    except ImportError:
        raise ShardError("Parquet files need pyarrow: pip install natural-traces[scale]") from None
    return pyarrow.parquet


class Container:
    """One Parquet file of images; reads take turns.

    Args:
        path: The file.

    Raises:
        ShardError: It is no such file.
    """

    def __init__(self, path: Path) -> None:
        library = _library()
        try:
            self.file = library.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise ShardError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
        self.path, self.names = path, list(self.file.schema_arrow.names)
        if IMAGE not in self.names:
            raise ShardError(f"{path}: has no column {IMAGE!r} with images")
        meta = self.file.metadata
        self.groups = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]

    def __len__(self) -> int:
        return sum(self.groups)

    @cached_property
    def members(self) -> dict[str, tuple[int, int]]:
        """Path of an image -> its row group and its row in that group."""
        if "path" not in self.names:
            raise ShardError(f"{self.path}: has no column 'path'")
        places = {}
        for group in range(len(self.groups)):
            column = self.file.read_row_group(group, columns=["path"], use_threads=False).column("path")
            places.update({name: (group, row) for row, name in enumerate(column.to_pylist())})
        return places

    def table(self, columns: list[str]) -> "pa.Table":
        """Read some columns of all rows."""
        return self.file.read(columns=columns, use_threads=False)

    def group(self, number: int) -> "pa.Table":
        """Read one row group with all its columns."""
        key = (os.getpid(), self.path, number, id(self.file))
        with _LOCK:
            if key in _GROUPS:
                _GROUPS.move_to_end(key)
                return _GROUPS[key]
            try:
                table = self.file.read_row_group(number, use_threads=False)
            except (OSError, ValueError) as error:
                raise ShardError(f"{self.path}: row group {number} cannot be read: {error}") from None
            _GROUPS[key] = table
            while len(_GROUPS) > 1 and sum(kept.nbytes for kept in _GROUPS.values()) > KEPT_BYTES:
                _GROUPS.popitem(last=False)
            return table

    def row(self, group: int, row: int) -> dict[str, Any]:
        """Read one row as plain values."""
        values: dict[str, Any] = self.group(group).slice(row, 1).to_pylist()[0]
        return values


_LOCK = threading.RLock()
_GROUPS: "OrderedDict[tuple[int, Path, int, int], pa.Table]" = OrderedDict()
_OPEN: "OrderedDict[tuple[int, Path, int, int], Container]" = OrderedDict()


def open_container(path: Path) -> Container:
    """Open a Parquet file of images; those that were opened last stay open.

    Args:
        path: The file.

    Returns:
        The container.

    Raises:
        ShardError: It is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ShardError(f"{path}: {error.strerror or error}") from None
    key = (os.getpid(), path, status.st_mtime_ns, status.st_size)
    with _LOCK:
        if key not in _OPEN:
            _OPEN[key] = Container(path)
        _OPEN.move_to_end(key)
        while len(_OPEN) > KEPT_FILES:
            _OPEN.popitem(last=False)
        return _OPEN[key]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Let a Parquet file appear whole or not at all, however many write it.

    Args:
        path: Where it shall lie; missing folders are made.

    Yields:
        A neighbour to write to, which takes the final name at the end.

    Raises:
        ShardError: It cannot be written.
    """
    import pyarrow as pa

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise ShardError(f"{path}: cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def container_of(path: Path) -> Path | None:
    """Return the Parquet file that a path leads into, or None where it names a file of its own.

    >>> container_of(Path("no/such.parquet/a.png")) is None
    True
    """
    parents = (parent for parent in path.parents if parent.suffix == SUFFIX)
    return next((parent for parent in parents if parent.is_file()), None)


def read_member(file: Path, path: Path) -> bytes | None:
    """Read one image of a Parquet file.

    Args:
        file: As `container_of` gives it.
        path: Leads into it.

    Returns:
        The image file's bytes; None where there is no such member.

    Raises:
        ShardError: The file cannot be read.
    """
    container = open_container(file)
    place = container.members.get(path.relative_to(file).as_posix())
    if place is None:
        return None
    data = container.group(place[0]).column(IMAGE)[place[1]].as_py()
    return bytes(data["bytes"]) if data and data["bytes"] is not None else None
