"""Archives from outside: unpacked below one folder, within a stated size, or refused before anything is left there.

Refused are names that would leave the folder, links, devices, names that occur twice, more files or more bytes than
stated (counted while unpacking, since a header may lie), and damage. The folder appears whole or not at all.
"""

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from helpers.data.paths import is_safe
from helpers.errors import NaturalTracesError, printable

__all__ = ["MAX_BYTES", "MAX_FILES", "ArchiveError", "is_archive", "unpack_archive"]

MAX_BYTES = 100 * 10**9
"""Most bytes that an archive may unpack to, unless the caller knows better."""
MAX_FILES = 5_000_000
_STEP = 1 << 20


class ArchiveError(NaturalTracesError):
    """An archive that is not unpacked."""

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{printable(archive.name)}: {printable(reason)}")


@dataclass(frozen=True)
class _Member:
    """One entry: `kind` is "file", "folder", or a word for what is refused."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Tell by its content whether a file is a zip or tar archive, compressed or not."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack_archive(archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Path:
    """Unpack a zip or tar archive.

    Args:
        archive: The file.
        target: Folder to make; it must not exist.
        max_bytes: Most bytes in all.
        max_files: Most entries.

    Returns:
        The folder.

    Raises:
        ArchiveError: See the module's first lines; nothing is left behind.
    """
    if target.exists():
        raise ArchiveError(archive, f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        with _members(archive) as members:
            _unpack(archive, members, scratch, max_bytes, max_files)
        scratch.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        os.replace(scratch, target)  # noqa: PTH105  (one step)
    except ArchiveError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError) as error:
        raise ArchiveError(archive, f"damaged or not an archive: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise ArchiveError(archive, f"damaged: {error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _unpack(archive: Path, members: Iterator[_Member], folder: Path, max_bytes: int, max_files: int) -> None:
    """Write all members below a folder, counting as they come."""
    seen, total = set[str](), 0
    for number, member in enumerate(members, start=1):
        if number > max_files:
            raise ArchiveError(archive, f"holds more than {max_files:,} entries")
        name = member.name.rstrip("/")
        if name in ("", ".") and member.kind == "folder":
            continue
        name = PurePosixPath(name).as_posix()
        if not is_safe(name) or name.startswith("pkg:"):
            raise ArchiveError(archive, f"holds an unsafe name: {member.name!r}")
        if member.kind not in ("file", "folder"):
            raise ArchiveError(archive, f"holds {member.kind}: {member.name!r}")
        if member.kind == "folder":
            (folder / name).mkdir(parents=True, exist_ok=True)
            continue
        if name.casefold() in seen:  # one file on a disk that does not tell capitals apart
            raise ArchiveError(archive, f"holds a name twice: {member.name!r}")
        seen.add(name.casefold())
        total += _write(archive, member, folder / name, max_bytes - total)


def _write(archive: Path, member: _Member, path: Path, left: int) -> int:
    """Write one file; return its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source, written = member.open(), 0
    if source is None:
        raise ArchiveError(archive, f"cannot read {member.name!r}")
    with source, path.open("xb") as file:
        while data := source.read(_STEP):
            written += len(data)
            if written > left:
                raise ArchiveError(archive, f"unpacks to more than it may ({member.name!r} goes beyond the limit)")
            file.write(data)
    return written


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive of either kind."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
    else:
        with tarfile.open(archive, "r:*") as opened_tar:
            yield _tar_members(opened_tar)


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in opened.infolist():
        mode = entry.external_attr >> 16
        odd = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
        kind = "folder" if entry.is_dir() else "a link or a device" if odd else "file"
        yield _Member(entry.filename, kind, entry.file_size, lambda entry=entry: opened.open(entry))  # type: ignore[misc]


def _tar_members(opened: tarfile.TarFile) -> Iterator[_Member]:
    for entry in opened:
        kind = "file" if entry.isreg() else "folder" if entry.isdir() else "a link or a device"
        yield _Member(entry.name, kind, entry.size, lambda entry=entry: opened.extractfile(entry))  # type: ignore[misc]
