"""Views of a photograph that keep its natural traces, and views that break them.

Traces live in the relations between neighbouring pixels. A *trace-preserving* view leaves the pixel lattice alone: a
crop, a mirror image, a quarter turn. A *trace-breaking* view makes every pixel anew from its neighbours, as a
generator's last layers do: resampling, blur, median, denoising, a re-synthesis from few numbers, a periodic gain. Both
are made from photographs; no generated image is needed. Both must end with the same encoding, or "was encoded" would
be the trace that is learnt.

What the breakers cannot do is invent: they stand in for generators, and lesson 03 shows how poorly or how well.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data.images import Image, decode, encode_jpeg, to_uint8
from helpers.data.protocol import Protocol
from helpers.pixels.resynthesis import PatchModel, fit_patch_model, resynthesise

__all__ = ["BREAKERS", "break_traces", "encode_blind", "keep_traces"]

_KERNELS = ("nearest", "bilinear", "bicubic", "area")


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (), generator=generator))


def keep_traces(img: Image, generator: torch.Generator) -> Image:
    """Mirror and turn an image by a multiple of 90 degrees: pixels move, none changes.

    Args:
        img: uint8 (3, S, S).
        generator: Source of randomness; two numbers are drawn.

    Returns:
        uint8 (3, S, S), a new tensor.
    """
    turns, mirrored = _integer(4, generator), _integer(2, generator)
    turned = torch.rot90(img, turns, (1, 2))
    return (turned.flip(2) if mirrored else turned).contiguous()


def _resample(img: Image, generator: torch.Generator) -> Image:
    """Make the image smaller, and as large as it was again."""
    side, factor = img.shape[-1], _uniform(0.4, 0.8, generator)
    down, up = (_KERNELS[_integer(len(_KERNELS), generator)] for _ in range(2))
    small = _scaled(img.float()[None], max(8, round(side * factor)), down)
    return to_uint8(_scaled(small, side, up)[0])


def _scaled(values: Tensor, side: int, kernel: str) -> Tensor:
    smooth = {"align_corners": False, "antialias": True} if kernel in ("bilinear", "bicubic") else {}
    return F.interpolate(values, (side, side), mode=kernel, **smooth)


def _blur(img: Image, generator: torch.Generator) -> Image:
    from torchvision.transforms.v2 import functional as tvf  # seconds to import

    return to_uint8(tvf.gaussian_blur(img.float(), [5, 5], [_uniform(0.5, 1.2, generator)]))


def _median(img: Image, generator: torch.Generator) -> Image:
    """Replace each pixel by the median of its 3 x 3 neighbourhood, in part."""
    windows = F.pad(img[None].float(), (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    return to_uint8(torch.lerp(img.float(), windows.median(dim=-1).values[0], _uniform(0.5, 1.0, generator)))


def _denoise(img: Image, generator: torch.Generator) -> Image:
    """Shrink small Haar details towards zero, as a denoiser does."""
    values, threshold = img.float(), _uniform(2.0, 8.0, generator)
    top, left = _integer(2, generator), _integer(2, generator)
    shifted = values.roll((top, left), (1, 2))
    a, b, c, d = (shifted[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    mean = (a + b + c + d) / 4
    details = [(a - b + c - d) / 4, (a + b - c - d) / 4, (a - b - c + d) / 4]
    h, v, x = (detail.sign() * (detail.abs() - threshold / 2).clamp(min=0) for detail in details)
    clean = torch.empty_like(shifted)
    clean[:, ::2, ::2], clean[:, ::2, 1::2] = mean + h + v + x, mean - h + v - x
    clean[:, 1::2, ::2], clean[:, 1::2, 1::2] = mean + h - v - x, mean - h - v + x
    return to_uint8(clean.roll((-top, -left), (1, 2)))


@functools.cache
def _patch_model() -> PatchModel:
    """The principal components of patches of the embedded training photographs."""
    from helpers.data.crops import zoo_photographs  # that module reads the catalog

    return fit_patch_model([picture.sizes[2] for picture in zoo_photographs("train")], patches=1500)


def _repaint(img: Image, generator: torch.Generator) -> Image:
    """Paint the image anew from few numbers per 8 x 8 patch."""
    count = 12 + _integer(60, generator)
    return resynthesise(img, _patch_model(), count, stride=(4, 8)[_integer(2, generator)])


def _periodic(img: Image, generator: torch.Generator) -> Image:
    """Scale pixels by a pattern that repeats every two to eight pixels: the checkerboard of an upsampling layer."""
    from torchvision.transforms.v2 import functional as tvf  # seconds to import

    period = (2, 4, 8)[_integer(3, generator)]
    gains = 1 + _uniform(0.01, 0.04, generator) * torch.randn(period, period, generator=generator)
    side = img.shape[-1]
    pattern = gains.repeat(-(-side // period), -(-side // period))[:side, :side]
    smooth = tvf.gaussian_blur(img.float(), [3, 3], [0.6])
    return to_uint8(smooth * pattern)


BREAKERS: Mapping[str, Callable[[Image, torch.Generator], Image]] = MappingProxyType(
    {
        "resample": _resample,
        "blur": _blur,
        "median": _median,
        "denoise": _denoise,
        "repaint": _repaint,
        "periodic": _periodic,
    }
)
"""Ways to break the traces of a square image, each with settings drawn from the generator."""


def break_traces(img: Image, generator: torch.Generator, kinds: tuple[str, ...] = tuple(BREAKERS)) -> Image:
    """Make every pixel of an image anew from its neighbourhood, in one of several ways.

    Args:
        img: uint8 (3, S, S), S at least 16 and even.
        generator: Chooses the way and its settings.
        kinds: Entries of `BREAKERS` to choose from.

    Returns:
        uint8 (3, S, S): the same content, other relations between neighbours.
    """
    return BREAKERS[kinds[_integer(len(kinds), generator)]](img, generator)


def encode_blind(img: Image, protocol: Protocol, probability: float, generator: torch.Generator) -> Image:
    """Encode as JPEG with some probability, with settings that know nothing of the label.

    Args:
        img: uint8 (3, H, W).
        protocol: Its qualities and subsamplings.
        probability: Chance that the image is encoded at all, 0..1.
        generator: Source of randomness; three numbers are drawn whatever happens.

    Returns:
        uint8 (3, H, W).
    """
    chance = float(torch.rand((), generator=generator))
    low, high = protocol.qualities
    quality = low + _integer(high - low + 1, generator)
    subsampling = protocol.subsamplings[_integer(len(protocol.subsamplings), generator)]
    return decode(encode_jpeg(img, quality, subsampling)) if chance < probability else img
