"""The stability table: every statistic of every photograph at several scales, and how much of it is law."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.statistics.benford import benford_distance
from helpers.statistics.luminance import StatisticsError, as_luminance, downscale
from helpers.statistics.neighbours import detail_clustering, neighbour_correlation
from helpers.statistics.spectra import spectral_slope
from helpers.statistics.synthetic import phase_scramble
from helpers.statistics.tails import gradient_shape, wavelet_shape


@dataclass(frozen=True)
class Statistic:
    """One number that an image is boiled down to."""

    title: str
    function: Callable[[Tensor], float]


STATISTICS: dict[str, Statistic] = {
    "slope": Statistic("spectral slope", lambda img: spectral_slope(img, draws=1).slope),
    "gradient_shape": Statistic("gradient tail shape", gradient_shape),
    "wavelet_shape": Statistic("wavelet tail shape", wavelet_shape),
    "benford": Statistic("Benford divergence (millibit)", benford_distance),
    "neighbour_correlation": Statistic("neighbour correlation", lambda img: neighbour_correlation(img).mean().item()),
    "detail_clustering": Statistic("detail clustering", detail_clustering),
}


def measure(img: Tensor) -> dict[str, float]:
    """Boil an image down to the numbers of `STATISTICS`.

    Args:
        img: image or grey plane, see `as_luminance`.

    Returns:
        Name of the statistic -> value; NaN where it is not defined (a band of details that are all zero).
    """
    plane = as_luminance(img)
    return {name: _value_or_nan(statistic, plane) for name, statistic in STATISTICS.items()}


def _value_or_nan(statistic: Statistic, plane: Tensor) -> float:
    """Value of a statistic, NaN where it is not defined."""
    try:
        return statistic.function(plane)
    except StatisticsError:
        return math.nan


def _round_to_bytes(plane: Tensor) -> Tensor:
    """Store a plane in 8 bits and read it back, as a file would."""
    return (plane.clamp(0, 1) * 255).round() / 255


def stability_table(
    images: Mapping[str, Tensor],
    scales: Sequence[int] = (1, 2, 4),
    sources: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure every image at every scale, and its phase-scrambled copy beside it.

    Args:
        images: name -> image or grey plane, see `as_luminance`.
        scales: area-average factors, the first is the reference.
        sources: name -> photograph that it comes from (the two views of a stereo pair share one); by default the name.
        seed: seed of the scrambled phases.

    Returns:
        One row per image, scale and statistic: photograph, source, scale, statistic, value, scrambled.
    """
    rows = []
    for name, img in images.items():
        generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))  # whatever the other images are
        plane = as_luminance(img)
        control = _round_to_bytes(phase_scramble(plane, generator))
        for scale in scales:
            values, scrambled = measure(downscale(plane, scale)), measure(downscale(control, scale))
            rows += [
                (name, (sources or {}).get(name, name), scale, key, values[key], scrambled[key]) for key in STATISTICS
            ]
    return pd.DataFrame(rows, columns=["photograph", "source", "scale", "statistic", "value", "scrambled"])


def standardised_shift(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of `second - first` in units of the pooled spread between images (Cohen's d for groups of equal size).

    Args:
        first: values (..., n).
        second: values (..., n) of the same images under another condition.
        axis: axis of the images.

    Returns:
        Array (...): 0 no shift, 1 as large as the usual difference between two images.

    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), ch. 2.
    """
    pooled = (np.var(first, axis=axis, ddof=1) + np.var(second, axis=axis, ddof=1)) / 2
    shift: np.ndarray = np.mean(second - first, axis=axis) / np.sqrt(np.maximum(pooled, 1e-30))
    return shift


def _interval(samples: tuple[np.ndarray, ...], function: Callable[..., np.ndarray]) -> tuple[float, float, float]:
    """Value of a function of paired samples, and its 95 % percentile bootstrap interval over images."""
    from scipy.stats import bootstrap

    result = bootstrap(
        samples, function, paired=True, vectorized=True, method="percentile", n_resamples=2000, rng=0
    ).confidence_interval
    return float(function(*samples)), float(result.low), float(result.high)


def stability_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up a stability table: level, spread, shift under shrinking, contrast with the scrambled copies.

    Rows of one source are averaged first, so that a source counts once and the bootstrap draws sources. A source
    whose value is not defined is left out of that statistic.

    Args:
        table: as made by `stability_table`, at least two scales and three sources.

    Returns:
        One row per statistic: `sources`, their number; `median` at the first scale; `spread`, the standard deviation
        between sources; `scale_shift`, the standardised shift from the first to the last scale; `edge_effect`, the
        standardised shift from the scrambled copies to the photographs; `median`, `scale_shift` and `edge_effect`
        with `_low` and `_high`, the 95 % interval.

    Raises:
        StatisticsError: for fewer than two scales, or fewer than three sources with a value.
    """
    if table["scale"].nunique() < 2:
        raise StatisticsError("a summary compares at least two scales")
    return pd.DataFrame([_summarise(rows, str(name)) for name, rows in table.groupby("statistic", sort=False)])


def _summarise(rows: pd.DataFrame, name: str) -> dict[str, str | float]:
    """Sum up the rows of one statistic."""
    first, last = rows["scale"].iloc[0], rows["scale"].iloc[-1]
    means = rows.pivot_table(index="source", columns="scale", values=["value", "scrambled"], dropna=False)
    columns = [("value", first), ("value", last), ("scrambled", first)]
    value, shrunk, scrambled = means[columns].dropna().to_numpy().T
    if len(value) < 3:
        raise StatisticsError(f"{name}: a summary needs at least three sources, got {len(value)}")
    row: dict[str, str | float] = {"statistic": name, "sources": len(value), "spread": float(value.std(ddof=1))}
    estimates = {
        "median": _interval((value,), np.median),
        "scale_shift": _interval((value, shrunk), standardised_shift),
        "edge_effect": _interval((scrambled, value), standardised_shift),
    }
    for key, estimate in estimates.items():
        row |= dict(zip((key, f"{key}_low", f"{key}_high"), estimate, strict=True))
    return row
