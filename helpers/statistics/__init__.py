"""Statistics of natural images: spectra, tails, first digits, neighbours, and how stable they are.

Taught in: notebook 01.
"""

from helpers.statistics.benford import (
    OFF_GRID,
    ON_GRID,
    SMALLEST_COEFFICIENT,
    benford_distance,
    benford_divergence,
    benford_histogram,
    benford_law,
    block_dct,
    first_digits,
)
from helpers.statistics.luminance import StatisticsError, as_luminance, clipped, downscale, linear_light
from helpers.statistics.neighbours import conditional_spread, detail_clustering, neighbour_correlation
from helpers.statistics.spectra import (
    FIT_BAND,
    SlopeFit,
    fit_line,
    frequency_rings,
    hann_periodogram,
    radial_power_spectrum,
    spectral_slope,
)
from helpers.statistics.stability import (
    STATISTICS,
    Statistic,
    measure,
    stability_summary,
    stability_table,
    standardised_shift,
)
from helpers.statistics.synthetic import dead_leaves, generalised_gaussian_sample, phase_scramble, power_law_noise
from helpers.statistics.tails import (
    GeneralisedGaussian,
    generalised_gaussian_fit,
    gradient_shape,
    gradients,
    haar,
    misfit,
    scale_distance,
    wavelet_shape,
)

__all__ = [
    "FIT_BAND",
    "OFF_GRID",
    "ON_GRID",
    "SMALLEST_COEFFICIENT",
    "STATISTICS",
    "GeneralisedGaussian",
    "SlopeFit",
    "Statistic",
    "StatisticsError",
    "as_luminance",
    "benford_distance",
    "benford_divergence",
    "benford_histogram",
    "benford_law",
    "block_dct",
    "clipped",
    "conditional_spread",
    "dead_leaves",
    "detail_clustering",
    "downscale",
    "first_digits",
    "fit_line",
    "frequency_rings",
    "generalised_gaussian_fit",
    "generalised_gaussian_sample",
    "gradient_shape",
    "gradients",
    "haar",
    "hann_periodogram",
    "linear_light",
    "measure",
    "misfit",
    "neighbour_correlation",
    "phase_scramble",
    "power_law_noise",
    "radial_power_spectrum",
    "scale_distance",
    "spectral_slope",
    "stability_summary",
    "stability_table",
    "standardised_shift",
    "wavelet_shape",
]
