"""Image files with sound pixels and odd surroundings, made by code: chunks, EXIF blocks, orientations."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import ExifTags
from PIL import Image as PillowImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIF_TYPES = {"byte": (1, 1), "ascii": (2, 1), "short": (3, 2), "long": (4, 4), "rational": (5, 8), "undefined": (7, 1)}


def gradient(height: int = 24, width: int = 40) -> torch.Tensor:
    """Smooth colours that tell every corner from the others: uint8 (3, height, width)."""
    rows, columns = torch.meshgrid(torch.linspace(0, 250, height), torch.linspace(0, 250, width), indexing="ij")
    return torch.stack([rows, columns, (rows + columns) / 2]).to(torch.uint8)


def saved(picture: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, *, right: bool = True) -> bytes:
    """One PNG chunk; its checksum is wrong on demand."""
    check = zlib.crc32(kind + body) ^ (0 if right else 1)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def png(depth: int, colours: int, rows: Sequence[bytes], width: int, *extra: bytes) -> bytes:
    """A PNG of any depth and colour type; `extra` chunks stand before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colours, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return SIGNATURE + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def colour_png(img: torch.Tensor, *extra: bytes, pixels_right: bool = True, after: bytes = b"") -> bytes:
    """An 8-bit colour PNG with further chunks before and after the pixels."""
    rows = [row.T.contiguous().numpy().tobytes() for row in img.permute(1, 0, 2)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", img.shape[2], len(rows), 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)), right=pixels_right)
    return SIGNATURE + header + b"".join(extra) + pixels + after + chunk(b"IEND", b"")


def exif_block(*entries: tuple[int, str, int, bytes]) -> bytes:
    """A little-endian EXIF block of raw entries: tag, type, count, value (up to four bytes or more, put behind)."""
    table, behind = b"", b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        if len(value) > 4:
            place, behind = start + len(behind), behind + value
            value = struct.pack("<I", place)
        table += struct.pack("<HHI", tag, EXIF_TYPES[kind][0], count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + b"\0\0\0\0" + behind


def orientation_entry(value: int, kind: str = "short") -> tuple[int, str, int, bytes]:
    packed = {
        "byte": bytes([value]), "ascii": str(value).encode() + b"\0", "short": struct.pack("<H", value),
        "long": struct.pack("<I", value), "rational": struct.pack("<II", value, 1), "undefined": bytes([value]),
    }[kind]  # fmt: skip
    count = 2 if kind == "ascii" else 1
    return int(ExifTags.Base.Orientation), kind, count, packed


def raw_tiff(img: torch.Tensor, *entries: tuple[int, str, int, bytes]) -> bytes:
    """An uncompressed colour TIFF with any further entries in its directory."""
    pixels = img.permute(1, 2, 0).contiguous().numpy().tobytes()

    def block(start: int) -> bytes:
        numbers = {256: img.shape[2], 257: img.shape[1], 259: 1, 262: 2, 273: start, 277: 3, 279: len(pixels)}
        plain = [(tag, "long", 1, struct.pack("<I", value)) for tag, value in numbers.items()]
        return exif_block(*plain, (258, "short", 3, struct.pack("<3H", 8, 8, 8)), *entries)

    return block(len(block(0))) + pixels


def oriented(kind: str, orientation: int, img: torch.Tensor, **options: object) -> bytes:
    """A file whose EXIF (or, in HEIC, whose container) asks for turning."""
    picture = PillowImage.fromarray(np.ascontiguousarray(img.permute(1, 2, 0).numpy()))
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return saved(picture, kind, exif=exif.tobytes() if kind == "HEIF" else exif, **options)


def turned(img: torch.Tensor, orientation: int) -> torch.Tensor:
    """What each number means, by the EXIF standard (where row 0 and column 0 lie); independent of any library."""
    return {
        1: img, 2: img.flip(2), 3: img.flip(1, 2), 4: img.flip(1), 5: img.transpose(1, 2),
        6: img.transpose(1, 2).flip(2), 7: img.transpose(1, 2).flip(1, 2), 8: img.transpose(1, 2).flip(1),
    }[orientation]  # fmt: skip
