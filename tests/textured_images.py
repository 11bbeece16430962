"""A made-up picture with the fine grain of a photograph, and what its neighbouring pixels tell."""

import torch

from helpers.data.images import Image

SIZE = 48


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def textured(seed: int = 0) -> Image:
    """Smooth content with fine grain, as a photograph has both: uint8 (3, 48, 48)."""
    generator = seeded(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    content = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0] * 160 + 40
    grain = 6 * torch.randn(3, SIZE, SIZE, generator=generator)
    return (content + grain).round().clamp(0, 255).to(torch.uint8)


def neighbour_statistics(img: torch.Tensor) -> torch.Tensor:
    """Mean square of the second difference along each axis, and of the diagonal difference."""
    values = img.float()
    rows, columns = values.diff(n=2, dim=1), values.diff(n=2, dim=2)
    return torch.stack([part.square().mean() for part in (rows, columns, values.diff(dim=1).diff(dim=2))])
