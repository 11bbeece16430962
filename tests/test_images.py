import contextlib
import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, features
from PIL import Image as PillowImage
from skimage.color import rgb2gray
from torch.nn import functional

from helpers.data import images
from helpers.data.images import ImageError
from helpers.errors import NaturalTracesError


def photo(height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    """Smooth colour gradients with some noise: compresses like a photograph."""
    rows, columns = torch.meshgrid(torch.linspace(0, 200, height), torch.linspace(0, 200, width), indexing="ij")
    noise = torch.randint(0, 40, (3, height, width), generator=torch.Generator().manual_seed(seed))
    return (torch.stack([rows, columns, (rows + columns) / 2]) + noise).to(torch.uint8)


def save(picture: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


# Round trips


def test_png_round_trip_is_exact() -> None:
    img = photo()
    assert torch.equal(images.decode(images.encode_png(img)), img)


@pytest.mark.parametrize("subsampling", images.SUBSAMPLINGS)
def test_jpeg_agrees_with_pillow_and_reports_its_settings(subsampling: str) -> None:
    img = photo()
    data = images.encode_jpeg(img, 90, subsampling)
    reference = np.asarray(PillowImage.open(io.BytesIO(data))).transpose(2, 0, 1)
    assert np.array_equal(images.decode(data).numpy(), reference)
    info = images.probe(data)
    assert (info.format, info.subsampling, info.width, info.height) == ("JPEG", subsampling, 64, 48)
    assert info.file_bytes == len(data)
    assert info.metadata == ()
    assert (images.decode(data).float() - img.float()).abs().mean() < 12


def test_quantisation_tables_follow_the_quality() -> None:
    # Quality 50 writes the tables of the JPEG standard's annex K: the luminance table starts with 16, 11, 10, 16.
    at_50 = images.probe(images.encode_jpeg(photo(), 50)).quantisation
    assert at_50 is not None
    assert at_50[0][:4] == (16, 11, 10, 16)
    assert [len(table) for table in at_50] == [64, 64]
    at_90 = images.probe(images.encode_jpeg(photo(), 90)).quantisation
    assert at_90 is not None
    assert sum(at_90[0]) < sum(at_50[0])


@pytest.mark.parametrize(("quality", "subsampling"), [(0, "4:2:0"), (101, "4:2:0"), (90, "4:1:1")])
def test_impossible_jpeg_settings(quality: int, subsampling: str) -> None:
    with pytest.raises(ImageError):
        images.encode_jpeg(photo(), quality, subsampling)


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(3, 0, 4, dtype=torch.uint8)]
)
def test_only_images_are_encoded(bad: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="uint8"):
        images.encode_png(bad)


# Hostile input


def bomb() -> bytes:
    """Ten billion pixels promised by a few bytes."""
    body = zlib.compress(b"\0" * 10_000)
    return png_header(100_000, 100_000) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [images.to_pil(photo(seed=seed)) for seed in range(3)]
    return save(frames[0], kind, save_all=True, append_images=frames[1:])


def flipped(data: bytes, place: float) -> bytes:
    position = int(len(data) * place)
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


HOSTILE = {
    "empty": (b"", "empty"),
    "text": (b"This is not an image.\n" * 50, "not an image"),
    "html": (b"<!doctype html><html><body>404</body></html>", "not an image"),
    "zeros": (b"\0" * 4096, "not an image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not an image"),
    "jpeg header only": (images.encode_jpeg(photo(), 90)[:20], ""),
    "jpeg cut in half": (images.encode_jpeg(photo(), 90)[: len(images.encode_jpeg(photo(), 90)) // 2], "truncated"),
    "jpeg without its last tenth": (images.encode_jpeg(photo(), 90)[: -len(images.encode_jpeg(photo(), 90)) // 10], ""),
    "png cut in half": (images.encode_png(photo())[: len(images.encode_png(photo())) // 2], "damaged"),
    "png without its end": (images.encode_png(photo())[:-12], "damaged"),
    "png with a flipped byte": (flipped(images.encode_png(photo()), 0.5), "damaged"),
    "png without pixels": (png_header(8, 8) + png_chunk(b"IEND", b""), "damaged"),
    "gif with no width": (b"GIF89a\0\0\x08\0\0\0\0;", ""),
    "zero-sized bmp": (save(PillowImage.new("RGB", (1, 1)), "BMP")[:18] + b"\0" * 8 + b"\x01\0\x18\0" + b"\0" * 24, ""),
    "animated gif": (animated("GIF"), "3 frames"),
    "animated png": (animated("PNG"), "3 frames"),
    "tiff of three pages": (animated("TIFF"), "3 frames"),
    "bomb": (bomb(), "pixels"),
    "float tiff": (save(PillowImage.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating-point"),
    "32-bit tiff": (save(PillowImage.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"), "16 bits"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_give_one_clear_error(case: str) -> None:
    data, reason = HOSTILE[case]
    with pytest.raises(ImageError) as caught:
        images.decode(data, f"{case}.img")
    assert caught.value.name == f"{case}.img"
    assert str(caught.value) == f"{case}.img: {caught.value.reason}"
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow reads no WebP")
def test_animated_webp() -> None:
    with pytest.raises(ImageError, match="3 frames"):
        images.decode(animated("WEBP"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_every_truncation_is_an_error_or_the_whole_picture(kind: str) -> None:
    data = save(images.to_pil(photo(17, 23)), kind)
    whole = images.decode(data)
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            got = images.decode(data[:length], "cut")
        except ImageError:
            continue
        assert torch.equal(got, whole), f"{kind} cut after {length} of {len(data)} bytes gave other pixels in silence"


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF"]))
@settings(max_examples=120, deadline=None)
def test_random_damage_never_escapes(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(save(images.to_pil(photo(9, 11)), kind))
    for position in rng.integers(0, len(data), 4):
        data[position] = int(rng.integers(0, 256))
    with contextlib.suppress(ImageError):
        assert images.decode(bytes(data)).dtype == torch.uint8
    with contextlib.suppress(ImageError):
        images.probe(bytes(data))


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_random_bytes_never_escape(data: bytes) -> None:
    with pytest.raises(ImageError):
        images.decode(data)


def test_pixel_limit_is_the_callers() -> None:
    data = images.encode_png(photo(48, 64))
    assert images.decode(data, max_pixels=48 * 64).shape == (3, 48, 64)
    with pytest.raises(ImageError, match="64 x 48"):
        images.decode(data, max_pixels=48 * 64 - 1)
    with pytest.raises(ImageError, match="64 x 48"):
        images.probe(data, max_pixels=48 * 64 - 1)


def test_missing_file_and_folder(tmp_path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        images.read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError):
        images.read_image(tmp_path)


def test_wrong_ending_is_read_by_content(tmp_path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(images.encode_png(photo()))
    assert images.probe(images.read_bytes(path)).format == "PNG"
    assert torch.equal(images.read_image(path), photo())


def test_error_is_expected_and_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.png", "broken")))
    assert isinstance(error, NaturalTracesError)
    assert (error.name, error.reason, str(error)) == ("a.png", "broken", "a.png: broken")


# Documented conversions


def test_grey_becomes_three_equal_channels() -> None:
    grey = photo()[0]
    got = images.decode(save(PillowImage.fromarray(grey.numpy()), "PNG"))
    assert torch.equal(got, grey.expand(3, -1, -1))
    jpeg = images.probe(save(PillowImage.fromarray(grey.numpy()), "JPEG"))
    assert (jpeg.mode, jpeg.subsampling) == ("L", None)


def test_one_bit() -> None:
    bits = photo()[0].numpy() > 100
    got = images.decode(save(PillowImage.fromarray(bits), "PNG"))
    assert np.array_equal(got[0].numpy(), bits * np.uint8(255))


def test_sixteen_bit_grey_is_rounded() -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    got = images.decode(save(PillowImage.fromarray(values), "PNG"))
    assert np.array_equal(got[0].numpy(), np.rint(values / 257).astype(np.uint8))
    assert got.max() == 255
    assert np.array_equal(images.decode(save(PillowImage.fromarray(values), "TIFF"))[0].numpy(), got[0].numpy())


def test_sixteen_bit_colour_png_keeps_the_high_byte() -> None:
    high = photo(5, 7)
    rows = [b"\0" + b"".join(bytes([int(v), 0x40]) for v in high[:, y].T.flatten()) for y in range(5)]
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0))
    data = header + png_chunk(b"IDAT", zlib.compress(b"".join(rows))) + png_chunk(b"IEND", b"")
    assert torch.equal(images.decode(data), high)


def test_palette_and_transparent_palette() -> None:
    picture = PillowImage.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    assert images.decode(save(picture, "PNG"))[:, 0].T.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert images.decode(save(picture, "PNG", transparency=1))[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]


def test_alpha_is_laid_over_white() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    got = images.decode(save(PillowImage.fromarray(pixels), "PNG"))
    assert got[:, 0, 0].tolist() == [10, 20, 30]
    assert got[:, 0, 1].tolist() == [255, 255, 255]
    assert got[:, 0, 2].tolist() == [127, 127, 127]


def test_cmyk_jpeg() -> None:
    picture = PillowImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = save(picture, "JPEG", quality=100)
    assert images.probe(data).mode == "CMYK"
    assert (images.decode(data)[:, 8, 8].int() - torch.tensor([255, 0, 0])).abs().max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    img = photo(10, 20)
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = save(images.to_pil(img), "PNG", exif=exif)
    # Independent of Pillow's own turning: what each number means, by the EXIF standard (where row 0 and column 0 lie).
    turned = {
        1: img, 2: img.flip(2), 3: img.flip(1, 2), 4: img.flip(1), 5: img.transpose(1, 2),
        6: img.transpose(1, 2).flip(2), 7: img.transpose(1, 2).flip(1, 2), 8: img.transpose(1, 2).flip(1),
    }  # fmt: skip
    got = images.decode(data)
    assert torch.equal(got, turned[orientation])
    info = images.probe(data)
    assert (info.height, info.width) == got.shape[1:]
    assert info.has_exif


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_meaningless_orientation_counts_as_upright(orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    assert torch.equal(images.decode(save(images.to_pil(photo()), "PNG", exif=exif)), photo())


def test_mpo_gives_its_first_picture() -> None:
    frames = [images.to_pil(photo(seed=seed)) for seed in range(2)]
    data = save(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    info = images.probe(data)
    assert (info.format, info.frames) == ("MPO", 2)
    assert (images.decode(data).float() - photo(seed=0).float()).abs().mean() < 8


def test_metadata_is_seen_and_the_profile_is_not_applied() -> None:
    from PIL import ImageCms, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, steps: 20")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = save(images.to_pil(photo()), "PNG", pnginfo=text, icc_profile=profile)
    info = images.probe(data)
    assert info.metadata == ("icc", "text")
    assert info.has_icc
    assert not info.has_exif
    assert torch.equal(images.decode(data), photo())
    assert images.probe(save(images.to_pil(photo()), "JPEG", comment=b"hello")).metadata == ("comment",)


@given(height=st.integers(1, 40), width=st.integers(1, 40), kind=st.sampled_from(["JPEG", "PNG", "BMP", "TIFF"]))
@settings(max_examples=40, deadline=None)
def test_nothing_is_resized(height: int, width: int, kind: str) -> None:
    data = save(images.to_pil(photo(height, width)), kind)
    assert images.decode(data).shape == (3, height, width)
    info = images.probe(data)
    assert (info.height, info.width, info.format) == (height, width, kind)


# Crops and numbers


def test_crop_and_center_crop() -> None:
    img = photo(10, 13)
    assert torch.equal(images.crop(img, 2, 3, 4, 5), img[:, 2:6, 3:8])
    assert torch.equal(images.center_crop(img, 4), img[:, 3:7, 4:8])
    assert torch.equal(images.center_crop(img, 10), img[:, :, 1:11])


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, -1, 2, 2), (0, 0, 0, 2), (9, 0, 2, 2), (0, 12, 2, 2)])
def test_crop_outside(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match="does not fit"):
        images.crop(photo(10, 13), *box)


@pytest.mark.parametrize("size", [11, 0, -3])
def test_crop_larger_than_the_image(size: int) -> None:
    for cut in (images.center_crop, images.patches):
        with pytest.raises(ImageError):
            cut(photo(10, 13), size)
    with pytest.raises(ImageError):
        images.random_crop(photo(10, 13), size, torch.Generator().manual_seed(0))


def test_random_crop_is_a_window_reaches_every_place_and_repeats() -> None:
    img = torch.arange(30, dtype=torch.uint8).reshape(1, 5, 6).expand(3, -1, -1)
    generator = torch.Generator().manual_seed(1)
    starts = {int(images.random_crop(img, 4, generator)[0, 0, 0]) for _ in range(200)}
    assert starts == {0, 1, 2, 6, 7, 8}
    again = [images.random_crop(img, 4, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*again)


@given(height=st.integers(3, 12), width=st.integers(3, 12), size=st.integers(1, 3), stride=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_patches_agree_with_unfold(height: int, width: int, size: int, stride: int) -> None:
    img = photo(height, width)
    reference = functional.unfold(img.double()[None], size, stride=stride)[0].T.reshape(-1, 3, size, size)
    assert torch.equal(images.patches(img, size, stride).double(), reference)


def test_patches_default_to_no_overlap() -> None:
    img = photo(9, 13)
    got = images.patches(img, 4)
    assert got.shape == (6, 3, 4, 4)
    assert torch.equal(got[1], img[:, 0:4, 4:8])
    with pytest.raises(ImageError, match="stride"):
        images.patches(img, 4, 0)


def test_to_float_and_luminance() -> None:
    img = photo()
    assert torch.equal(images.to_float(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([0.0, 1.0]))
    rows = images.luminance(img)
    assert rows.shape == (48, 64)
    expected = np.asarray(images.to_pil(img).convert("L"), np.float64) / 255
    assert np.abs(rows.numpy() - expected).max() <= 1 / 255
    batch = torch.stack([img, img.flip(1)]).double() / 255
    assert images.luminance(batch).dtype == torch.float64
    assert torch.allclose(images.luminance(batch)[0].float(), rows, atol=1e-6)
    assert images.luminance(torch.ones(3, 2, 2)).max() <= 1.0000001
    # Rec. 601 is not Rec. 709, which scikit-image uses.
    assert np.abs(rows.numpy() - rgb2gray(img.permute(1, 2, 0).numpy())).max() > 0.01
    with pytest.raises(ImageError):
        images.luminance(torch.ones(2, 2))
