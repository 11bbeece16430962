"""What lies in a folder of images: which files are meant, and what the names of their folders say.

Layouts that are read, in any case of letters:

| layout | real | fake |
|---|---|---|
| this course's | `real/...` | `fake/<generator>/...` |
| ForenSynths and those after it | `[<generator>/][<class>/]0_real/[<class>/]` | `.../1_fake/...` beside it |
| GenImage | `<generator>/.../<split>/nature/` | `<generator>/.../<split>/ai/` |
| a folder of splits above any of them | `train/real/...` | `train/fake/...` |

Linked folders are followed, each real folder once. Endings do not decide: a file with another ending is taken if its
content is an image. Hidden files, and what systems leave behind, are not. All that is left out is listed.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from helpers.data.images import ImageError, read_bytes
from helpers.data.inputs import ENDINGS, is_hidden, looks_like_image
from helpers.data.opening import format_of
from helpers.data.tables import ManifestError

__all__ = [
    "EXPECTED",
    "SPLIT_FOLDERS",
    "LeftOut",
    "Listing",
    "Place",
    "find_images",
    "read_layout",
]

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
EXPECTED = "real/ and fake/<generator>/, or 0_real/ and 1_fake/, or nature/ and ai/"

_LABEL_FOLDERS = {
    "real": "real", "fake": "fake", "0_real": "real", "1_fake": "fake", "nature": "real", "ai": "fake",
}  # fmt: skip
_CLASS_LAYOUT = ("0_real", "1_fake")
_CLASSES = frozenset(
    (
        "airplane", "apple", "bedroom", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "church",
        "cow", "diningtable", "dog", "horse", "kitchen", "motorbike", "orange", "person", "pottedplant", "sheep",
        "sofa", "summer", "train", "tvmonitor", "winter", "zebra",
    )
)  # fmt: skip
"""Classes of ForenSynths: `car/0_real` in a folder `stylegan` is a class, `biggan/0_real` is a generator."""


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not taken.

    Attributes:
        path: Below the folder that was read.
        reason: One clause.
    """

    path: str
    reason: str


@dataclass
class Listing:
    """What lies in a folder.

    Attributes:
        files: Images, as paths below the folder, sorted.
        left_out: Everything else.
    """

    files: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_images(folder: str | Path, only: Iterable[str] | None = None) -> Listing:
    """Find the images below a folder.

    Args:
        folder: Where to look.
        only: Names of the folders in it to enter; all when None.

    Returns:
        Images and what was left out.

    Raises:
        ManifestError: There is no such folder.
    """
    folder, listing, seen = Path(folder), Listing(), set[tuple[int, int]]()
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder")
    names = [""] if only is None else sorted(only)
    waiting = [name for name in reversed(names) if not (folder / name).is_symlink()]
    linked = [name for name in names if (folder / name).is_symlink()]
    while waiting or linked:  # linked folders last, so that what they point to is found at its own place first
        below = waiting.pop() if waiting else linked.pop(0)
        _enter(folder, below, listing, seen, waiting, linked)
    listing.files.sort()
    listing.left_out.sort(key=lambda one: one.path)
    return listing


def _enter(
    root: Path, below: str, listing: Listing, seen: set[tuple[int, int]], waiting: list[str], linked: list[str]
) -> None:
    """Sort the entries of one folder, unless it was entered before."""
    try:
        place = (root / below).stat()
        entries = sorted(os.scandir(root / below), key=lambda entry: entry.name)
    except OSError as error:
        listing.left_out.append(LeftOut(below or ".", f"cannot be read: {error.strerror or error}"))
        return
    if (place.st_dev, place.st_ino) in seen:
        listing.left_out.append(LeftOut(below, "a link to a folder that was read already"))
        return
    seen.add((place.st_dev, place.st_ino))
    folders = list[str]()
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if is_hidden(entry.name):
            listing.left_out.append(LeftOut(name, "hidden"))
        elif entry.is_dir():
            (linked if entry.is_symlink() else folders).append(name)
        elif reason := _why_no_image(Path(entry.path)):
            listing.left_out.append(LeftOut(name, reason))
        else:
            listing.files.append(name)
    waiting.extend(reversed(folders))


def _why_no_image(path: Path) -> str:
    """Say why a file is not meant as an image; empty if it is."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
    except OSError:
        return "a broken link" if path.is_symlink() else "cannot be read"
    if path.suffix.lower() in ENDINGS or _holds_image(path):
        return ""
    return f"not an image ({path.suffix or 'no ending'})"


def _holds_image(path: Path) -> bool:
    """Tell by its content whether a file is an image; only files that begin like one are read whole."""
    try:
        return looks_like_image(str(path)) and format_of(read_bytes(path)) is not None
    except ImageError:
        return False


# Layouts


@dataclass(frozen=True)
class Place:
    """What the folders of an image say about it.

    Attributes:
        path: Below the root.
        label: "real" or "fake".
        generator: Empty for real images, and where no folder names one.
        source: What must stay together.
        split: "train", "val" or "test"; empty where no folder says so.
        subset: Folders above that of the label; empty if there are none.
    """

    path: str
    label: str
    generator: str
    source: str
    split: str
    subset: str


def read_layout(root: str | Path, generator: str = "") -> tuple[list[Place], list[LeftOut]]:
    """Find the images of a folder and read labels, generators, sources and splits off their folders.

    Args:
        root: Folder in one of the module's layouts.
        generator: What made the fakes whose folders do not tell; folders above `1_fake` are classes then.

    Returns:
        One entry per image, sorted by path; and what was left out.

    Raises:
        ManifestError: No such folder, or none of the layouts: the message shows what was expected and what was found.
    """
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder (needed: {EXPECTED})")
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name))
    except OSError as error:
        raise ManifestError(f"{root}: cannot be read: {error.strerror or error}") from None
    top = [name for name in names if name.lower() in _LABEL_FOLDERS]
    listing = find_images(root, top or None)
    if top:
        listing.left_out += [LeftOut(name, "outside real and fake folders") for name in names if name not in top]
    places, outside = _places(listing.files, root.resolve().name, generator)
    _check_labels(root, places, names)
    return places, sorted([*listing.left_out, *outside], key=lambda one: one.path)


def _check_labels(root: Path, places: Sequence[Place], names: Sequence[str]) -> None:
    counts = Counter(place.label for place in places)
    for label in ("real", "fake"):
        if not counts[label]:
            shown = ", ".join(f"{name}/" for name in names[:8]) + (", ..." if len(names) > 8 else "")
            raise ManifestError(
                f"{root}: holds no image files that are {label}; expected {EXPECTED}; found {shown or 'no folders'}"
            )


def _places(files: Sequence[str], root_name: str, generator: str) -> tuple[list[Place], list[LeftOut]]:
    """Read all paths; what lies in no folder of a label is left out."""
    above = [_above(file) for file in files]
    split_at = _split_level(above)
    lone = {folders[0] for folders in above if folders} if max(map(len, above), default=0) == 1 else set[str]()
    only_classes = bool(generator) or (split_at is None and bool(lone) and lone <= _CLASSES)
    places, outside = [], []
    for file in files:
        if _label_level(file) is None:
            outside.append(LeftOut(file, "outside real and fake folders"))
        else:
            places.append(_place(file, split_at, generator or root_name, only_classes, generator))
    return places, outside


def _label_level(file: str) -> int | None:
    folders = PurePosixPath(file).parts[:-1]
    return next((level for level, name in enumerate(folders) if name.lower() in _LABEL_FOLDERS), None)


def _above(file: str) -> tuple[str, ...]:
    """Return the folders above the label's, in lower case."""
    level = _label_level(file)
    return () if level is None else tuple(name.lower() for name in PurePosixPath(file).parts[:level])


def _split_level(above: Sequence[tuple[str, ...]]) -> int | None:
    """Find the level at which all folders are named after splits: the first or the last above the label's.

    One folder called "train" among others may be the class of railway pictures, so all of a level must be splits.
    """
    for level in (0, -1):
        names = {folders[level] if folders else "" for folders in above}
        if names and names <= set(SPLIT_FOLDERS):
            return level
    return None


def _place(file: str, split_at: int | None, otherwise: str, only_classes: bool, given: str) -> Place:
    """Read one path; `otherwise` names the generator of `1_fake` and `ai`, `given` that of `fake`."""
    *folders, name = PurePosixPath(file).parts
    level = _label_level(file) or 0
    above, kind, rest = folders[:level], folders[level].lower(), folders[level + 1 :]
    split = "" if split_at is None else SPLIT_FOLDERS[above.pop(split_at).lower()]
    label, generator = _LABEL_FOLDERS[kind], ""
    classes_above = kind in _CLASS_LAYOUT and only_classes
    if kind == "fake" and rest:
        generator, rest = rest[0], rest[1:]
    elif label == "fake":
        generator = above[0] if above and not classes_above else given if kind == "fake" else otherwise
    classes = rest[:1] if kind in ("real", "fake") else []
    if kind in _CLASS_LAYOUT:
        classes = [*(above if classes_above else above[1:]), *rest]
    source = "/".join(classes) or PurePosixPath(name).stem
    return Place(file, label, generator, source, split, "/".join(above))
