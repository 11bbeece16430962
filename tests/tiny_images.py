"""Tiny made-up photographs and fakes that an easy mark tells apart, for tests of detectors."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from helpers.data.image_set import ImageSet
from helpers.data.images import Image

SPLIT_SEEDS = {"train": 0, "val": 1, "test": 2}


def noise_photograph(generator: torch.Generator, side: int = 56) -> Image:
    """Smooth content under white grain: uint8 (3, side, side)."""
    content = torch.nn.functional.interpolate(
        60 + 120 * torch.rand(1, 3, 4, 4, generator=generator), (side, side), mode="bilinear"
    )[0]
    return (content + 8 * torch.randn(3, side, side, generator=generator)).round().clamp(0, 255).to(torch.uint8)


def checkered(img: Image, strength: float = 10.0) -> Image:
    """Lay a faint checkerboard over an image, as a transposed convolution may."""
    rows, columns = torch.meshgrid(torch.arange(img.shape[1]), torch.arange(img.shape[2]), indexing="ij")
    return (img.float() + strength * (1 - 2.0 * ((rows + columns) % 2))).round().clamp(0, 255).to(torch.uint8)


def made_up(
    split: str = "train",
    reals: Mapping[str, int] | None = None,
    fakes: Mapping[str, int] | None = None,
    *,
    side: int = 56,
    strength: float = 10.0,
) -> ImageSet:
    """Make a set in memory.

    Args:
        split: Also decides the pixels.
        reals: Photographs by source.
        fakes: Fakes by generator.
        side: Of the images in pixels.
        strength: Of the checkerboard in grey levels.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
    images: list[Image] = []
    rows: list[dict[str, str]] = []
    for source, count in (reals or {"here": 8, "there": 8}).items():
        images += [noise_photograph(generator, side) for _ in range(count)]
        rows += [{"label": "real", "generator": "", "family": "", "source": source}] * count
    for name, count in (fakes or {"checkers": 16}).items():
        images += [checkered(noise_photograph(generator, side), strength) for _ in range(count)]
        rows += [{"label": "fake", "generator": name, "family": "gan", "source": "elsewhere"}] * count
    return in_memory(images, rows, split)


def in_memory(images: Sequence[Image], rows: Sequence[Mapping[str, str]], split: str) -> ImageSet:
    """Put images and rows together; paths differ between splits."""
    paths = [f"{split}/{number:03d}.png" for number in range(len(rows))]
    return ImageSet.of(images, pd.DataFrame(rows).assign(split=split, path=paths))
