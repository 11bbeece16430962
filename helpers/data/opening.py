"""Bytes to an opened picture: which formats pass, how large they may be, and which way up they are.

Everything that is known about containers lies here; `helpers.data.images` turns the opened picture into pixels. Pillow
reads the formats; this module refuses what Pillow should not see, and mends what it refuses although the pixels are
sound:

- PNG text chunks are taken out before Pillow opens the file: a workflow of several megabytes is no reason to refuse
  a picture. So are profiles that inflate to megabytes, and ancillary chunks with a wrong checksum, which say nothing
  about the pixels.
- A wrong checksum of a PNG's pixel data is no damage by itself: the compressed stream holds a checksum of its own,
  which decides.
- The EXIF orientation is read alone, so that odd types elsewhere in the block cannot stand in the way.
- Pillow's own limit on pixels is set aside while a file is open here, since `pixel_limit` holds instead.
"""

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

from PIL import ExifTags, TiffTags, UnidentifiedImageError
from PIL import Image as PillowImage

from helpers.errors import NaturalTracesError, printable

__all__ = [
    "FORMATS",
    "LIMIT_VARIABLE",
    "MAX_MEGAPIXELS",
    "ImageError",
    "Opened",
    "format_of",
    "opened",
    "pixel_limit",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""Formats that are read (JPEG includes MPO, a JPEG with further pictures attached; HEIF needs the extra `heic`).

A short list keeps rarely tested parsers, and those that start other programs, out.
"""
MAX_MEGAPIXELS = 250.0
"""Default limit: telephones take 200 megapixels. Decoding takes up to seven bytes a pixel, so 1.75 GB at the limit."""
LIMIT_VARIABLE = "NATURAL_TRACES_MAX_MEGAPIXELS"
"""Environment variable with another limit; it reaches the workers of a DataLoader and other processes as well."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_HEIF_HINT = "HEIC needs the extra `heic`: pip install 'natural-traces[heic]'"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_SPOKEN = (b"XML:com.adobe.xmp", b"Raw profile type ")  # texts that may hold the orientation
_PNG_BLOCKS = {b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"iCCP": "icc"}
_SMALL = 1 << 20
_PNG_MEANINGFUL = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # ancillary by name, yet they decide what is seen
_INFLATE_STEP = 1 << 20


class ImageError(NaturalTracesError):
    """An image that cannot be used.

    Args:
        name: The file, or what the caller calls the bytes.
        reason: One clause that says what is wrong. (Empty when torch passes an error on from a DataLoader worker: it
            rebuilds the error from one text.)
    """

    def __init__(self, name: str, reason: str = "") -> None:
        reason = printable(" ".join(reason.split()))
        super().__init__(f"{printable(name)}: {reason}" if reason else printable(name))
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return type(self), (self.name, self.reason)


@dataclass
class Opened:
    """A picture whose header has been checked and whose pixels have not been read.

    Attributes:
        picture: Pillow's object.
        size: Columns and rows as stored, before any turning.
        orientation: EXIF orientation 1..8.
        turned_by_pillow: Whether loading the pixels turns them: Pillow does so for TIFF alone, and for plain numbers.
        left_out: Names of blocks that were taken out before Pillow saw the file: "text", "icc".
        data: The file as Pillow sees it.
    """

    picture: PillowImage.Image
    size: tuple[int, int]
    orientation: int
    turned_by_pillow: bool
    left_out: frozenset[str]
    data: bytes


def pixel_limit() -> int:
    """Return the largest width x height that is decompressed.

    Returns:
        `MAX_MEGAPIXELS`, or what the environment variable `NATURAL_TRACES_MAX_MEGAPIXELS` says, in pixels.

    Raises:
        ImageError: The variable holds no positive number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        megapixels = float(text) if text else MAX_MEGAPIXELS
        if not 0 < megapixels < float("inf"):
            raise ValueError
    except ValueError:
        raise ImageError(LIMIT_VARIABLE, f"must be a positive number of megapixels, not {text!r}") from None
    return int(megapixels * 1_000_000)


@contextmanager
def opened(data: bytes, name: str, max_pixels: int | None = None) -> Iterator[Opened]:
    """Open bytes as a checked still image.

    Args:
        data: Content of an image file.
        name: What error messages call it.
        max_pixels: Largest width x height that passes; `pixel_limit()` when None.

    Yields:
        The opened picture.

    Raises:
        ImageError: The bytes are no usable image; whatever goes wrong inside the `with` becomes one as well.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    if not data:
        raise ImageError(name, "the file is empty")
    try:
        with warnings.catch_warnings(), _own_limit():
            warnings.simplefilter("ignore")  # what Pillow merely warns of is checked below
            readable, left_out = _readable_png(data) if data.startswith(_PNG_SIGNATURE) else (data, frozenset[str]())
            with PillowImage.open(io.BytesIO(readable), formats=_known_formats()) as picture:
                _check_header(picture, name, limit)
                if picture.format == "PNG" and "transparency" in picture.info:
                    picture.info["transparency"] = _scaled_key(picture.info["transparency"], *data[24:26])
                yield _described(picture, left_out, readable)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(name, _why_unknown(data)) from None
    except MemoryError:
        raise ImageError(name, "needs more memory than there is") from None
    except Exception as error:  # parsers of hostile bytes raise anything from OSError to SyntaxError
        raise ImageError(name, f"damaged: {str(error) or type(error).__name__}") from error


def format_of(data: bytes) -> str | None:
    """Tell the format of a file by its content.

    Args:
        data: The file, or its first kilobytes.

    Returns:
        A name of Pillow's, such as "JPEG"; "HEIF" also where it cannot be decoded here; None for what is not read.
    """
    if _is_heif(data):
        return "HEIF"
    try:
        with warnings.catch_warnings(), _own_limit():
            warnings.simplefilter("ignore")
            with PillowImage.open(io.BytesIO(data), formats=_known_formats()) as picture:
                return str(picture.format)
    except Exception:  # whatever a parser raises: not an image that is read here
        return None


@cache
def _known_formats() -> tuple[str, ...]:
    """List the formats that this machine decodes, the optional one included."""
    PillowImage.init()
    with suppress(ImportError, OSError):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    return tuple(kind for kind in FORMATS if kind in PillowImage.OPEN)


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and b"avif" not in data[8:64]


def _why_unknown(data: bytes) -> str:
    if _is_heif(data):
        return "damaged: not a readable HEIC file" if "HEIF" in _known_formats() else _HEIF_HINT
    return f"not an image in a format that is read here ({', '.join(_known_formats())})"


# Pillow's limit

_lock = threading.Lock()
_open_now = 0
_pillows_limit: int | None = None


@contextmanager
def _own_limit() -> Iterator[None]:
    """Set Pillow's limit on pixels aside while at least one thread reads here, and restore it afterwards."""
    global _open_now, _pillows_limit
    with _lock:
        if not _open_now:
            _pillows_limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        _open_now += 1
    try:
        yield
    finally:
        with _lock:
            _open_now -= 1
            if not _open_now:
                PillowImage.MAX_IMAGE_PIXELS = _pillows_limit


# Headers


def _check_header(picture: PillowImage.Image, name: str, limit: int) -> None:
    """Refuse what the header alone shows to be unusable."""
    width, height = _stored_size(picture)
    if width < 1 or height < 1:
        raise ImageError(name, f"has no pixels ({width} x {height})")
    if width * height > limit:
        hint = f"{limit / 1e6:,.4g} megapixels are allowed (--max-megapixels)"
        raise ImageError(name, f"{width} x {height} pixels are too many: {hint}")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in ("MPO", "HEIF"):
        raise ImageError(name, f"has {frames} frames, and a still image is needed")


def _described(picture: PillowImage.Image, left_out: frozenset[str], data: bytes) -> Opened:
    """Note size and orientation before the pixels are read, since reading changes both in some formats."""
    is_tiff = picture.format == "TIFF"
    turned = is_tiff and not isinstance(_raw_orientation(picture), bytes | tuple)
    described = Opened(picture, _stored_size(picture), _orientation(picture), turned, left_out, data)
    if is_tiff:
        _forget_blocks(picture)
    return described


def _stored_size(picture: PillowImage.Image) -> tuple[int, int]:
    """Return columns and rows before any turning (newer versions of Pillow turn the size of a TIFF at once)."""
    tags = getattr(picture, "tag_v2", None)
    if picture.format != "TIFF" or tags is None:
        return picture.size
    return int(tags[256]), int(tags[257])


def _forget_blocks(picture: PillowImage.Image) -> None:
    """Keep Pillow from following the pointers of a TIFF's EXIF block, which it does when it loads the pixels."""
    with suppress(Exception):
        exif = picture.getexif()
        for key in TiffTags.TAGS_V2_GROUPS:
            exif.pop(key, None)


def _scaled_key(key: object, depth: int, colours: int) -> object:
    """Bring a PNG's transparent grey or colour from the file's depth to the depth that Pillow reads it in."""
    if isinstance(key, int) and colours == 0 and depth < 8:
        return key * 255 // ((1 << depth) - 1)
    if isinstance(key, tuple) and depth == 16:
        return tuple(value >> 8 for value in key)
    return key


def _raw_orientation(picture: PillowImage.Image) -> object:
    """Read the one entry of the EXIF block (or of XMP) that matters; what cannot be read counts as upright."""
    try:  # the base class's reader: that of PNG decodes all pixels first
        return PillowImage.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _orientation(picture: PillowImage.Image) -> int:
    """Return the EXIF orientation 1..8, whatever number type it was written in."""
    value = _raw_orientation(picture)
    if isinstance(value, bytes | tuple) and len(value) == 1:
        value = value[0]
    try:
        number = int(value)  # type: ignore[call-overload]
        return number if number == value and 1 <= number <= 8 else 1
    except Exception:  # text, a fraction without a denominator
        return 1


# PNG


def _readable_png(data: bytes) -> tuple[bytes, frozenset[str]]:
    """Leave out of a PNG what keeps Pillow from sound pixels, and put what it must know first.

    Args:
        data: The file.

    Returns:
        The file without text, without large profiles, and without ancillary chunks whose checksum is wrong, all other
        chunks before the pixels; and the names of the blocks that were left out.

    Raises:
        SyntaxError: The file is cut, or its compressed pixels are damaged.
    """
    kept, pixels, left_out, sound = list[memoryview](), list[memoryview](), set[str](), True
    for kind, chunk, right in _chunks(data):
        if kind in (b"IDAT", b"fcTL", b"fdAT"):
            pixels.append(chunk)
            sound &= right or kind != b"IDAT"
        elif (block := _PNG_BLOCKS.get(kind)) and not (right and _is_needed(kind, chunk)):
            left_out.add(block)
        elif right or not kind[0] & 32 or kind in _PNG_MEANINGFUL:
            kept.append(chunk)
    if not sound:
        _check_stream(pixels)
    end = kept.pop()  # IEND
    return b"".join([_PNG_SIGNATURE, *kept, *pixels, end]), frozenset(left_out)


def _is_needed(kind: bytes, chunk: memoryview) -> bool:
    """Tell whether a text may hold the orientation, or a profile be read: both only where they inflate to little."""
    body = bytes(chunk[8:-4]) if len(chunk) <= _SMALL else b""
    keyword, _, rest = body.partition(b"\0")
    if kind in _PNG_TEXTS and not keyword.startswith(_PNG_SPOKEN):
        return False
    if kind == b"iTXt":
        return rest[:1] == b"\0"  # not compressed
    if kind == b"tEXt":
        return True
    with suppress(zlib.error):
        return len(zlib.decompressobj().decompress(rest[1:], _SMALL)) < _SMALL
    return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield kind, all bytes, and whether the checksum is right, of each chunk up to the last, which is IEND."""
    view, place, kind = memoryview(data), len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise SyntaxError("truncated PNG file")
        length, kind = struct.unpack_from(">I4s", data, place)
        after = place + 12 + length
        if after > len(data):
            raise SyntaxError("truncated PNG file")
        yield (
            kind,
            view[place:after],
            zlib.crc32(view[place + 4 : after - 4]) == struct.unpack_from(">I", data, after - 4)[0],
        )
        place = after


def _check_stream(chunks: list[memoryview]) -> None:
    """Check compressed pixels by the stream's own checksum, in bounded memory."""
    inflate = zlib.decompressobj()
    for chunk in chunks:
        rest: bytes | memoryview = chunk[8:-4] if bytes(chunk[4:8]) == b"IDAT" else b""
        while rest:
            inflate.decompress(rest, _INFLATE_STEP)
            rest = inflate.unconsumed_tail
    if not inflate.eof:
        raise SyntaxError("the compressed pixels end early")
