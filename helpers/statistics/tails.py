"""Heavy tails: neighbouring-pixel differences and wavelet coefficients, and the generalised Gaussian that fits them."""

import math
from dataclasses import dataclass

import torch
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln
from torch import Tensor

from helpers.statistics.luminance import StatisticsError, as_luminance, clipped, downscale

SHAPE_RANGE = (0.1, 10.0)
"""Shapes that the fit can return; samples beyond give the nearer end."""


@dataclass(frozen=True)
class GeneralisedGaussian:
    """The density `p(x) ~ exp(-|x / scale| ** shape)`: shape 2 is the Gaussian, 1 the Laplacian, less a heavier tail.

    Attributes:
        shape: beta.
        scale: alpha, in the units of the sample.
    """

    shape: float
    scale: float


def gradients(img: Tensor) -> Tensor:
    """Differences of horizontal and vertical neighbours, without pairs in which both pixels are clipped.

    Args:
        img: image or grey plane, see `as_luminance`.

    Returns:
        float64 tensor (pairs,), in units of luminance (-1 to 1).
    """
    plane = as_luminance(img)
    unknown = clipped(plane)
    right = (plane[:, 1:] - plane[:, :-1])[~(unknown[:, 1:] & unknown[:, :-1])]
    down = (plane[1:] - plane[:-1])[~(unknown[1:] & unknown[:-1])]
    return torch.cat((right, down))


def haar(img: Tensor, level: int = 1) -> dict[str, Tensor]:
    """One level of the orthonormal Haar wavelet transform; odd rows and columns left over are dropped.

    Args:
        img: image or grey plane, see `as_luminance`.
        level: 1 for the finest details; each further level halves the size.

    Returns:
        Tensors (H / 2 ** level, W / 2 ** level): "approximation", "horizontal" (responds to horizontal edges),
        "vertical" and "diagonal", in the order and sign of PyWavelets.

    Source: Mallat (1989), doi 10.1109/34.192463.
    """
    plane = as_luminance(img)
    for _ in range(level):
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        a, b, c, d = plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2]
        details = {"horizontal": (a + b - c - d) / 2, "vertical": (a - b + c - d) / 2, "diagonal": (a - b - c + d) / 2}
        plane = (a + b + c + d) / 2
    return {"approximation": plane} | details


def _log_moment_ratio(shape: float) -> float:
    """Logarithm of (mean absolute value)^2 / (mean square) of a generalised Gaussian of that shape."""
    return float(2 * gammaln(2 / shape) - gammaln(1 / shape) - gammaln(3 / shape))


def generalised_gaussian_fit(sample: Tensor) -> GeneralisedGaussian:
    """Fit a zero-mean generalised Gaussian by matching mean absolute value and mean square.

    Moments rather than maximum likelihood, because differences of 8-bit pixels are exactly zero by the thousand: the
    likelihood then grows without bound as the shape goes to zero, while the two moments hardly notice.

    Args:
        sample: tensor of any shape, at least 100 values.

    Returns:
        Shape and scale.

    Raises:
        StatisticsError: for fewer than 100 values, or if all are zero.

    Source: Mallat (1989), doi 10.1109/34.192463; Sharifi and Leon-Garcia (1995), doi 10.1109/76.350779.
    """
    values = sample.flatten().to(torch.float64)
    if values.numel() < 100 or not values.any():
        raise StatisticsError("a tail needs at least 100 values that are not all zero")
    absolute, square = values.abs().mean().item(), values.square().mean().item()
    target = 2 * math.log(absolute) - math.log(square)
    if target <= _log_moment_ratio(SHAPE_RANGE[0]) or target >= _log_moment_ratio(SHAPE_RANGE[1]):
        shape = SHAPE_RANGE[0] if target < _log_moment_ratio(1.0) else SHAPE_RANGE[1]
    else:
        shape = float(brentq(lambda trial: _log_moment_ratio(trial) - target, *SHAPE_RANGE, xtol=1e-6))
    scale = absolute * math.exp(gammaln(1 / shape) - gammaln(2 / shape))
    return GeneralisedGaussian(shape, scale)


def _thinned(values: Tensor, most: int = 200_000) -> Tensor:
    """Take evenly spaced values, at most about `most`."""
    return values[:: max(1, -(-values.numel() // most))]


def misfit(sample: Tensor, fitted: GeneralisedGaussian) -> float:
    """Largest difference between the distribution functions of a sample and of a fit.

    Args:
        sample: tensor of any shape; at most 20,000 evenly spaced values are looked at.
        fitted: the fit.

    Returns:
        Kolmogorov-Smirnov distance, 0 to 1.
    """
    values = sample.flatten().to(torch.float64)
    thinned = _thinned(values, 20_000).sort().values
    size = gammainc(1 / fitted.shape, (thinned.abs() / fitted.scale).numpy() ** fitted.shape)
    model = 0.5 + 0.5 * thinned.sign() * torch.from_numpy(size)
    steps = torch.arange(len(thinned) + 1, dtype=torch.float64) / len(thinned)
    return torch.maximum((model - steps[:-1]).abs(), (model - steps[1:]).abs()).max().item()


def gradient_shape(img: Tensor) -> float:
    """Tail shape of the neighbouring-pixel differences of an image, see `gradients`."""
    return generalised_gaussian_fit(gradients(img)).shape


def wavelet_shape(img: Tensor) -> float:
    """Mean tail shape of the three bands of the finest Haar details of an image."""
    bands = haar(img)
    shapes = [generalised_gaussian_fit(bands[name]).shape for name in ("horizontal", "vertical", "diagonal")]
    return sum(shapes) / 3


def scale_distance(img: Tensor, factor: int) -> float:
    """How far the distribution of differences moves when the image shrinks, each standardised to unit spread.

    Args:
        img: image or grey plane, see `as_luminance`.
        factor: area-average factor, see `downscale`; of each size at most 200,000 evenly spaced values are compared.

    Returns:
        Kolmogorov-Smirnov distance between the two distributions, 0 (scale-invariant) to 1.

    Source: Ruderman and Bialek (1994), doi 10.1103/PhysRevLett.73.814, for the invariance.
    """
    from scipy.stats import ks_2samp

    plane = as_luminance(img)
    both = [gradients(view) for view in (plane, downscale(plane, factor))]
    first, second = (_thinned(values / values.std()).numpy() for values in both)
    return float(ks_2samp(first, second, method="asymp").statistic)
