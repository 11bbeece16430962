"""What is left of an image when its content is taken away, and what upsampling writes into it.

Content lives in low frequencies, the marks of a generator in the relations of neighbouring pixels. A *residual* keeps
the latter. Averaged over many images of one generator, content cancels and what all of them share remains: the
*fingerprint*.

All functions take images as uint8 (n, 3, H, W) or float (n, c, H, W), and keep the pixel lattice: entry (i, j) of a
residual belongs to pixel (i, j). Residuals are in grey levels, 0..255.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "KERNELS",
    "RESIDUALS",
    "denoising_residual",
    "diagonal_residual",
    "difference_residual",
    "fingerprint",
    "fingerprint_correlation",
    "kernel_response",
    "log_spectrum",
    "median_residual",
    "phase_gains",
    "predicted_spectrum",
    "residual_levels",
    "split_half_correlation",
    "upsample",
    "zero_insert",
]


def _padded_windows(images: Tensor, size: int) -> Tensor:
    """All size x size neighbourhoods, edges mirrored: (n, c, H, W) -> (n, c, H, W, size * size)."""
    reach = size // 2
    padded = F.pad(images.float(), (reach, reach, reach, reach), mode="reflect")
    return padded.unfold(2, size, 1).unfold(3, size, 1).flatten(4)


def difference_residual(images: Tensor) -> Tensor:
    """Each pixel minus the mean of its right and its lower neighbour (edges mirrored).

    Args:
        images: (n, c, H, W), 0..255.

    Returns:
        float32, (n, c, H, W).
    """
    padded = F.pad(images.float(), (0, 1, 0, 1), mode="reflect")
    return padded[..., :-1, :-1] - (padded[..., :-1, 1:] + padded[..., 1:, :-1]) / 2


def median_residual(images: Tensor, size: int = 3) -> Tensor:
    """Each pixel minus the median of its neighbourhood.

    Args:
        images: (n, c, H, W), 0..255.
        size: Odd side of the neighbourhood.

    Returns:
        float32, (n, c, H, W).
    """
    return images.float() - _padded_windows(images, size).median(dim=-1).values


def denoising_residual(images: Tensor, size: int = 3, noise: float = 4.0) -> Tensor:
    """Each pixel minus a local Wiener estimate of it: strong where the neighbourhood is flat, weak at edges.

    Args:
        images: (n, c, H, W), 0..255.
        size: Odd side of the neighbourhood.
        noise: Standard deviation that is taken for noise, in grey levels.

    Returns:
        float32, (n, c, H, W).

    Source: Lee, Digital image enhancement and noise filtering by use of local statistics, IEEE PAMI 2(2), 1980; in the
        role that the wavelet denoiser has in Lukas, Fridrich, Goljan, IEEE TIFS 1(2), 2006.
    """
    reach = size // 2
    padded = F.pad(images.double(), (reach, reach, reach, reach), mode="reflect")
    mean = _box_mean(padded, size)
    variance = _box_mean(padded.square(), size) - mean.square()
    share = (variance - noise**2).clamp(min=0) / variance.clamp(min=noise**2)
    return ((images - mean) * (1 - share)).float()


def _box_mean(planes: Tensor, size: int) -> Tensor:
    """Mean of each size x size window: (..., H, W) -> (..., H - size + 1, W - size + 1)."""
    for dim in (-2, -1):
        count = planes.shape[dim] - size + 1
        shifted = [planes.narrow(dim, start, count) for start in range(size)]
        planes = sum(shifted[1:], start=shifted[0]) / size
    return planes


def diagonal_residual(images: Tensor) -> Tensor:
    """The diagonal Haar detail (HH) of every 2 x 2 block, not only of every second (edges mirrored).

    Args:
        images: (n, c, H, W), 0..255.

    Returns:
        float32, (n, c, H, W); entry (i, j) is (x[i,j] - x[i,j+1] - x[i+1,j] + x[i+1,j+1]) / 2.
    """
    padded = F.pad(images.float(), (0, 1, 0, 1), mode="reflect")
    a, b = padded[..., :-1, :-1], padded[..., :-1, 1:]
    c, d = padded[..., 1:, :-1], padded[..., 1:, 1:]
    return (a - b - c + d) / 2


RESIDUALS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "difference": difference_residual,
        "median": median_residual,
        "denoising": denoising_residual,
        "diagonal": diagonal_residual,
    }
)
"""The residuals by name, each with its default settings."""


# Spectra


def log_spectrum(residuals: Tensor) -> Tensor:
    """Power spectrum of each residual, in decibels, averaged over colours.

    Args:
        residuals: float, (n, c, H, W).

    Returns:
        float32, (n, H, W), frequency 0 at entry (H // 2, W // 2), that is `torch.fft.fftshift` order.
    """
    return 10 * torch.log10(_power(residuals) + 1e-3)


def residual_levels(images: Tensor, residual: str = "denoising") -> Tensor:
    """Power spectrum of each image's residual, in decibels; 128 images at a time, as windows take nine times as much.

    Args:
        images: uint8, (n, 3, H, W).
        residual: One of `RESIDUALS`.

    Returns:
        float32, (n, H, W), frequency 0 in the middle.
    """
    function = RESIDUALS[residual]
    return torch.cat([log_spectrum(function(images[start : start + 128])) for start in range(0, len(images), 128)])


def _power(residuals: Tensor) -> Tensor:
    """(n, c, H, W) -> (n, H, W): squared transform through a Hann window of unit energy, mean over channels."""
    height, width = residuals.shape[-2:]
    window = torch.outer(torch.hann_window(height), torch.hann_window(width)).to(residuals)
    window = window / window.square().sum().sqrt()
    centred = residuals.float() - residuals.float().mean(dim=(-2, -1), keepdim=True)
    power = torch.fft.fft2(centred * window).abs().square().mean(dim=1)
    shifted: Tensor = torch.fft.fftshift(power, dim=(-2, -1))
    return shifted


# Fingerprints


def fingerprint(residuals: Tensor) -> Tensor:
    """Average residuals of one generator: content cancels, what they share stays.

    Args:
        residuals: float, (n, c, H, W), of images that share the pixel lattice.

    Returns:
        float32, (c, H, W), mean 0 per channel and unit length in all.

    Source: Marra, Gragnaniello, Verdoliva, Poggi, Do GANs leave artificial fingerprints?, MIPR 2019
        (arXiv 1812.11842), equations 1 to 3.
    """
    return _unit(residuals.float().mean(dim=0, keepdim=True))[0]


def _unit(residuals: Tensor) -> Tensor:
    """Remove the mean of each channel and scale each item to unit length."""
    centred = residuals.float() - residuals.float().mean(dim=(-2, -1), keepdim=True)
    length = centred.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return centred / length.clamp(min=1e-9)


def fingerprint_correlation(residuals: Tensor, prints: Tensor) -> Tensor:
    """Correlate each residual with each fingerprint.

    Args:
        residuals: float, (n, c, H, W).
        prints: float, (k, c, H, W), as `fingerprint` makes them.

    Returns:
        float32, (n, k), each in -1..1.

    Source: Marra et al. 2019 (arXiv 1812.11842), equation 4.
    """
    return _unit(residuals).flatten(1) @ _unit(prints).flatten(1).T


def split_half_correlation(residuals: Tensor, generator: torch.Generator) -> float:
    """Correlate the fingerprints of two random halves of a set: near 0 without a common mark, near 1 with one.

    Args:
        residuals: float, (n, c, H, W), n at least 2.
        generator: Chooses the halves.

    Returns:
        -1..1.
    """
    order = torch.randperm(len(residuals), generator=generator)
    first, second = (fingerprint(residuals[half]) for half in order.chunk(2))
    return float((first * second).sum())


# Upsampling: insert zeros, then convolve


KERNELS: Mapping[str, Tensor] = MappingProxyType(
    {
        "zeros": torch.tensor([1.0]),
        "nearest": torch.tensor([1.0, 1.0]),
        "bilinear": torch.tensor([0.25, 0.75, 0.75, 0.25]),
        "blurred": torch.tensor([0.25, 0.75, 0.75, 0.25]),
    }
)
"""Kernels that follow the insertion of zeros, one axis each; every one doubles the size.

Nearest neighbour, blurred by [1 2 1] / 4, is the same kernel as bilinear interpolation: (1 1) * (1 2 1) / 4.
"""


def zero_insert(x: Tensor, factor: int = 2) -> Tensor:
    """Lay pixels `factor` apart and fill the gaps with zeros.

    Args:
        x: (..., H, W).
        factor: At least 1.

    Returns:
        (..., factor H, factor W).
    """
    larger = x.new_zeros(*x.shape[:-2], factor * x.shape[-2], factor * x.shape[-1])
    larger[..., ::factor, ::factor] = x
    return larger


def upsample(x: Tensor, kernel: Tensor, factor: int = 2) -> Tensor:
    """Insert zeros, then convolve both axes with a kernel, periodically.

    Args:
        x: float, (..., H, W).
        kernel: (k,), applied to rows and to columns; entry 0 falls on the inserted pixel itself.
        factor: Enlargement.

    Returns:
        (..., factor H, factor W).
    """
    larger = zero_insert(x, factor)
    spectrum = torch.fft.fft2(larger)
    filtered: Tensor = torch.fft.ifft2(spectrum * kernel_response(kernel, *larger.shape[-2:]))
    return filtered.real.to(x.dtype)


def kernel_response(kernel: Tensor, height: int, width: int) -> Tensor:
    """Frequency response of a kernel that is applied along both axes.

    Args:
        kernel: (k,), k at most height and width.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        complex, (height, width), in `torch.fft.fft2` order.
    """
    rows, columns = (torch.fft.fft(kernel.double(), n=size) for size in (height, width))
    return torch.outer(rows, columns)


def predicted_spectrum(spectrum: Tensor, kernel: Tensor, factor: int = 2) -> Tensor:
    """Predict the spectrum after upsampling: copies of the old one side by side, times the kernel's response.

    Inserting zeros between samples repeats the spectrum: the sum over pixels has the same terms, and its complex wave
    returns after H (not factor H) steps of frequency. What the kernel does not remove of the copies stays as a mark.

    Args:
        spectrum: complex, (..., H, W), the `torch.fft.fft2` of the small image.
        kernel: (k,).
        factor: Enlargement.

    Returns:
        complex, (..., factor H, factor W).

    Source: Durall, Keuper, Keuper, Watch your up-convolution, CVPR 2020 (arXiv 2003.01826), section 3.1; Oppenheim,
        Schafer, Discrete-time signal processing, section 4.6.
    """
    copies = spectrum.repeat(*(1 for _ in spectrum.shape[:-2]), factor, factor)
    return copies * kernel_response(kernel, *copies.shape[-2:])


def phase_gains(kernel: Tensor, factor: int = 2) -> Tensor:
    """Gain that a transposed convolution gives to a flat image, for each position within its stride.

    Unequal gains paint a checkerboard on a flat area. They are equal if the kernel's length is a multiple of the stride
    and its weights agree; learned weights need not.

    Args:
        kernel: (k, k), or (k,) for one axis.
        factor: Stride.

    Returns:
        (factor, factor), or (factor,): sums of the weights that reach each position.

    Source: Odena, Dumoulin, Olah, Distill 2016, doi 10.23915/distill.00003.
    """
    gains = kernel
    for axis in range(kernel.ndim):
        parts = [gains.movedim(axis, 0)[phase::factor].sum(0) for phase in range(factor)]
        gains = torch.stack(parts).movedim(0, axis)
    return gains
