"""Developing a picture once more: what cameras and photo programs do, and no generator does alone.

Two photographs differ in tone, sharpness and noise because two cameras developed them, not because one of them is
natural. A detector that has seen few photo sources takes their development for nature. So training can draw the
development anew, for real and fake alike: what is left to learn is what no development changes.

No pixel moves, and apart from the mean that contrast turns around, none depends on others further away than two
pixels: resampling is left to `helpers.pixels.views`.
"""

import torch
from torch import Tensor

from helpers.data.images import Image, to_uint8

__all__ = ["develop"]

GAMMA = 0.35
"""Largest natural logarithm of the exponent of the tone curve."""
CONTRAST = 0.25
"""Largest change of contrast around the mean, as a share."""
FOCUS = (0.3, 0.7)
"""Widths of the Gaussian by which a picture is softened or sharpened, in pixels."""
SHARPENING = 1.0
"""Largest share of the detail that sharpening adds once more."""
NOISE = 1.5
"""Largest standard deviation of added noise, in levels of 255."""


def develop(img: Image, generator: torch.Generator) -> Image:
    """Give a picture another tone curve, contrast, sharpness and noise, all mild, each in half of the draws.

    Args:
        img: uint8 (3, H, W), sides at least 3.
        generator: Source of randomness.

    Returns:
        uint8 (3, H, W): the same picture, rounded to whole levels once, at the end.
    """
    from torchvision.transforms.v2 import functional as tvf  # seconds to import

    on, amount = torch.rand(2, 4, generator=generator)
    chosen, (tone, contrast, focus, grain) = (on < 0.5).tolist(), amount.tolist()
    values = img.float() / 255
    if chosen[0]:
        values = tvf.adjust_gamma(values, float(torch.tensor(GAMMA * (2 * tone - 1)).exp()))
    if chosen[1]:
        values = (values - values.mean()) * (1 + CONTRAST * (2 * contrast - 1)) + values.mean()
    if chosen[2]:
        values = _focused(values, focus)
    values = 255 * values
    if chosen[3]:
        values = values + NOISE * grain * torch.randn(values.shape, generator=generator)
    return to_uint8(values)


def _focused(values: Tensor, amount: float) -> Tensor:
    """Soften a picture for an amount below one half, sharpen it above; at one half it stays."""
    from torchvision.transforms.v2 import functional as tvf  # seconds to import

    strength, (low, high) = abs(2 * amount - 1), FOCUS
    soften = amount < 0.5
    blurred: Tensor = tvf.gaussian_blur(values, [5, 5], [low + (high - low) * strength if soften else high])
    return blurred if soften else values + SHARPENING * strength * (values - blurred)
