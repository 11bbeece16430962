"""What happens to a picture between its making and its reader, drawn without knowing its label.

A detector that has seen only one way of storing pictures takes that way for nature. So every training crop, real or
generated, goes through a history of the same kind: stored without loss, as JPEG of any common quality on any grid
offset, as JPEG twice, or as WebP; a few are made a little smaller or larger before, as a screenshot or an upload does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from helpers.data.images import Image, crop, decode, encode_jpeg
from helpers.pixels.perturbations import resize, webp

__all__ = ["MARGIN", "Histories", "apply_history"]

MARGIN = 8
"""Pixels by which a crop is cut larger than it will be, so that a compression grid may lie at any offset in it."""

_KERNELS = ("bilinear", "bicubic", "lanczos")
_SUBSAMPLINGS = ("4:2:0", "4:4:4")


@dataclass(frozen=True)
class Histories:
    """Shares of each kind of history; what remains is stored without loss.

    Attributes:
        jpeg: Share stored as JPEG once.
        twice: Share stored as JPEG twice, on two grids.
        webp: Share stored as WebP.
        resized: Share that is made smaller or larger first, whatever follows.
        qualities: Lowest and highest quality of either format.
        factors: Smallest and largest factor of a resizing.
    """

    jpeg: float = 0.45
    twice: float = 0.15
    webp: float = 0.10
    resized: float = 0.15
    qualities: tuple[int, int] = (50, 98)
    factors: tuple[float, float] = (0.75, 1.25)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    """Draw from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _part(img: Image, side: int, generator: torch.Generator) -> Image:
    """Cut a square of `side` pixels anywhere out of an image, or as much of it as there is."""
    height, width = img.shape[-2:]
    tall, wide = min(side, height), min(side, width)
    top, left = _integer(generator, 0, height - tall), _integer(generator, 0, width - wide)
    return crop(img, top, left, tall, wide)


def _jpeg(img: Image, histories: Histories, generator: torch.Generator) -> Image:
    quality = _integer(generator, *histories.qualities)
    return decode(encode_jpeg(img, quality, _SUBSAMPLINGS[_integer(generator, 0, 1)]))


def _resized(img: Image, side: int, histories: Histories, generator: torch.Generator) -> Image:
    """Resize a part that is large enough to hold a square of `side` pixels afterwards."""
    factor = _uniform(generator, *histories.factors)
    factor = max(factor, side / min(img.shape[-2:]))
    part = _part(img, int(np.ceil(side / factor)), generator)
    return resize(part, factor, _KERNELS[_integer(generator, 0, len(_KERNELS) - 1)])


def apply_history(img: Image, side: int, histories: Histories, generator: torch.Generator) -> Image:
    """Give a picture a history, and cut a crop out of what comes of it.

    Args:
        img: uint8 (3, H, W), sides at least `side`; native pixels.
        side: Side of the crop in pixels.
        histories: Shares of each kind.
        generator: Source of all choices; the label must have no part in it.

    Returns:
        uint8 (3, side, side).
    """
    if float(torch.rand((), generator=generator)) < histories.resized:
        img = _resized(img, side, histories, generator)
    img = _part(img, side + MARGIN, generator)
    kind = float(torch.rand((), generator=generator))
    if kind < histories.twice:
        img = _part(_jpeg(img, histories, generator), side + MARGIN // 2, generator)
    if kind < histories.twice + histories.jpeg:
        img = _jpeg(img, histories, generator)
    elif kind < histories.twice + histories.jpeg + histories.webp:
        img = webp(img, _integer(generator, *histories.qualities))
    cut: Tensor = _part(img, side, generator)
    return cut.contiguous()
