"""How power falls with spatial frequency: ring averages of the periodogram and the slope of their power law.

Conventions: frequency in cycles per pixel (0.5 is Nyquist along an axis); power is scaled so that white noise of
variance v has power v at every frequency; the mean is removed under a Hann window, so that neither the DC term nor
the jump between opposite borders leaks into the rings; rings are spaced evenly in log frequency, so that every octave
weighs the same in the fit.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from helpers.statistics.luminance import StatisticsError, as_luminance

FIT_BAND = (0.01, 0.25)
"""Frequencies of the slope fit: above 0.25 cycles/pixel lens, demosaicing, sharpening and JPEG shape the spectrum."""


class Rings(NamedTuple):
    """Which cell of a spectrum belongs to which orientation sector and frequency ring (-1: to none)."""

    cell: Tensor  # int64 (height * (width // 2 + 1),): sector * rings + ring, or -1
    weight: Tensor  # float64, same shape: 2 for a cell that stands for its mirror image in the other half too, else 1
    cells: Tensor  # float64 (sectors, rings): number of spectrum cells of the full plane
    log_frequency: Tensor  # float64 (sectors, rings): sum of the logarithms of their frequencies


class RingPower(NamedTuple):
    """Power of one or more windows, summed over sectors and rings."""

    power: Tensor  # float64 (windows, sectors, rings)
    rings: Rings


@dataclass(frozen=True)
class SlopeFit:
    """A power law `power = c * frequency ** -slope` and how sure we are of its slope.

    Attributes:
        slope: the exponent alpha; 0 for white noise, near 2 for many natural scenes.
        low: lower end of the bootstrap interval.
        high: upper end of the bootstrap interval.
        r2: share of the variance of log power that the line explains.
        band: lowest and highest frequency of the fit, cycles per pixel.
        windows: number of windows that the frame was cut into.
    """

    slope: float
    low: float
    high: float
    r2: float
    band: tuple[float, float]
    windows: int


def hann_periodogram(luminance: Tensor) -> Tensor:
    """Square the Fourier amplitudes of a plane under a Hann window, mean removed.

    Args:
        luminance: float tensor (..., H, W).

    Returns:
        Tensor (..., H, W // 2 + 1), the half plane of non-negative horizontal frequencies; white noise of variance v
        has the expected value v in every cell that is far from DC.

    Source: Welch (1967), doi 10.1109/TAU.1967.1161901, modified periodogram.
    """
    height, width = luminance.shape[-2:]
    columns = torch.hann_window(height, dtype=luminance.dtype, device=luminance.device)
    window = torch.outer(columns, torch.hann_window(width, dtype=luminance.dtype, device=luminance.device))
    mean = (luminance * window).sum((-2, -1), keepdim=True) / window.sum()
    amplitude: Tensor = torch.fft.rfft2((luminance - mean) * window).abs()
    return amplitude.square() / window.square().sum()


def frequency_rings(height: int, width: int, band: tuple[float, float], rings: int, sectors: int = 1) -> Rings:
    """Sort the cells of a half-plane spectrum into log-spaced rings and equal orientation sectors.

    Args:
        height: rows of the plane that was transformed.
        width: columns of that plane.
        band: lowest and highest frequency in cycles per pixel.
        rings: number of rings.
        sectors: number of orientation sectors of the half plane.

    Returns:
        The sorting; rings without a cell have 0 cells.
    """
    vertical = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    horizontal = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :]
    radius = torch.hypot(vertical, horizontal).flatten()
    edges = torch.logspace(math.log10(band[0]), math.log10(band[1]), rings + 1, dtype=torch.float64)
    ring = torch.bucketize(radius, edges, right=True) - 1
    angle = torch.atan2(vertical, horizontal.expand(height, -1)).flatten() / torch.pi + 0.5
    sector = (angle * sectors).long().clamp(0, sectors - 1)
    inside = (ring >= 0) & (ring < rings)
    cell = torch.where(inside, sector * rings + ring, -1)
    doubled = (horizontal > 0) & (horizontal < 0.5)
    weight = torch.where(doubled, 2.0, 1.0).to(torch.float64).expand(height, -1).flatten()
    cells = torch.zeros(sectors * rings, dtype=torch.float64).index_add_(0, cell[inside], weight[inside])
    log_frequency = torch.zeros_like(cells).index_add_(0, cell[inside], (weight * radius.log())[inside])
    return Rings(cell, weight, cells.reshape(sectors, rings), log_frequency.reshape(sectors, rings))


def _sum_over_rings(periodogram: Tensor, rings: Rings) -> Tensor:
    """Add up the cells of each sector and ring: (windows, H, W // 2 + 1) -> (windows, sectors, rings)."""
    inside = rings.cell >= 0
    flat = (periodogram.reshape(len(periodogram), -1) * rings.weight)[:, inside]
    total = torch.zeros(len(flat), rings.cells.numel(), dtype=flat.dtype)
    return total.index_add_(1, rings.cell[inside], flat).reshape(len(flat), *rings.cells.shape)


def radial_power_spectrum(
    img: Tensor, rings: int = 24, band: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Average the periodogram of the whole frame over rings of equal frequency.

    Args:
        img: image or grey plane, see `as_luminance`.
        rings: number of rings, evenly spaced in log frequency; empty ones are left out.
        band: lowest and highest frequency in cycles per pixel; by default from two cycles along the shorter side up
            to 0.5.

    Returns:
        Frequencies (geometric mean within a ring, cycles per pixel) and mean power, both float64 (at most `rings`,).

    Source: Field (1987), doi 10.1364/JOSAA.4.002379.
    """
    plane = as_luminance(img)
    height, width = plane.shape
    sorting = frequency_rings(height, width, band or (2 / min(height, width), 0.5), rings)
    power = _sum_over_rings(hann_periodogram(plane)[None], sorting)[0, 0]
    kept = sorting.cells[0] > 0
    cells = sorting.cells[0][kept]
    return (sorting.log_frequency[0][kept] / cells).exp(), power[kept] / cells


def fit_line(log_frequency: Tensor, log_power: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fit straight lines by least squares.

    Args:
        log_frequency: (..., rings).
        log_power: (..., rings).
        weight: (..., rings), 0 leaves a ring out; by default 1.

    Returns:
        Slope alpha (the negative steepness) and r2, both (...).
    """
    weight = torch.ones_like(log_power) if weight is None else weight
    total = weight.sum(-1, keepdim=True)
    x = log_frequency - (weight * log_frequency).sum(-1, keepdim=True) / total
    y = log_power - (weight * log_power).sum(-1, keepdim=True) / total
    cross, square = (weight * x * y).sum(-1), (weight * x * x).sum(-1)
    return -cross / square, cross.square() / (square * (weight * y * y).sum(-1)).clamp_min(1e-300)


def _cut_windows(plane: Tensor) -> Tensor:
    """Cut a plane into 3 x 3 windows of half its sides (at least 128 pixels where it has them), evenly placed."""
    sides = [max(side // 2, min(side, 128)) for side in plane.shape]
    starts = [
        torch.linspace(0, side - window, 3 if side > window else 1).round().long().tolist()
        for side, window in zip(plane.shape, sides, strict=True)
    ]
    return torch.stack([plane[top : top + sides[0], left : left + sides[1]] for top in starts[0] for left in starts[1]])


def _weighted_slope(measured: RingPower, window_weight: Tensor, sector_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and r2 of the mean spectrum under weights: (draws, windows) and (draws, sectors) -> (draws,) each."""
    power = torch.einsum("dw,ds,wsr->dr", window_weight, sector_weight, measured.power)
    cells = sector_weight @ measured.rings.cells
    present = cells > 0
    mean_power = power / (cells * window_weight.sum(-1, keepdim=True))
    log_power = torch.where(present, mean_power.clamp_min(1e-300).log(), 0.0)
    log_frequency = torch.where(present, sector_weight @ measured.rings.log_frequency / cells, 0.0)
    return fit_line(log_frequency, log_power, present.to(torch.float64))


def _multiplicities(draws: int, units: int, generator: torch.Generator) -> Tensor:
    """How often each of `units` is drawn with replacement, (draws, units); ones where there is a single unit."""
    chosen = torch.randint(units, (draws, units), generator=generator)
    return torch.zeros(draws, units, dtype=torch.float64).scatter_add_(
        1, chosen, torch.ones(chosen.shape, dtype=torch.float64)
    )


def spectral_slope(
    img: Tensor,
    band: tuple[float, float] = FIT_BAND,
    rings: int = 16,
    draws: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> SlopeFit:
    """Fit the power law of a photograph, with an interval that covers another framing of the same scene.

    The spectrum is averaged over nine windows of half the frame's sides, which overlap by half, in twelve orientation
    sectors. The bootstrap draws windows and, independently, sectors: neither the rings of one spectrum (they share
    edges) nor the cells of one ring (one long edge fills a whole sector) are independent witnesses, so that the usual
    standard error of the line is far too small. A plane with sides of 128 pixels or fewer is one window; its interval
    then covers the orientations only.

    Args:
        img: image or grey plane, see `as_luminance`.
        band: lowest and highest frequency in cycles per pixel; the lower end rises to four cycles per window side.
        rings: number of log-spaced rings within the band.
        draws: number of bootstrap draws.
        level: coverage that the interval aims at.
        seed: seed of the bootstrap.

    Returns:
        The fit; low and high are percentiles of the bootstrap.

    Raises:
        StatisticsError: if the plane is constant or the band is empty.

    Source: Welch (1967) for the averaged windows; Owen (2007), doi 10.1214/07-AOAS122, for the crossed bootstrap.
    """
    windows = _cut_windows(as_luminance(img))
    height, width = windows.shape[-2:]
    band = (max(band[0], 4 / min(height, width)), band[1])
    if band[0] >= band[1] / 1.5:
        raise StatisticsError(f"no room for a fit between {band[0]:.3f} and {band[1]:.3f} cycles per pixel")
    sorting = frequency_rings(height, width, band, rings, sectors=12)
    measured = RingPower(_sum_over_rings(hann_periodogram(windows), sorting), sorting)
    if measured.power.sum() < 1e-12:
        raise StatisticsError("the image is constant: it has no spectrum to fit")
    ones = torch.ones(1, 12, dtype=torch.float64)
    slope, r2 = _weighted_slope(measured, torch.ones(1, len(windows), dtype=torch.float64), ones)
    rng = torch.Generator().manual_seed(seed)
    drawn, _ = _weighted_slope(measured, _multiplicities(draws, len(windows), rng), _multiplicities(draws, 12, rng))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(drawn, tails).tolist()
    return SlopeFit(slope.item(), low, high, r2.item(), band, len(windows))
