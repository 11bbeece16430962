"""Image bytes to checked pixels: decode, look into the file, crop, encode.

An *image* in this package is a `torch.uint8` tensor of shape (3, H, W): red, green and blue in 0..255, as stored
(sRGB unless the file says otherwise). Pillow reads the bytes; this module decides what may pass, and says so.

What becomes of unusual files:

| file | result |
|---|---|
| empty, truncated, corrupt, not an image, a format that is not listed in `FORMATS` | `ImageError` |
| more than one frame (animated GIF, PNG or WebP; TIFF with several pages) | `ImageError` |
| more pixels than the limit (250 megapixels, `--max-megapixels`) | `ImageError`, before anything is decompressed |
| floating-point pixels, or integers outside 16 bits | `ImageError` |
| JPEG or HEIC with further pictures attached (as phones write them) | the main picture, which is the photograph |
| HEIC | decoded with the extra `heic`; without it `ImageError`, which says so |
| grey | the one channel three times |
| 16-bit grey | rounded to 8 bits (value / 257); 16-bit colour PNG: Pillow keeps the high byte |
| palette | its colours |
| alpha, or a grey or colour that stands for transparent | laid over white |
| CMYK, YCbCr, HSV | Pillow's conversion to RGB, without colour management |
| EXIF orientation | applied: quarter turns and mirrors move pixels, they change none |
| damaged or odd EXIF, large text, wrong checksums around sound pixels | decoded |
| ICC profile | reported by `probe`, not applied: the stored pixel values are the evidence |

Nothing is ever resized. One limit: JPEG carries no checksum, so a damaged JPEG that still decodes to its full size
passes; the SHA-256 of the manifest catches it.
"""

import io
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from helpers.data.opening import FORMATS, MAX_MEGAPIXELS, ImageError, Opened, opened
from helpers.data.parquet import container_of, read_member

__all__ = [
    "FORMATS",
    "LUMA_WEIGHTS",
    "MAX_FILE_BYTES",
    "MAX_MEGAPIXELS",
    "SUBSAMPLINGS",
    "Image",
    "ImageError",
    "ImageInfo",
    "center_crop",
    "crop",
    "decode",
    "encode_jpeg",
    "encode_png",
    "from_pil",
    "luminance",
    "patches",
    "probe",
    "random_crop",
    "read_bytes",
    "read_image",
    "to_float",
    "to_pil",
    "to_uint8",
]

Image = Tensor
"""uint8, shape (3, H, W), RGB, values 0..255."""

MAX_FILE_BYTES = 1 << 30
"""Largest file that is read: one gibibyte."""
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
"""Chroma subsamplings that `encode_jpeg` writes."""

_FACTORS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}
_STRIP_PIXELS = 1 << 18
_TURNS: dict[int, Callable[[Tensor], Tensor]] = {  # EXIF orientation: where row 0 and column 0 of the stored image lie
    1: lambda img: img,
    2: lambda img: img.flip(2),
    3: lambda img: img.flip(1, 2),
    4: lambda img: img.flip(1),
    5: lambda img: img.transpose(1, 2),
    6: lambda img: img.transpose(1, 2).flip(2),
    7: lambda img: img.transpose(1, 2).flip(1, 2),
    8: lambda img: img.transpose(1, 2).flip(1),
}
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luma (ITU-R BT.601)."""
_BLOCKS = {"exif": "exif", "icc_profile": "icc", "xmp": "xmp", "comment": "comment", "photoshop": "photoshop"}
# What Pillow reports of the encoding itself; any other key of a picture's `info` is text that somebody attached.
_PLAIN_KEYS = frozenset(
    """
    jfif jfif_version jfif_unit jfif_density dpi adobe adobe_transform progressive progression gamma srgb aspect
    chromaticity interlace transparency background version duration loop timestamp extension compression resolution
    mp mpoffset flashpix default_image bbox blend disposal maxval xml:com.adobe.xmp
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about itself, without its pixels.

    Attributes:
        width: Columns in pixels, as `decode` returns them (after the EXIF orientation).
        height: Rows in pixels.
        format: Format by content ("JPEG", "PNG", "MPO", ...), whatever the file's name ends in.
        mode: Pillow's name of the stored pixels ("RGB", "L", "P", "CMYK", "I;16", ...).
        file_bytes: Length of the file in bytes.
        frames: Number of frames, pages or attached pictures.
        quantisation: JPEG tables by number, 64 steps each in row order; None where the format has none.
        subsampling: JPEG chroma subsampling ("4:2:0", ...); None for grey JPEGs and other formats.
        has_exif: Whether there is an EXIF block.
        has_icc: Whether there is a colour profile.
        metadata: Sorted names of all blocks beside the pixels: "exif", "icc", "xmp", "comment", "photoshop", "text".
    """

    width: int
    height: int
    format: str
    mode: str
    file_bytes: int
    frames: int
    quantisation: tuple[tuple[int, ...], ...] | None
    subsampling: str | None
    has_exif: bool
    has_icc: bool
    metadata: tuple[str, ...] = ()


# Reading


def read_bytes(path: str | Path) -> bytes:
    """Return a file's bytes.

    Args:
        path: The file; `shard.parquet/a.png` is an image inside a Parquet file, see `helpers.data.parquet`.

    Returns:
        Its content.

    Raises:
        ImageError: The file is missing, no regular file (a pipe would wait for ever), too large, or cannot be read.
    """
    if ".parquet" in str(path) and (container := container_of(Path(path))):
        member = read_member(container, Path(path))
        if member is None:
            raise ImageError(str(path), f"no such image in {container.name}")
        return member
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(str(path), "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(str(path), f"{status.st_size:,} bytes are more than the {MAX_FILE_BYTES:,} that are read")
        return Path(path).read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise ImageError(str(path), "no such file" if missing else error.strerror or str(error)) from None
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(str(path), f"no name of a file: {error}") from None  # a zero byte


def decode(data: bytes, name: str = "<bytes>", *, max_pixels: int | None = None) -> Image:
    """Decode the bytes of one still image.

    Args:
        data: Content of an image file.
        name: What error messages call it.
        max_pixels: Largest width x height that is decompressed; `helpers.data.opening.pixel_limit()` when None.

    Returns:
        Image, uint8 (3, H, W); see the module's table for what is converted and how.

    Raises:
        ImageError: See the module's table.
    """
    with opened(data, name, max_pixels) as source:
        img = _by_spng(source)
        if img is None:
            source.picture.load()
            img = from_pil(source.picture, name)
    return img if source.turned_by_pillow else _TURNS[source.orientation](img).contiguous()


def _by_spng(source: Opened) -> Image | None:
    """Decode a plain PNG (8-bit colour, neither transparent nor interlaced) by libspng: same pixels, half the time.

    Returns:
        Image as stored; None for all other files, for damaged ones, and where the extra `fast` is not installed.
    """
    header = source.data[:29]
    plain = header[12:16] == b"IHDR" and (header[24], header[25], header[28]) == (8, 2, 0)
    if source.picture.format != "PNG" or not plain or "transparency" in source.picture.info:
        return None
    load = _spng_load()
    if load is None:
        return None
    try:
        pixels = load(source.data)
    except Exception:  # Pillow says what is wrong
        return None
    if pixels.dtype != np.uint8 or pixels.shape != (*source.size[::-1], 3):
        return None
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@cache
def _spng_load() -> Callable[[bytes], np.ndarray] | None:
    try:
        from pyspng import load
    except ImportError:
        return None
    return load  # type: ignore[no-any-return]


def read_image(path: str | Path, *, max_pixels: int | None = None) -> Image:
    """Read one image file.

    Args:
        path: The file; its ending does not matter.
        max_pixels: As in `decode`.

    Returns:
        Image, uint8 (3, H, W).

    Raises:
        ImageError: The file is missing, or see `decode`.
    """
    return decode(read_bytes(path), str(path), max_pixels=max_pixels)


def probe(data: bytes, name: str = "<bytes>", *, max_pixels: int | None = None) -> ImageInfo:
    """Read what an image file says about itself; no pixel is decompressed.

    Args:
        data: Content of an image file.
        name: What error messages call it.
        max_pixels: As in `decode`.

    Returns:
        The file's properties.

    Raises:
        ImageError: As `decode`, save for damage that only shows in the pixels.
    """
    with opened(data, name, max_pixels) as source:
        picture = source.picture
        width, height = source.size if source.orientation < 5 else source.size[::-1]
        blocks = tuple(sorted(source.left_out.union(_metadata(picture))))
        return ImageInfo(
            width=width,
            height=height,
            format=str(picture.format),
            mode=picture.mode,
            file_bytes=len(data),
            frames=getattr(picture, "n_frames", 1),
            quantisation=_quantisation(picture),
            subsampling=_subsampling(picture),
            has_exif="exif" in blocks,
            has_icc="icc" in blocks,
            metadata=blocks,
        )


def _quantisation(picture: PillowImage.Image) -> tuple[tuple[int, ...], ...] | None:
    tables = getattr(picture, "quantization", None)
    return tuple(tuple(tables[key]) for key in sorted(tables)) if tables else None


def _subsampling(picture: PillowImage.Image) -> str | None:
    """Name the chroma subsampling from the sampling factors of the JPEG components."""
    layers = getattr(picture, "layer", None)
    if not layers or len(layers) < 3:
        return None
    luma, chroma = layers[0][1:3], [layer[1:3] for layer in layers[1:3]]
    if chroma[0] != chroma[1] or luma[0] % chroma[0][0] or luma[1] % chroma[0][1]:
        return "other"
    factors = (luma[0] // chroma[0][0], luma[1] // chroma[0][1])
    return _FACTORS.get(factors, f"{factors[0]}x{factors[1]}")


def _metadata(picture: PillowImage.Image) -> set[str]:
    """Name the blocks beside the pixels; free text keys (such as a generator's settings) count as "text"."""
    blocks = {block for key, block in _BLOCKS.items() if picture.info.get(key)}
    blocks |= {"text" for key in picture.info if str(key).lower() not in _PLAIN_KEYS | set(_BLOCKS)}
    return blocks


# Between Pillow and tensors


def from_pil(picture: PillowImage.Image, name: str = "<picture>") -> Image:
    """Convert a Pillow picture of any mode.

    Args:
        picture: The picture; palette, alpha, grey, CMYK and 16-bit modes are converted as the module's table says.
        name: What error messages call it.

    Returns:
        Image, uint8 (3, H, W).

    Raises:
        ImageError: Pixels that have no agreed way to eight bits.
    """
    if picture.mode == "F":
        raise ImageError(name, "floating-point pixels have no agreed range")
    width, height = picture.size
    img = np.empty((3, height, width), np.uint8)
    # Strip by strip: large pictures are held once as Pillow's and once as ours, and a strip fits into the cache.
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        strip = _rgb(picture.crop((0, top, width, min(top + step, height))), name)
        img[:, top : top + step] = np.asarray(strip).transpose(2, 0, 1)
    return torch.from_numpy(img)


def _rgb(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Convert to mode RGB; whatever is transparent is laid over white."""
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture, name)
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = PillowImage.alpha_composite(PillowImage.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """Round 16-bit grey to 8 bits; the grey that stands for transparent, if any, becomes white."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(name, "integer pixels outside 16 bits have no agreed range")
    rounded = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in picture.info:
        rounded[values == picture.info["transparency"]] = 255
    return PillowImage.fromarray(rounded)


def to_pil(img: Image) -> PillowImage.Image:
    """Convert an image to a Pillow picture.

    Args:
        img: uint8 (3, H, W).

    Returns:
        The same pixels, mode RGB.

    Raises:
        ImageError: `img` is not such a tensor.
    """
    _check_image(img)
    return PillowImage.fromarray(img.permute(1, 2, 0).contiguous().cpu().numpy())


def _check_image(img: Tensor) -> None:
    if img.dtype != torch.uint8 or img.ndim != 3 or img.shape[0] != 3 or img.numel() == 0:
        raise ImageError("<tensor>", f"needs uint8 (3, H, W), got {img.dtype} {tuple(img.shape)}".replace("torch.", ""))


# Writing


def encode_jpeg(img: Image, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Encode an image as baseline JPEG.

    Args:
        img: uint8 (3, H, W).
        quality: libjpeg quality, 1..100.
        subsampling: One of `SUBSAMPLINGS`.

    Returns:
        The file's bytes, without metadata.

    Raises:
        ImageError: `img` is no image, or a setting is out of range.
    """
    if not 1 <= quality <= 100:
        raise ImageError("<tensor>", f"JPEG quality must lie in 1..100, got {quality}")
    if subsampling not in SUBSAMPLINGS:
        raise ImageError("<tensor>", f"subsampling must be one of {', '.join(SUBSAMPLINGS)}, got {subsampling}")
    buffer = io.BytesIO()
    to_pil(img).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def encode_png(img: Image) -> bytes:
    """Encode an image as PNG, without loss.

    Args:
        img: uint8 (3, H, W).

    Returns:
        The file's bytes, without metadata.

    Raises:
        ImageError: `img` is no image.
    """
    buffer = io.BytesIO()
    to_pil(img).save(buffer, "PNG")
    return buffer.getvalue()


# Cutting: native pixels only


def crop(img: Image, top: int, left: int, height: int, width: int) -> Image:
    """Cut a rectangle out of an image.

    Args:
        img: (..., H, W).
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.

    Returns:
        View of shape (..., height, width).

    Raises:
        ImageError: The rectangle does not lie inside the image.
    """
    rows, columns = img.shape[-2:]
    if min(top, left) < 0 or min(height, width) < 1 or top + height > rows or left + width > columns:
        wanted = f"a {width} x {height} crop at column {left}, row {top}"
        raise ImageError("<tensor>", f"{wanted} does not fit into {columns} x {rows} pixels")
    return img[..., top : top + height, left : left + width]


def center_crop(img: Image, size: int) -> Image:
    """Cut the central square out of an image.

    Args:
        img: (..., H, W).
        size: Side in pixels.

    Returns:
        View of shape (..., size, size).

    Raises:
        ImageError: The image is smaller than `size`.
    """
    rows, columns = _check_side(img, size)
    return crop(img, (rows - size) // 2, (columns - size) // 2, size, size)


def random_crop(img: Image, size: int, generator: torch.Generator) -> Image:
    """Cut a square at a random place, every place being equally likely.

    Args:
        img: (..., H, W).
        size: Side in pixels.
        generator: Source of randomness; two numbers are drawn.

    Returns:
        View of shape (..., size, size).

    Raises:
        ImageError: The image is smaller than `size`.
    """
    rows, columns = _check_side(img, size)
    top = int(torch.randint(rows - size + 1, (), generator=generator))
    left = int(torch.randint(columns - size + 1, (), generator=generator))
    return crop(img, top, left, size, size)


def patches(img: Image, size: int, stride: int | None = None) -> Tensor:
    """Cut an image into a regular grid of squares, row by row.

    What is left over at the right and at the bottom is dropped.

    Args:
        img: (3, H, W).
        size: Side in pixels.
        stride: Step between patches in pixels; `size` (no overlap) when None.

    Returns:
        Copy of shape (N, 3, size, size), same dtype.

    Raises:
        ImageError: The image is smaller than `size`, or the stride is not positive.
    """
    _check_side(img, size)
    step = size if stride is None else stride
    if step < 1:
        raise ImageError("<tensor>", f"the stride must be positive, got {step}")
    grid = img.unfold(1, size, step).unfold(2, size, step)
    return grid.permute(1, 2, 0, 3, 4).reshape(-1, img.shape[0], size, size)


def _check_side(img: Image, size: int) -> tuple[int, int]:
    rows, columns = img.shape[-2:]
    if size < 1:
        raise ImageError("<tensor>", f"the side must be positive, got {size}")
    if rows < size or columns < size:
        raise ImageError("<tensor>", f"{columns} x {rows} pixels are smaller than the crop of {size} x {size}")
    return rows, columns


# Numbers


def to_float(img: Image) -> Tensor:
    """Scale an image to [0, 1].

    Args:
        img: uint8, any shape.

    Returns:
        float32, same shape, values in [0, 1].
    """
    return img.to(torch.float32) / 255.0


def to_uint8(values: Tensor) -> Image:
    """Round grey levels to bytes; what lies outside 0..255 is clipped.

    Args:
        values: Any shape, floating point, in units of grey levels.

    Returns:
        uint8, same shape.
    """
    return values.round().clamp(0, 255).to(torch.uint8)


def luminance(img: Tensor) -> Tensor:
    """Weigh the channels to luma, `Y = 0.299 R + 0.587 G + 0.114 B`.

    Args:
        img: (..., 3, H, W), uint8 in 0..255 or floating point in [0, 1].

    Returns:
        (..., H, W) in [0, 1]; float32 for uint8 input, otherwise the input's dtype.

    Raises:
        ImageError: The third dimension from the end is not 3.

    Source: ITU-R Recommendation BT.601.
    """
    if img.ndim < 3 or img.shape[-3] != 3:
        raise ImageError("<tensor>", f"needs (..., 3, H, W), got {tuple(img.shape)}")
    values = img if img.is_floating_point() else to_float(img)
    weights = torch.tensor(LUMA_WEIGHTS, dtype=values.dtype, device=values.device)
    return torch.einsum("...chw,c->...hw", values, weights)
