"""Sound pixels are decoded whatever surrounds them, and `probe` agrees with `decode` on every format."""

import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from odd_images import (
    chunk,
    colour_png,
    exif_block,
    gradient,
    orientation_entry,
    oriented,
    png,
    raw_tiff,
    saved,
    turned,
)
from PIL import Image as PillowImage
from PIL import ImageCms

from helpers.data import images, opening
from helpers.data.images import ImageError
from helpers.errors import printable

FORMATS = {
    "JPEG": {"quality": 95},
    "MPO": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 90},
    "HEIF": {"quality": 90},
}


def agree(data: bytes) -> torch.Tensor:
    """Decode, and require that `probe` says the same size."""
    img, info = images.decode(data), images.probe(data)
    assert (info.height, info.width) == tuple(img.shape[1:])
    return img


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", FORMATS)
def test_every_orientation_of_every_format(name: str, orientation: int) -> None:
    kind = name.split(",")[0]
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    img = gradient(64, 96)
    got, wanted = agree(oriented(kind, orientation, img, **FORMATS[name])), turned(img, orientation)
    assert got.shape == wanted.shape
    assert (got.float() - wanted.float()).abs().mean() < 4  # nearly all of a wrong turn's differences exceed 40


@pytest.mark.parametrize("kind", ["byte", "short", "long", "rational", "undefined"])
@pytest.mark.parametrize("file", ["JPEG", "PNG", "WEBP"])
def test_orientation_of_any_number_type(file: str, kind: str) -> None:
    block = exif_block(orientation_entry(6, kind))
    data = saved(images.to_pil(gradient()), file, exif=b"Exif\0\0" + block)
    assert agree(data).shape == (3, 40, 24)


@pytest.mark.parametrize("file", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_odd_types_beside_the_orientation(file: str) -> None:
    """A resolution of type BYTE, a date of type SHORT, a pointer of type ASCII: none says anything about pixels."""
    odd = (
        orientation_entry(6),
        (0x011A, "byte", 1, b"\x48"),
        (0x011B, "ascii", 4, b"abc\0"),
        (0x0132, "short", 1, b"\1\0"),
        (0x8769, "ascii", 4, b"abc\0"),
        (0x8825, "byte", 1, b"\xff"),
    )
    if file == "TIFF":
        assert torch.equal(agree(raw_tiff(gradient(), *odd)), turned(gradient(), 6))
    else:
        data = saved(images.to_pil(gradient()), file, exif=b"Exif\0\0" + exif_block(*odd))
        assert agree(data).shape == (3, 40, 24)


@pytest.mark.parametrize("kind", ["byte", "short", "long", "rational"])
@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 8])
def test_tiff_turns_once(kind: str, orientation: int) -> None:
    data = raw_tiff(gradient(), orientation_entry(orientation, kind))
    assert torch.equal(agree(data), turned(gradient(), orientation))


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\xff" * 40])
def test_damaged_exif_counts_as_upright(exif: bytes) -> None:
    data = saved(images.to_pil(gradient()), "JPEG", exif=exif, quality=95)
    assert agree(data).shape == (3, 24, 40)


# PNG


@pytest.mark.parametrize(
    "body",
    [
        ("tEXt", b"workflow\0" + b"{nodes}" * 200_000),
        ("zTXt", b"prompt\0\0" + zlib.compress(b"node " * 5_000_000)),
        ("iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"node " * 5_000_000)),
        ("iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * 3_000_000),
        ("zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"0" * 30_000_000)),
    ],
    ids=lambda body: body[0],
)
def test_large_text(body: tuple[str, bytes]) -> None:
    data = colour_png(gradient(), chunk(body[0].encode(), body[1]))
    assert torch.equal(agree(data), gradient())
    assert images.probe(data).metadata == ("text",)


def test_large_profile_is_seen_and_not_read() -> None:
    data = colour_png(gradient(), chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(5_000_000))))
    assert torch.equal(agree(data), gradient())
    assert images.probe(data).has_icc


def test_orientation_in_xmp_and_behind_the_pixels() -> None:
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    exif = chunk(b"eXIf", exif_block(orientation_entry(6)))
    for data in (colour_png(gradient(), xmp), colour_png(gradient(), after=exif), colour_png(gradient(), exif)):
        assert torch.equal(agree(data), turned(gradient(), 6))


def test_wrong_checksums_around_sound_pixels() -> None:
    img = gradient()
    assert torch.equal(agree(colour_png(img, pixels_right=False)), img)
    assert torch.equal(agree(colour_png(img, chunk(b"tEXt", b"a\0b", right=False))), img)
    assert torch.equal(agree(colour_png(img, chunk(b"gAMA", b"\0\0\1\0", right=False))), img)
    assert torch.equal(agree(colour_png(img, after=chunk(b"tIME", bytes(7), right=False))), img)


def test_wrong_checksum_and_damaged_pixels() -> None:
    data = bytearray(colour_png(gradient(), pixels_right=False))
    start = data.index(b"IDAT") + 4
    for place in range(start + 20, len(data) - 24, 7):
        hurt = bytearray(data)
        hurt[place] ^= 0x55
        with pytest.raises(ImageError, match="damaged"):
            images.decode(bytes(hurt))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey_of_every_depth(depth: int) -> None:
    """The grey 1 stands for transparent: white; the grey 0 stays black."""
    values = [0, 1] * 8
    bits = "".join(format(value, f"0{depth}b") for value in values)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    data = png(depth, 0, [row], len(values), chunk(b"tRNS", struct.pack(">H", 1)))
    assert agree(data)[0, 0].tolist() == [0, 255] * 8
    plain = agree(png(depth, 0, [row], len(values)))[0, 0]
    assert plain.tolist() == [0, {1: 255, 2: 85, 4: 17, 8: 1, 16: 0}[depth]] * 8


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_colour(depth: int) -> None:
    kind, colours = ("B", [1, 2, 3, 4, 5, 6]) if depth == 8 else ("H", [256, 512, 768, 1024, 1280, 1536])
    key = chunk(b"tRNS", struct.pack(">3H", *colours[:3]))
    got = agree(png(depth, 2, [struct.pack(f">6{kind}", *colours)], 2, key))
    assert got[:, 0].T.tolist() == [[255, 255, 255], [4, 5, 6]]


# Limits


def test_todays_cameras_are_within_the_limit() -> None:
    def header(width: int, height: int) -> bytes:
        return png(8, 0, [b""], width).replace(struct.pack(">II", width, 1), struct.pack(">II", width, height), 1)

    def with_checksum(data: bytes) -> bytes:
        return data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]

    for width, height in ((12_000, 9_000), (16_320, 12_288)):
        assert images.probe(with_checksum(header(width, height))).width == width
    with pytest.raises(ImageError, match="--max-megapixels"):
        images.probe(with_checksum(header(20_000, 20_000)))


def test_the_limit_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(images.to_pil(gradient(100, 200)), "PNG")
    monkeypatch.setenv(opening.LIMIT_VARIABLE, "0.01")
    with pytest.raises(ImageError, match=r"0\.01 megapixels"):
        images.decode(data)
    monkeypatch.setenv(opening.LIMIT_VARIABLE, "0.02")
    assert images.decode(data).shape == (3, 100, 200)
    for wrong in ("many", "-1", "0", "inf", "nan"):
        monkeypatch.setenv(opening.LIMIT_VARIABLE, wrong)
        with pytest.raises(ImageError, match="positive number of megapixels"):
            images.decode(data)


def test_pillows_own_limit_is_set_aside_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    data = saved(images.to_pil(gradient()), "PNG")
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(bool(images.decode(data).any()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8
    assert PillowImage.MAX_IMAGE_PIXELS == 10


def test_large_pictures_are_converted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    img = gradient(37, 50)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 120)
    for data in (saved(images.to_pil(img), "PNG"), oriented("PNG", 6, turned(img, 8))):
        assert torch.equal(images.decode(data), img)
    alpha = PillowImage.fromarray(np.dstack([img.permute(1, 2, 0).numpy(), np.zeros((37, 50), np.uint8)]))
    assert int(images.decode(saved(alpha, "PNG")).min()) == 255


# HEIC


def test_heic_is_refused_by_name_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_known_formats", lambda: tuple(kind for kind in opening.FORMATS if kind != "HEIF"))
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"natural-traces\[heic\]"):
        images.decode(data)
    assert opening.format_of(data) == "HEIF"


def test_damaged_heic_is_called_so() -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(ImageError, match="damaged: not a readable HEIC file"):
        images.decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


# Files


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a regular file"):
            images.read_bytes(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a regular file"):
            images.read_bytes("/dev/zero")
    with pytest.raises(ImageError, match="a folder"):
        images.read_bytes(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        images.read_bytes(tmp_path / "pipe.png" / "below")
    with pytest.raises(ImageError):
        images.read_bytes("zero\0byte")
    (tmp_path / "large.png").write_bytes(bytes(11))
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 10)
    with pytest.raises(ImageError, match="11 bytes are more"):
        images.read_bytes(tmp_path / "large.png")


def test_names_are_safe_to_print() -> None:
    error = ImageError("tree\r\x1b[2J\udce9.png", "bad\nthing \x07")
    assert str(error) == r"tree\r\x1b[2J\udce9.png: bad thing \x07"
    assert error.name == "tree\r\x1b[2J\udce9.png"
    assert printable("Bäume 树.png") == "Bäume 树.png"


def test_icc_of_ordinary_size_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert images.probe(saved(images.to_pil(gradient()), "PNG", icc_profile=profile)).has_icc
