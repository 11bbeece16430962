"""How near generated images come to photographs, without any pretrained network: a distance of patch statistics.

Each 64 x 64 image becomes 41 numbers that describe how pixels relate: a spectrum, wavelet energies and tails, colours.
Two sets of images are compared by the squared maximum mean discrepancy of these numbers (a kernel distance, as KID is
for network features). It is 0 for two sets from one distribution, up to chance, and at most 2.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPECTRUM_BANDS = 14
HAAR_LEVELS = 3


def patch_statistics(images: Tensor) -> NDArray[np.float64]:
    """Describe images by 41 numbers each.

    Args:
        images: uint8, (n, 3, h, w), at least 16 x 16.

    Returns:
        (n, 41): 14 log powers by frequency, 9 log wavelet energies and 9 log tail weights (3 levels x 3 directions),
        3 mean colours, 3 deviations, 3 correlations of colour channels.
    """
    pixels = images.double() / 255
    brightness = pixels.mean(dim=1)
    parts = [_spectrum(brightness), _wavelets(brightness), _colours(pixels)]
    return torch.cat(parts, dim=1).numpy()


def _spectrum(brightness: Tensor) -> Tensor:
    """Log power in rings of equal width: (n, h, w) -> (n, 14)."""
    height, width = brightness.shape[1:]
    window = torch.outer(*(torch.hann_window(size, dtype=torch.float64) for size in (height, width)))
    centred = brightness - brightness.mean(dim=(1, 2), keepdim=True)
    power = torch.fft.fft2(centred * window).abs().square().flatten(1)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]).flatten()
    ring = (radius / 0.5 * SPECTRUM_BANDS).long()
    rings = [power[:, ring == band].mean(dim=1) for band in range(SPECTRUM_BANDS)]
    return torch.log10(torch.stack(rings, dim=1) + 1e-6)


def _wavelets(brightness: Tensor) -> Tensor:
    """Log energy, and log of energy over squared mean size (how heavy the tails are): (n, h, w) -> (n, 18)."""
    energies, tails = [], []
    for _ in range(HAAR_LEVELS):
        a, b, c, d = (brightness[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
        for detail in ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2):
            energy = detail.square().mean(dim=(1, 2)) + 1e-7
            energies.append(energy.log10())
            tails.append((energy / (detail.abs().mean(dim=(1, 2)) + 1e-4).square()).log10())
        brightness = (a + b + c + d) / 2
    return torch.stack(energies + tails, dim=1)


def _colours(pixels: Tensor) -> Tensor:
    """Means, deviations and correlations of the channels: (n, 3, h, w) -> (n, 9)."""
    flat = pixels.flatten(2)
    mean, deviation = flat.mean(dim=2), flat.std(dim=2) + 1e-3
    unit = (flat - mean[..., None]) / deviation[..., None]
    correlations = [(unit[:, i] * unit[:, j]).mean(dim=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    return torch.cat([mean, deviation, torch.stack(correlations, dim=1)], dim=1)


@dataclass(frozen=True)
class Distance:
    """A distance with its bootstrap interval.

    Attributes:
        value: Squared maximum mean discrepancy, unbiased (so it can fall slightly below 0).
        low: Lower end of the interval.
        high: Upper end.
        level: Its confidence level.
        n: Number of images compared.
        n_reference: Number of images that they were compared with.
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    n_reference: int


def kernel_distance(
    features: NDArray[np.float64],
    reference: NDArray[np.float64],
    *,
    n_draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> Distance:
    """Compare two sets of descriptions by the squared maximum mean discrepancy.

    Both are scaled by the reference's mean and deviation. The kernel is Gaussian, as wide as the median distance within
    the reference. The interval resamples images of both sets; a pair of copies of one image never counts.

    Args:
        features: (n, d).
        reference: (m, d).
        n_draws: Bootstrap draws.
        level: Confidence level.
        seed: Seed of the bootstrap.

    Returns:
        The distance.

    Raises:
        ValueError: A set has fewer than 8 images; a bootstrap of so few says nothing.

    Source: Gretton et al., A kernel two-sample test, JMLR 13, 2012, equation 3; Binkowski et al., Demystifying MMD
        GANs, ICLR 2018 (arXiv 1801.01401).
    """
    if min(len(features), len(reference)) < 8:
        raise ValueError(f"at least 8 images are needed on either side, got {len(features)} and {len(reference)}")
    mean, deviation = reference.mean(axis=0), reference.std(axis=0) + 1e-9
    x, y = (features - mean) / deviation, (reference - mean) / deviation
    squared = _squared_distances(y, y)
    width = float(np.median(squared[np.triu_indices(len(y), 1)]))
    within_x, within_y, between = (np.exp(-_squared_distances(*pair) / width) for pair in ((x, x), (y, y), (x, y)))
    np.fill_diagonal(within_x, 0.0)
    np.fill_diagonal(within_y, 0.0)

    def discrepancy(v: NDArray[np.float64], w: NDArray[np.float64]) -> float:
        inside_x = v @ within_x @ v / (v.sum() ** 2 - (v**2).sum())
        inside_y = w @ within_y @ w / (w.sum() ** 2 - (w**2).sum())
        return float(inside_x + inside_y - 2 * (v @ between @ w) / (v.sum() * w.sum()))

    rng = np.random.default_rng(seed)
    counts = [
        [rng.multinomial(size, np.full(size, 1 / size)).astype(float) for size in (len(x), len(y))]
        for _ in range(n_draws)
    ]
    low, high = np.quantile([discrepancy(v, w) for v, w in counts], [(1 - level) / 2, (1 + level) / 2])
    value = discrepancy(np.ones(len(x)), np.ones(len(y)))
    return Distance(value, float(low), float(high), level, len(x), len(y))


def _squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) and (m, d) -> (n, m)."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    return np.maximum(squares, 0.0)  # type: ignore[no-any-return]


def diversity(images: Tensor) -> float:
    """Root mean squared difference of two images of a set, seen at 16 x 16 pixels: near 0 means one picture repeated.

    Args:
        images: uint8, (n, 3, 64, 64), n at least 2.

    Returns:
        0..1, in units of the full range.
    """
    small = torch.nn.functional.avg_pool2d(images.float() / 255, images.shape[-1] // 16).flatten(1)
    squared = torch.cdist(small, small).square() / small.shape[1]
    n = len(images)
    return math.sqrt(float(squared.sum()) / (n * (n - 1)))
