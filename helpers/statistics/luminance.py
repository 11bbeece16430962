"""The grey plane that every statistic of this package starts from, and the area average that shrinks it.

Decisions, made once for all statistics:

* Luma, not light: Rec. 601 weights on the stored, gamma-coded sRGB values. Encoders, generators and detectors work on
  these values, so a statistic of them is what can be checked later. `linear_light` undoes the gamma for comparison.
* float64 throughout: spectra span ten decades.
* A pixel at 0 or 255 is *clipped*: its true value is unknown. Statistics of differences skip pairs of clipped pixels.
"""

import torch
from torch import Tensor

from helpers.data.images import luminance
from helpers.errors import NaturalTracesError


class StatisticsError(NaturalTracesError):
    """An image or a sample on which a statistic is not defined."""


def as_luminance(img: Tensor) -> Tensor:
    """Give the Rec. 601 luma of an image as float64 in [0, 1].

    Args:
        img: uint8 RGB image (3, H, W) with values 0..255, float RGB image (3, H, W) in [0, 1], or a grey plane (H, W)
            in either type.

    Returns:
        float64 tensor (H, W) in [0, 1]; the gamma coding of the input is kept.

    Raises:
        StatisticsError: for another shape, or a plane of fewer than 16 x 16 pixels.

    Source: ITU-R BT.601.
    """
    plane = img.to(torch.float64) / 255 if img.dtype == torch.uint8 else img.to(torch.float64)
    if plane.ndim == 3 and plane.shape[0] == 3:
        plane = luminance(plane)
    if plane.ndim != 2:
        raise StatisticsError(f"expected an image (3, H, W) or a grey plane (H, W), got shape {tuple(img.shape)}")
    if min(plane.shape) < 16:
        raise StatisticsError(f"at least 16 x 16 pixels are needed, got {plane.shape[0]} x {plane.shape[1]}")
    return plane


def linear_light(plane: Tensor) -> Tensor:
    """Undo the sRGB gamma curve.

    Args:
        plane: float tensor of any shape, coded values in [0, 1].

    Returns:
        Linear light in [0, 1], same shape and dtype.

    Source: IEC 61966-2-1 (sRGB), decoding function.
    """
    return torch.where(plane <= 0.04045, plane / 12.92, ((plane + 0.055) / 1.055) ** 2.4)


def downscale(plane: Tensor, factor: int) -> Tensor:
    """Shrink a plane by averaging squares of `factor` x `factor` pixels; rows and columns left over are dropped.

    Args:
        plane: float tensor (..., H, W).
        factor: whole number of at least 1.

    Returns:
        Tensor (..., H // factor, W // factor).
    """
    if factor < 1:
        raise StatisticsError(f"the factor must be at least 1, got {factor}")
    planes = plane.reshape(-1, 1, *plane.shape[-2:])
    small = torch.nn.functional.avg_pool2d(planes, factor)
    return small.reshape(*plane.shape[:-2], *small.shape[-2:])


def clipped(plane: Tensor) -> Tensor:
    """Mark the pixels that lie within half an 8-bit step of black or white.

    Args:
        plane: float tensor of any shape in [0, 1].

    Returns:
        bool tensor of the same shape.
    """
    half_step = 0.5 / 255
    return (plane <= half_step) | (plane >= 1 - half_step)
