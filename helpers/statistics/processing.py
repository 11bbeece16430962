"""What was done to pixels before, as far as it can be measured: a compression grid, resampling, and drawn areas.

JPEG cuts a picture into blocks of 8 x 8 pixels, and steps between blocks stay in the pixels after the file has been
stored in another format; where the grid does not begin at the corner, the picture was cut afterwards. Enlarging makes
every pixel a weighted mean of others with weights that repeat, so the second difference has a period (Gallagher,
Detection of linear and cubic interpolation in JPEG compressed images, 2005). A drawing or a screenshot has areas in
which neighbours are exactly equal, which the noise of a sensor forbids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.data.images import Image, luminance

__all__ = ["Grid", "block_grid", "flat_share", "jpeg_quality", "resampling_peak"]

BLOCK = 8
LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Annex K of the JPEG standard (ITU-T T.81), in row order: quality 50 of libjpeg."""
CLIPPED = 4
"""Grey levels from black or white within which pixels say nothing about noise."""


def jpeg_quality(table: Sequence[int]) -> int:
    """Estimate the quality, 1..100 in libjpeg's scale, of a luminance table.

    Args:
        table: 64 steps in row order.

    Returns:
        The quality whose table has steps that are as large on average.

    >>> jpeg_quality(LUMA_TABLE)
    50
    """
    scale = 100 * float(np.mean(np.asarray(table, float) / np.asarray(LUMA_TABLE)))
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(np.clip(round(quality), 1, 100))


def flat_share(img: Image) -> float:
    """Measure how much of a picture is drawn: the share of pixels that equal both neighbours to the right and below.

    Args:
        img: uint8 (3, H, W), sides at least 2.

    Returns:
        Share, 0..1, of the pixels that are neither nearly black nor nearly white; 1 where there are no others.
    """
    pixels = img.to(torch.int16)
    here = pixels[:, :-1, :-1]
    same = ((here == pixels[:, 1:, :-1]) & (here == pixels[:, :-1, 1:])).all(dim=0)
    seen = ((here >= CLIPPED) & (here <= 255 - CLIPPED)).any(dim=0)
    count = int(seen.sum())
    return float((same & seen).sum() / count) if count else 1.0


@dataclass(frozen=True)
class Grid:
    """Steps at every eighth pixel.

    Attributes:
        strength: How far the steps at the best place stand out of those at other places, the weaker direction, in
            standard deviations of the others.
        down: Row at which the first block begins, 0..7.
        right: Column at which it begins.
    """

    strength: float
    down: int
    right: int


def block_grid(img: Image) -> Grid:
    """Look for the grid of JPEG.

    Args:
        img: uint8 (3, H, W), sides at least 64.

    Returns:
        The grid that stands out most.
    """
    grey = luminance(img)
    strength_right, right = _phase(_steps(grey))
    strength_down, down = _phase(_steps(grey.T))
    return Grid(min(strength_right, strength_down), down, right)


def _steps(grey: torch.Tensor) -> NDArray[np.float64]:
    """Mean over rows of how much a step exceeds its neighbours, between columns: (columns - 3,)."""
    step = (grey[:, 1:] - grey[:, :-1]).abs()
    excess = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2
    return excess.clamp(-3, 3).mean(dim=0).double().numpy()  # edges of things must not drown small steps


def _phase(excess: NDArray[np.float64]) -> tuple[float, int]:
    """Find the place modulo 8 whose steps stand out; entry j lies between columns j + 1 and j + 2."""
    places = (np.arange(len(excess)) + 2) % BLOCK
    means = np.array([excess[places == place].mean() for place in range(BLOCK)])
    best = int(means.argmax())
    others = excess[places != best]
    error = others.std() / np.sqrt((places == best).sum()) + 1e-9
    return float((means[best] - np.median(others)) / error), best


def resampling_peak(img: Image) -> float:
    """Look for the period that enlarging leaves.

    Args:
        img: uint8 (3, H, W), sides at least 64.

    Returns:
        Height of the strongest line in the spectrum of the second difference's size, over columns and over rows, the
        weaker direction, in medians of the spectrum around it. Lines of JPEG's blocks, at multiples of 1/8, are left
        out.
    """
    grey = luminance(img)
    return min(_peak(grey), _peak(grey.T))


def _peak(grey: torch.Tensor) -> float:
    second = (2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]).abs().clamp(max=8).mean(dim=0).double().numpy()
    smooth = np.convolve(np.pad(second, 7, mode="reflect"), np.ones(15) / 15, mode="valid")
    power = np.abs(np.fft.rfft((second - smooth) * np.hanning(len(second))))
    frequencies = np.fft.rfftfreq(len(second))
    near_block = np.abs(frequencies * BLOCK - np.round(frequencies * BLOCK)) < BLOCK * 2.5 / len(second)
    kept = ~near_block & (frequencies > 0.1)
    return float(power[kept].max() / (np.median(power[kept]) + 1e-9))
