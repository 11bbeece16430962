"""The shipped zoo: 128 images of each of twelve generators beside crops of the photographs that they learned from.

All images lie, without loss, in one zip file that any tool opens; `load` unpacks it once. Files in `data/zoo/`:

| file | what |
|---|---|
| `images.zip` | `<generator>/000.webp`, `real/000.webp`: lossless WebP, not packed further |
| `manifest.csv` | one row per image: the usual columns, and those of `EXTRA` |
| `weights/<generator>.safetensors` | half-precision weights for live sampling |
| `curves/<generator>.csv` | losses during training |
| `cards/<generator>.json` | the model card |
| `files.json` | SHA-256 and size of each of the above |

The real rows are crops of the four training scenes, drawn exactly as the crops that the generators learned from, so
that content is matched and only the generator differs. Their split is therefore `train`. Real crops of photographs
that no generator has seen cost no storage: `draw_crops(zoo_photographs("test"), n, seed)` of `helpers.generators`.
"""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from helpers.data.archives import ArchiveError, unpack_archive
from helpers.data.images import Image, decode, to_pil
from helpers.data.manifest import Problem, read_manifest
from helpers.data.manifest import verify as verify_files
from helpers.errors import NaturalTracesError

__all__ = ["EXTRA", "ZooError", "load", "pixels_sha256", "read_image", "unpack", "verify", "write_container"]

EXTRA = ("number", "seed", "scale", "top", "left", "mirrored", "pixels_sha256")
"""Further columns: which image of which seed; place of a crop in its reduced photograph; hash of the pixels."""

CONTAINER, MANIFEST, LISTING = "images.zip", "manifest.csv", "files.json"
_MAX_BYTES = 100_000_000
_EPOCH = (2020, 1, 1, 0, 0, 0)


class ZooError(NaturalTracesError):
    """A shipped file of the zoo that is missing or damaged."""


def encode_lossless(img: Image) -> bytes:
    """Encode an image as lossless WebP (about a fifth smaller than PNG).

    Args:
        img: uint8, (3, H, W).

    Returns:
        The file's bytes; decoding gives the same pixels.
    """
    buffer = io.BytesIO()
    to_pil(img).save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def pixels_sha256(img: Image) -> str:
    """Hash the pixels of an image, whatever file they came from.

    Args:
        img: uint8, (3, H, W).

    Returns:
        SHA-256 of the bytes in the order row, column, channel.
    """
    return hashlib.sha256(img.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()


def write_container(files: Mapping[str, bytes], path: Path) -> None:
    """Write files into an uncompressed zip, the same bytes every time.

    Args:
        files: Name inside the container -> content.
        path: The zip file.
    """
    temporary = path.with_name(path.name + ".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as container:
        for name in sorted(files):
            container.writestr(zipfile.ZipInfo(name, _EPOCH), files[name])
    temporary.replace(path)


def read_image(path: str, folder: Path) -> Image:
    """Read one image straight from the container.

    Args:
        path: Its path in the manifest, such as "dcgan/000.webp".
        folder: The zoo's folder.

    Returns:
        uint8, (3, 64, 64).

    Raises:
        ZooError: The container is missing or damaged, or holds no such image.
    """
    try:
        with zipfile.ZipFile(folder / CONTAINER) as container:
            return decode(container.read(path), path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ZooError(f"{CONTAINER}: cannot read {path}: {error}") from None


def unpack(folder: Path, target: Path | None = None) -> Path:
    """Lay the container's images out as files, once; later calls find them there.

    Args:
        folder: The zoo's folder.
        target: Where to; by default a folder below the system's temporary files, named after the container's hash.

    Returns:
        The folder that the manifest's paths start from.

    Raises:
        ZooError: The container is missing or damaged.
    """
    container = folder / CONTAINER
    if not container.is_file():
        raise ZooError(f"{CONTAINER}: missing in {folder}; `python -m helpers zoo sample` makes it again")
    digest = hashlib.sha256(container.read_bytes()).hexdigest()
    target = target or Path(tempfile.gettempdir()) / f"natural-traces-zoo-{digest[:16]}"
    if (target / MANIFEST).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as scratch:
        try:
            unpack_archive(container, Path(scratch) / "images", max_bytes=_MAX_BYTES)
        except ArchiveError as error:
            raise ZooError(str(error)) from None
        (Path(scratch) / "images" / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())
        try:
            os.replace(Path(scratch) / "images", target)  # noqa: PTH105  (one step: another process may do the same)
        except OSError:
            if not (target / MANIFEST).is_file():
                raise
    return target


def load(folder: Path) -> tuple[pd.DataFrame, Path]:
    """Load the zoo's manifest, and unpack its images if that was not done before.

    Args:
        folder: The zoo's folder.

    Returns:
        Manifest with the columns of `EXTRA`, and the root of its paths.

    Raises:
        ZooError: A file is missing or damaged.
        ManifestError: The manifest is not one.
    """
    df = read_manifest(folder / MANIFEST)
    return df, unpack(folder)


def list_files(folder: Path) -> dict[str, dict[str, str | int]]:
    """Hash every shipped file but the listing itself: relative path -> sha256 and bytes."""
    listing: dict[str, dict[str, str | int]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != LISTING and not path.name.startswith("."):
            data = path.read_bytes()
            listing[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return listing


def verify(folder: Path) -> list[Problem]:
    """Check every shipped file against the listing, and every image against the manifest, pixel by pixel.

    Args:
        folder: The zoo's folder.

    Returns:
        What is wrong; empty when all is well.

    Raises:
        ZooError: The listing is missing or unreadable.
    """
    try:
        listing = json.loads((folder / LISTING).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ZooError(f"{LISTING}: cannot be read: {error}") from None
    present = list_files(folder)
    problems = [Problem(name, "missing", "no such file") for name in sorted(set(listing) - set(present))]
    problems += [Problem(name, "unlisted", f"not in {LISTING}") for name in sorted(set(present) - set(listing))]
    for name in sorted(set(present) & set(listing)):
        if present[name] != listing[name]:
            problems.append(Problem(name, "hash", f"SHA-256 is {present[name]['sha256']}"))
    return problems or _verify_images(folder)


def _verify_images(folder: Path) -> list[Problem]:
    """Check the container's members one by one against the manifest."""
    df = read_manifest(folder / MANIFEST)
    with tempfile.TemporaryDirectory() as scratch:
        root = unpack(folder, Path(scratch) / "images")
        problems = verify_files(df, root)
        if problems:
            return problems
        for path, expected in zip(df["path"], df["pixels_sha256"], strict=True):
            if pixels_sha256(decode((root / path).read_bytes(), path)) != expected:
                problems.append(Problem(path, "pixels", "decoded pixels differ from the manifest's hash"))
        members = {path.relative_to(root).as_posix() for path in root.rglob("*.webp")}
    return problems + [Problem(name, "unlisted", "not in the manifest") for name in sorted(members - set(df["path"]))]
