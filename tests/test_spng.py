"""PNG files by libspng, where the extra `fast` is installed: the same pixels and the same refusals as by Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from tiny_images import noise_photograph

from helpers.data import images
from helpers.data.images import ImageError, decode, encode_png, to_pil
from helpers.data.opening import opened

pytest.importorskip("pyspng", reason="the extra `fast` is not installed")


def picture() -> torch.Tensor:
    return noise_photograph(torch.Generator().manual_seed(0), 56)[:, :40]


def both(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What comes out with libspng and without."""
    found: list[object] = []
    for load in (images._spng_load(), None):
        monkeypatch.setattr(images, "_spng_load", lambda load=load: load)
        try:
            found.append(decode(data).numpy().tobytes())
        except ImageError:
            found.append("refused")
    monkeypatch.undo()
    return found


def saved(mode: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    to_pil(picture()).convert(mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_plain_files_are_decoded_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    img = picture()
    with opened(encode_png(img), "a") as source:
        assert torch.equal(images._by_spng(source), img)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    turned, without = both(saved("RGB", exif=exif), monkeypatch)
    assert turned == without != "refused"


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_other_files_are_left_to_pillow(mode: str) -> None:
    with opened(saved(mode), "a") as source:
        assert images._by_spng(source) is None
    with opened(saved("RGB", transparency=(1, 2, 3)), "a") as source:
        assert images._by_spng(source) is None


def with_stream(stream: bytes) -> bytes:
    """A picture whose compressed pixels are these, under a right checksum of the chunk."""
    whole = encode_png(picture())
    chunk = b"IDAT" + stream
    head, end = whole[: whole.index(b"IDAT") - 4], whole[whole.rindex(b"IEND") - 4 :]
    return head + struct.pack(">I", len(stream)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def test_damaged_files_fare_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage in the stream, whose chunk keeps a right checksum, so that the decoder is the one to find it."""
    whole = encode_png(picture())
    stream = whole[whole.index(b"IDAT") + 4 : whole.rindex(b"IEND") - 8]
    one, other = both(with_stream(stream), monkeypatch)
    assert one == other != "refused"
    rng = np.random.default_rng(0)
    for number in range(150):
        data = bytearray(stream)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        one, other = both(with_stream(bytes(data[: len(data) - number % 2 * rng.integers(1, 60)])), monkeypatch)
        assert one == other, number
    for data in (stream[:-1] + bytes([stream[-1] ^ 1]), stream[:-4], stream + b"more", b""):
        one, other = both(with_stream(data), monkeypatch)
        assert one == other, data[-8:]
