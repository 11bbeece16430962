"""Images and samples whose statistics are known beforehand: they check the estimators and forge the statistics."""

import numpy as np
import torch
from torch import Tensor

from helpers.statistics.luminance import as_luminance


def _standardise(plane: Tensor) -> Tensor:
    """Give a plane mean 0 and variance 1."""
    return (plane - plane.mean()) / plane.std(correction=0)


def power_law_noise(size: tuple[int, int], alpha: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise with power proportional to frequency ** -alpha.

    It is cut out of a torus of twice the size, so that opposite borders do not match (those of a photograph do not).

    Args:
        size: height and width in pixels.
        alpha: exponent of the power spectrum, 0 for white noise.
        generator: source of randomness.

    Returns:
        float64 tensor (height, width), mean 0 and variance 1.
    """
    height, width = 2 * size[0], 2 * size[1]
    vertical, horizontal = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    radius = torch.hypot(vertical, horizontal).to(torch.float64)
    radius[0, 0] = torch.inf
    white = torch.randn(height, width, generator=generator, dtype=torch.float64)
    amplitude = radius ** (-alpha / 2) if alpha else torch.isfinite(radius).to(torch.float64)
    torus = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(height, width))
    return _standardise(torus[: size[0], : size[1]])


def generalised_gaussian_sample(count: int, shape: float, scale: float, generator: torch.Generator) -> Tensor:
    """Draw from the density `p(x) ~ exp(-|x / scale| ** shape)`.

    Args:
        count: number of values.
        shape: beta, positive.
        scale: alpha, positive.
        generator: source of randomness.

    Returns:
        float64 tensor (count,).

    Source: if g is a Gamma(1 / shape) variable, then scale * g ** (1 / shape) with a random sign has this density.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    size = rng.standard_gamma(1 / shape, count) ** (1 / shape)
    return torch.from_numpy(scale * size * rng.choice((-1.0, 1.0), count))


def phase_scramble(img: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the Fourier amplitudes of an image and draw its phases anew: same spectrum, no edges.

    Args:
        img: image or grey plane, see `as_luminance`.
        generator: source of randomness.

    Returns:
        float64 tensor (H, W) with the mean and the variance of the plane; values may leave [0, 1].
    """
    plane = as_luminance(img)
    noise = torch.fft.rfft2(torch.randn(plane.shape, generator=generator, dtype=torch.float64))
    phase = noise / noise.abs()
    phase[0, 0] = 1
    scrambled: Tensor = torch.fft.irfft2(torch.fft.rfft2(plane).abs() * phase, s=plane.shape)
    return scrambled


def dead_leaves(
    size: tuple[int, int], generator: torch.Generator, radii: tuple[float, float] = (4.0, 256.0), discs: int = 4000
) -> Tensor:
    """Paint opaque discs over one another, of all sizes and random greys: statistics of a photograph, but no scene.

    Args:
        size: height and width in pixels.
        generator: source of randomness.
        radii: smallest and largest radius in pixels; the density falls with the cube of the radius.
        discs: number of discs.

    Returns:
        float64 tensor (height, width) in [0, 1].

    Source: Lee, Mumford and Huang (2001), doi 10.1023/A:1011109015675.
    """
    height, width = size
    uniform = torch.rand(4, discs, generator=generator, dtype=torch.float64)
    inverse = radii[1] ** -2 + uniform[0] * (radii[0] ** -2 - radii[1] ** -2)
    radius, grey = inverse**-0.5, uniform[3]
    row = uniform[1] * (height + 2 * radii[1]) - radii[1]
    column = uniform[2] * (width + 2 * radii[1]) - radii[1]
    plane = torch.full(size, 0.5, dtype=torch.float64)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for y, x, r, value in torch.stack((row, column, radius, grey), 1).tolist():
        top, left = max(0, int(y - r)), max(0, int(x - r))
        part = (slice(top, max(top, int(y + r) + 2)), slice(left, max(left, int(x + r) + 2)))
        plane[part][(rows[part[0]] - y) ** 2 + (columns[part[1]] - x) ** 2 <= r * r] = value
    return plane
