"""Files that appear whole or not at all."""

import os
from pathlib import Path

from helpers.errors import NaturalTracesError

__all__ = ["StorageError", "write_atomic"]


class StorageError(NaturalTracesError):
    """A file that cannot be written or read, or that does not hold what it should."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, meets the old content or the new, never a mixture.

    The bytes go to a temporary neighbour, are forced to the disk, and then take the final name in one step.

    Args:
        path: Where the file shall lie; missing folders are made.
        data: Its content.

    Raises:
        StorageError: The system refuses (disk full, no permission).
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  (atomic on every platform)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path.name}: cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the platform lets a folder be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
