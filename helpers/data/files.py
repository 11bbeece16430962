"""Files that appear whole or not at all, and texts in the encodings that editors write."""

import codecs
import os
from pathlib import Path

from helpers.errors import NaturalTracesError

__all__ = ["StorageError", "read_text", "write_atomic"]


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


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with its mark, as Windows Notepad writes it; all line ends become one.

    Args:
        path: The file.

    Returns:
        Its text, without a byte order mark.

    Raises:
        StorageError: The file cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise StorageError(f"{path.name}: cannot be read: line {line} is not in UTF-8; save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the platform lets a folder be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
