"""The image files that a reader means: files, folders, patterns, or a list.

Importing this module costs nothing.
"""

import codecs
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ENDINGS", "Inputs", "find_inputs", "is_hidden", "looks_like_image", "read_list", "walk"]

ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif"),
    )
)
"""Endings, in lower case, of files that are meant as images: one that cannot be read is an error."""
_STARTS = (
    *(
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF8",
        b"BM",
        b"II*\x00",
        b"MM\x00*",
        b"P1",
        b"P2",
        b"P3",
        b"P4",
        b"P5",
        b"P6",
    ),
    *(b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
)
_SERVICE_NAMES = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information")
)


@dataclass
class Inputs:
    """What was found.

    Attributes:
        paths: The files to read, each once, in order.
        refused: Inputs that name nothing: path -> reason.
        left_out: Files of folders that were passed over: reason -> how many.
    """

    paths: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.paths) + len(self.refused)


def find_inputs(inputs: Iterable[str]) -> Inputs:
    """Find the image files that a command line names.

    Args:
        inputs: Files (taken as they are), folders (searched with all folders below them), and patterns such as
            `photos/**/*.jpg`.

    Returns:
        The files; what names nothing is listed with the reason.
    """
    gathered, seen = Inputs(), set()
    for text in inputs:
        for path in _expand(text, gathered):
            if path not in seen:
                seen.add(path)
                gathered.paths.append(path)
    return gathered


def _expand(text: str, gathered: Inputs) -> Iterator[str]:
    """List the files of one input."""
    if os.path.isdir(text):  # noqa: PTH112  (a name with a zero byte is no error here)
        for path in walk(text, gathered.left_out):
            if looks_like_image(path):
                yield path
            else:
                gathered.left_out["no image"] += 1
    elif os.path.lexists(text):
        yield text
    elif matches := sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []:  # noqa: PTH207
        for path in matches:
            if Path(path).is_dir():
                continue
            yield path
    else:
        gathered.refused[text] = "no file matches" if glob.has_magic(text) else "no such file"


def walk(folder: str, left_out: Counter[str] | None = None) -> Iterator[str]:
    """List all files below a folder in a fixed order; links are followed, each folder is entered once.

    Args:
        folder: Where to begin.
        left_out: Counts what is passed over: hidden files and folders, and folders that cannot be opened.

    Yields:
        Paths that begin with `folder`.
    """
    passed: Counter[str] = Counter() if left_out is None else left_out
    entered: set[str] = set()

    def closed(_: OSError) -> None:
        passed["folder that cannot be opened"] += 1

    for place, folders, files in os.walk(folder, followlinks=True, onerror=closed):
        entered.add(os.path.realpath(place))
        for name in [name for name in folders if is_hidden(name)]:
            folders.remove(name)
            passed["hidden folder"] += 1
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(place, name)) not in entered)  # noqa: PTH118
        for name in sorted(files):
            if is_hidden(name):
                passed["hidden file"] += 1
            else:
                yield os.path.join(place, name)  # noqa: PTH118


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder belongs to the system or to a program, such as `._x.png` or `__MACOSX`."""
    return name.startswith(".") or name.lower() in _SERVICE_NAMES


def looks_like_image(path: str) -> bool:
    """Tell whether a file has the ending of an image, or begins like one."""
    if Path(path).suffix.lower() in ENDINGS:
        return True
    try:
        if not os.path.isfile(path):  # noqa: PTH113
            return False
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:8] == b"ftyp"


def read_list(data: bytes) -> list[str]:
    r"""Read a list of paths, one a line, or separated by zero bytes as `find -print0` writes them.

    >>> read_list(b"a.png\r\n\nb c.png\n")
    ['a.png', 'b c.png']
    >>> read_list(b"a\nb.png\0c.png\0")
    ['a\nb.png', 'c.png']
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        lines = data.decode("utf-16", errors="replace").splitlines()
    else:
        parts = data.removeprefix(codecs.BOM_UTF8).split(b"\0" if b"\0" in data else b"\n")
        lines = [os.fsdecode(part if b"\0" in data else part.removesuffix(b"\r")) for part in parts]
    return [line for line in lines if line]
