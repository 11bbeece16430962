"""What happens to images on their way: pure functions from image to image, and a table of them with strengths.

Every function takes an image, uint8 (3, H, W), and returns a new one; the input is left alone. Those that draw at
random take a generator. Those that resize keep the new size: nothing scales the result back, because that would be a
second perturbation. No function sees a label.

`PERTURBATIONS` lists them by name. Strengths run from harmless to severe, so that a sweep reads from left to right.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from PIL import Image as PillowImage

from helpers.data.images import Image, crop, decode, encode_jpeg, from_pil, to_float, to_pil, to_uint8
from helpers.errors import NaturalTracesError

__all__ = [
    "CHAINS",
    "KERNELS",
    "PERTURBATIONS",
    "SERVICES",
    "Perturbation",
    "RobustnessError",
    "Service",
    "add_noise",
    "blur",
    "chain",
    "change_gamma",
    "crop_share",
    "jpeg",
    "perturb",
    "resize",
    "screenshot",
    "upload",
    "webp",
]


class RobustnessError(NaturalTracesError):
    """A perturbation, a sweep or an attack that cannot be carried out."""


KERNELS: Mapping[str, PillowImage.Resampling] = MappingProxyType(
    {
        "nearest": PillowImage.Resampling.NEAREST,
        "bilinear": PillowImage.Resampling.BILINEAR,
        "bicubic": PillowImage.Resampling.BICUBIC,
        "lanczos": PillowImage.Resampling.LANCZOS,
        "box": PillowImage.Resampling.BOX,
    }
)
"""Resampling kernels. All but `nearest` widen when they reduce, so that they do not alias."""


# Compression


def jpeg(img: Image, quality: float, subsampling: str = "4:2:0") -> Image:
    """Save as JPEG and read it again.

    (torchvision's `jpeg` knows no subsampling, and its codec is deprecated since 0.29, so Pillow is used.)

    Args:
        img: uint8 (3, H, W).
        quality: libjpeg quality, a whole number in 1..100.
        subsampling: Chroma subsampling, one of `helpers.data.images.SUBSAMPLINGS`.

    Returns:
        uint8 (3, H, W).

    Raises:
        ImageError: A setting is out of range.
    """
    return decode(encode_jpeg(img, _whole(quality, "JPEG quality"), subsampling))


def webp(img: Image, quality: float) -> Image:
    """Save as lossy WebP and read it again; chroma is always halved (4:2:0).

    Args:
        img: uint8 (3, H, W).
        quality: libwebp quality, a whole number in 0..100.

    Returns:
        uint8 (3, H, W).

    Raises:
        RobustnessError: The quality is out of range.
    """
    level = _whole(quality, "WebP quality")
    if not 0 <= level <= 100:
        raise RobustnessError(f"WebP quality must lie in 0..100, got {quality}")
    buffer = io.BytesIO()
    to_pil(img).save(buffer, "WEBP", quality=level)
    with PillowImage.open(buffer) as picture:
        return from_pil(picture)


# Sampling, filtering, noise, geometry, tone


def resize(img: Image, factor: float, kernel: str = "bicubic") -> Image:
    """Resample both sides by a factor; the result keeps its new size.

    Args:
        img: uint8 (3, H, W).
        factor: New side over old side, above 0; sides are rounded, and are at least one pixel.
        kernel: One of `KERNELS`.

    Returns:
        uint8 (3, H', W').

    Raises:
        RobustnessError: Unknown kernel, or the factor is not positive.
    """
    if kernel not in KERNELS or not (math.isfinite(factor) and factor > 0):
        raise RobustnessError(f"resize needs a factor above 0 and one of {', '.join(KERNELS)}, got {factor}, {kernel}")
    height, width = (max(1, round(side * factor)) for side in img.shape[1:])
    return from_pil(to_pil(img).resize((width, height), KERNELS[kernel]))


def blur(img: Image, sigma: float) -> Image:
    """Blur with a Gaussian, cut off at three standard deviations; edges are mirrored.

    Args:
        img: uint8 (3, H, W).
        sigma: Standard deviation in pixels, not negative.

    Returns:
        uint8 (3, H, W).

    Raises:
        RobustnessError: Sigma is negative.
    """
    _check_sigma(sigma, "blur")
    if sigma == 0:
        return img.clone()
    sides = [2 * min(math.ceil(3 * sigma), side - 1) + 1 for side in (img.shape[2], img.shape[1])]
    from torchvision.transforms.v2 import functional as transforms  # seconds to import

    return to_uint8(255 * transforms.gaussian_blur(to_float(img), sides, [sigma, sigma]))


def add_noise(img: Image, sigma: float, generator: torch.Generator) -> Image:
    """Add independent Gaussian noise to every value; then round and clip to 0..255.

    (torchvision's `gaussian_noise` draws from the global generator, so it is not used.)

    Args:
        img: uint8 (3, H, W).
        sigma: Standard deviation in grey levels of 0..255, not negative.
        generator: Source of randomness.

    Returns:
        uint8 (3, H, W).

    Raises:
        RobustnessError: Sigma is negative.
    """
    _check_sigma(sigma, "noise")
    return to_uint8(255 * (to_float(img) + sigma / 255 * torch.randn(img.shape, generator=generator)))


def crop_share(img: Image, share: float, generator: torch.Generator) -> Image:
    """Cut a rectangle of the same proportions at a random place. It moves the grid of 8 x 8 blocks.

    Args:
        img: uint8 (3, H, W).
        share: Kept part of each side, above 0 and at most 1.
        generator: Source of randomness; two numbers are drawn.

    Returns:
        uint8 (3, H', W'), a copy of native pixels.

    Raises:
        RobustnessError: The share is out of range.
    """
    if not 0 < share <= 1:
        raise RobustnessError(f"the kept share of a side must lie above 0 and at most at 1, got {share}")
    rows, columns = img.shape[1:]
    height, width = max(1, round(rows * share)), max(1, round(columns * share))
    top = int(torch.randint(rows - height + 1, (), generator=generator))
    left = int(torch.randint(columns - width + 1, (), generator=generator))
    return crop(img, top, left, height, width).clone()


def change_gamma(img: Image, exponent: float) -> Image:
    """Raise all values, scaled to 0..1, to a power.

    Args:
        img: uint8 (3, H, W).
        exponent: Above 1 darker, below 1 lighter; above 0.

    Returns:
        uint8 (3, H, W).

    Raises:
        RobustnessError: The exponent is not positive.
    """
    if not (math.isfinite(exponent) and exponent > 0):
        raise RobustnessError(f"the exponent must be positive, got {exponent}")
    from torchvision.transforms.v2 import functional as transforms  # seconds to import

    return to_uint8(255 * transforms.adjust_gamma(to_float(img), exponent))


# Pipelines


def screenshot(img: Image, scale: float, generator: torch.Generator) -> Image:
    """Imitate a screenshot: drawn at another scale, in slightly other colours, cut out by hand, stored without loss.

    Each channel is multiplied by a number drawn from 0.97..1.03 (a display profile), and the cut keeps 0.9 to 1 of the
    sides. PNG stores the pixels as they are, so it is not run. The settings are ours, they imitate no certain device.

    Args:
        img: uint8 (3, H, W).
        scale: Pixels on the screen over pixels of the image, above 0.
        generator: Source of randomness; six numbers are drawn.

    Returns:
        uint8 (3, H', W').

    Raises:
        RobustnessError: The scale is not positive.
    """
    gains = 0.97 + 0.06 * torch.rand(3, 1, 1, generator=generator)
    share = 0.9 + 0.1 * float(torch.rand((), generator=generator))
    shown = to_uint8(255 * (to_float(resize(img, scale, "bilinear")) * gains))
    return crop_share(shown, share, generator)


@dataclass(frozen=True)
class Service:
    """What a service does to an uploaded picture. The settings are ours, and stand for no certain company or app.

    Attributes:
        long_side: Longest side that is kept, in pixels; longer pictures are reduced to it (bicubic), none is enlarged.
        quality: JPEG quality.
        subsampling: Chroma subsampling.
    """

    long_side: int
    quality: int
    subsampling: str = "4:2:0"


SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "messenger": Service(long_side=1600, quality=70),
        "photo-network": Service(long_side=1080, quality=80),
        "microblog": Service(long_side=2048, quality=85),
    }
)
"""Generic services; see `Service`."""


def upload(img: Image, service: str, photograph_side: float, times: int = 1) -> Image:
    """Send an image through a service: reduce it to the service's long side, then save as JPEG.

    The images of this course are native crops of larger pictures. So the factor is that of the whole picture: a crop of
    one with 3200 pixels shrinks by one half where the service keeps 1600. Cutting first differs from reducing first
    only along the edges.

    Args:
        img: uint8 (3, H, W), a native crop or the whole picture.
        service: One of `SERVICES`.
        photograph_side: Long side of the whole picture in pixels; that of `img` where `img` is larger.
        times: How often the picture is downloaded and uploaded again, at least 1; only the first time reduces it.

    Returns:
        uint8 (3, H', W').

    Raises:
        RobustnessError: Unknown service, or a number is out of range.
    """
    if service not in SERVICES or not (math.isfinite(photograph_side) and photograph_side > 0) or times < 1:
        raise RobustnessError(
            f"upload needs one of {', '.join(SERVICES)}, a positive side, and at least one turn; "
            f"got {service}, {photograph_side}, {times}"
        )
    settings = SERVICES[service]
    factor = min(1.0, settings.long_side / max(photograph_side, *img.shape[1:]))
    sent = resize(img, factor) if factor < 1 else img
    for _ in range(times):
        sent = jpeg(sent, settings.quality, settings.subsampling)
    return sent


CHAINS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("crop", 0.9), ("jpeg", 90)),
    (("resize-bicubic", 0.75), ("jpeg", 80)),
    (("screenshot", 0.85), ("messenger", 1600), ("crop", 0.9)),
    (("blur", 0.5), ("resize-bilinear", 0.75), ("noise", 4), ("webp", 60), ("jpeg", 60)),
)
"""Steps of the combined perturbation, by strength 1, 2, 3, 4: names and strengths of `PERTURBATIONS`."""


def chain(img: Image, steps: Sequence[tuple[str, float]], generator: torch.Generator) -> Image:
    """Apply several perturbations, one after the other.

    Args:
        img: uint8 (3, H, W).
        steps: Names and strengths; see `PERTURBATIONS`.
        generator: Source of randomness, which all steps draw from in turn.

    Returns:
        uint8 (3, H', W').

    Raises:
        RobustnessError: As `perturb`.
    """
    for name, strength in steps:
        img = perturb(img, name, strength, generator)
    return img


# Table


@dataclass(frozen=True)
class Perturbation:
    """One entry of the table.

    Attributes:
        name: Its key.
        family: "none", "compression", "resampling", "filtering", "noise", "geometry", "tone", "pipeline", "combined".
        strengths: From harmless to severe.
        unit: What a strength means.
        apply: (image, strength, generator) -> image.
    """

    name: str
    family: str
    strengths: tuple[float, ...]
    unit: str
    apply: Callable[[Image, float, torch.Generator], Image]


def _combined(img: Image, level: float, generator: torch.Generator) -> Image:
    number = _whole(level, "level of the combined perturbation")
    if not 1 <= number <= len(CHAINS):
        raise RobustnessError(f"the combined perturbation has the levels 1 to {len(CHAINS)}, got {level}")
    return chain(img, CHAINS[number - 1], generator)


def _forwarded(img: Image, times: float, _: torch.Generator) -> Image:
    return upload(img, "messenger", max(img.shape[1:]), _whole(times, "number of uploads"))


def _resizing(kernel: str) -> Callable[[Image, float, torch.Generator], Image]:
    return lambda img, factor, _: resize(img, factor, kernel)


def _uploading(service: str) -> Callable[[Image, float, torch.Generator], Image]:
    return lambda img, side, _: upload(img, service, side)


_QUALITIES = (95.0, 90.0, 80.0, 70.0, 50.0, 30.0)
_SIDE = "long side of the whole picture in pixels"
_UPLOADED: Mapping[str, tuple[float, ...]] = {
    "messenger": (1600, 2000, 3200),
    "photo-network": (1080, 1440, 2160),
    "microblog": (2048, 2560, 4096),
}

_TABLE = (
    Perturbation("none", "none", (0,), "as it is", lambda img, _, __: img.clone()),
    Perturbation("jpeg", "compression", _QUALITIES, "quality, 4:2:0", lambda img, quality, _: jpeg(img, quality)),
    Perturbation(
        "jpeg-444", "compression", _QUALITIES, "quality, 4:4:4", lambda img, quality, _: jpeg(img, quality, "4:4:4")
    ),
    Perturbation("webp", "compression", _QUALITIES, "quality", lambda img, quality, _: webp(img, quality)),
    *(
        Perturbation(f"resize-{kernel}", "resampling", (0.9, 0.75, 0.5), "factor", _resizing(kernel))
        for kernel in KERNELS
    ),
    Perturbation("enlarge", "resampling", (1.1, 1.5, 2.0), "factor, bicubic", _resizing("bicubic")),
    Perturbation("blur", "filtering", (0.5, 1, 1.5, 2, 3), "sigma in pixels", lambda img, sigma, _: blur(img, sigma)),
    Perturbation("noise", "noise", (1, 2, 4, 8, 16), "sigma in grey levels", add_noise),
    Perturbation("crop", "geometry", (0.95, 0.8, 0.65, 0.5), "kept share of each side", crop_share),
    Perturbation("darker", "tone", (1.1, 1.25, 1.5, 2), "exponent", lambda img, power, _: change_gamma(img, power)),
    Perturbation("lighter", "tone", (0.9, 0.8, 0.67, 0.5), "exponent", lambda img, power, _: change_gamma(img, power)),
    Perturbation("screenshot", "pipeline", (1.0, 0.85, 0.7, 0.5), "scale on the screen", screenshot),
    *(Perturbation(name, "pipeline", sides, _SIDE, _uploading(name)) for name, sides in _UPLOADED.items()),
    Perturbation("forwarded", "pipeline", (1, 2, 4, 8), "uploads to the messenger", _forwarded),
    Perturbation("combined", "combined", (1, 2, 3, 4), "level, see CHAINS", _combined),
)

PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""All perturbations by name."""


def perturb(img: Image, name: str, strength: float, generator: torch.Generator) -> Image:
    """Apply one perturbation of the table.

    Args:
        img: uint8 (3, H, W).
        name: Key of `PERTURBATIONS`.
        strength: In its unit; values between and beyond those listed are allowed as far as they make sense.
        generator: Source of randomness; perturbations without chance leave it alone.

    Returns:
        New image, uint8 (3, H', W').

    Raises:
        RobustnessError: Unknown name, or a strength that makes no sense.
        ImageError: `img` is no image, or a JPEG quality out of range.
    """
    if name not in PERTURBATIONS:
        raise RobustnessError(f"no perturbation is called {name!r}; there are {', '.join(PERTURBATIONS)}")
    return PERTURBATIONS[name].apply(img, strength, generator)


def _whole(value: float, name: str) -> int:
    if value != math.floor(value):
        raise RobustnessError(f"the {name} must be a whole number, got {value}")
    return int(value)


def _check_sigma(sigma: float, name: str) -> None:
    if not (math.isfinite(sigma) and sigma >= 0):
        raise RobustnessError(f"the {name}'s sigma must not be negative, got {sigma}")
