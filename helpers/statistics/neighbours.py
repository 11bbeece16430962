"""Relations between neighbours: values that agree, and details that cluster although their signs do not."""

from collections.abc import Sequence

import torch
from torch import Tensor

from helpers.statistics.luminance import as_luminance
from helpers.statistics.tails import haar

NEXT = ((0, 1), (1, 0))
"""The right and the lower neighbour, as (rows down, columns right)."""


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of two planes; 0 where one of them is constant."""
    return torch.nan_to_num(torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1])


def neighbour_correlation(img: Tensor, offsets: Sequence[tuple[int, int]] = NEXT) -> Tensor:
    """Correlation of every pixel with the one some rows below and columns to the right.

    Args:
        img: image or grey plane, see `as_luminance`.
        offsets: (rows down, columns right), not negative.

    Returns:
        float64 tensor (len(offsets),), each -1 to 1.
    """
    plane = as_luminance(img)
    height, width = plane.shape
    return torch.stack(
        [_correlation(plane[: height - down, : width - right], plane[down:, right:]) for down, right in offsets]
    )


def detail_clustering(img: Tensor) -> float:
    """Correlation of the sizes of neighbouring Haar details: is a busy spot next to a busy spot?

    Args:
        img: image or grey plane, see `as_luminance`.

    Returns:
        Mean over the three bands and both directions, -1 to 1; 0 for every stationary Gaussian texture whose
        details are uncorrelated.

    Source: Simoncelli (1997), "Statistical models for images: compression, restoration and synthesis", 31st Asilomar
    Conference on Signals, Systems and Computers.
    """
    bands = haar(img)
    sizes = [bands[name].abs() for name in ("horizontal", "vertical", "diagonal")]
    pairs = [(size[:, 1:], size[:, :-1]) for size in sizes] + [(size[1:], size[:-1]) for size in sizes]
    return torch.stack([_correlation(*pair) for pair in pairs]).mean().item()


def conditional_spread(first: Tensor, second: Tensor, bins: int = 12) -> tuple[Tensor, Tensor]:
    """Spread of the second value, given the size of the first: flat if the two are independent.

    Args:
        first: tensor of any shape.
        second: tensor of the same shape.
        bins: number of groups of equal count, by the size of `first`.

    Returns:
        Mean size of `first` in each group and standard deviation of `second` there, both (bins,), each divided by the
        overall standard deviation of its own tensor.
    """
    first, second = first.flatten() / first.std(), second.flatten() / second.std()
    groups = first.abs().argsort().tensor_split(bins)
    return (
        torch.stack([first[group].abs().mean() for group in groups]),
        torch.stack([second[group].std() for group in groups]),
    )
