"""Figures of natural-image statistics, shared by lesson 01 and its explorer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from helpers.course.figures import (
    FAKE_STYLE,
    PALETTE,
    REAL_STYLE,
    figure,
    line_style,
)
from helpers.course.widgets import explorer
from helpers.data.images import decode, encode_jpeg
from helpers.statistics import (
    STATISTICS,
    StatisticsError,
    as_luminance,
    benford_histogram,
    benford_law,
    block_dct,
    conditional_spread,
    downscale,
    gradients,
    haar,
    phase_scramble,
    radial_power_spectrum,
)

REFERENCE: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 2}
"""How a law or a Gaussian is drawn beside measurements."""
SPREADS = np.linspace(-12.125, 12.125, 98)
"""Edges of the histogram of differences, in standard deviations."""


def _style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of a series, see `helpers.course.figures.line_style`."""
    return {**line_style(index)}


def plot_spectrum(ax: Axes, img: Tensor, label: str, index: int = 0) -> None:
    """Draw the radial power spectrum of an image on logarithmic axes.

    Args:
        ax: axes.
        img: image or grey plane, see `helpers.statistics.as_luminance`.
        label: entry of the legend.
        index: number of the series, for colour and marker.
    """
    frequency, power = radial_power_spectrum(img)
    ax.loglog(frequency.numpy(), power.numpy(), label=label, markersize=4, **_style(index))
    ax.set(xlabel="spatial frequency (cycles/pixel)", ylabel="power (luminance²)")


def plot_power_law(ax: Axes, alpha: float = 2.0, start: tuple[float, float] = (0.01, 1.0)) -> None:
    """Draw the line `power ~ frequency ** -alpha` through a point (frequency, power) as a guide for the eye."""
    frequency = np.array([start[0], 0.5])
    ax.loglog(frequency, start[1] * (frequency / start[0]) ** -alpha, label=f"guide, slope {alpha:g}", **REFERENCE)


def plot_differences(ax: Axes, img: Tensor, label: str, index: int = 0) -> None:
    """Draw the histogram of neighbouring-pixel differences, in units of their standard deviation, on a log axis.

    Args:
        ax: axes.
        img: image or grey plane.
        label: entry of the legend.
        index: number of the series, for colour and marker.
    """
    values = gradients(img)
    density, _ = np.histogram((values / values.std()).numpy(), SPREADS)
    share = density / values.numel() / (SPREADS[1] - SPREADS[0])
    shown = np.where(share > 0, share, np.nan)
    ax.semilogy((SPREADS[1:] + SPREADS[:-1]) / 2, shown, label=label, markersize=3, markevery=6, **_style(index))
    ax.set(xlabel="difference (s.d.)", ylabel="density", ylim=(1e-6, 20))


def plot_gaussian(ax: Axes) -> None:
    """Draw the density of a standard Gaussian on the axes of `plot_differences`."""
    x = np.linspace(-5, 5, 101)
    ax.semilogy(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), label="Gaussian", **REFERENCE)


def plot_digits(ax: Axes, img: Tensor, label: str, index: int = 0, offset: tuple[int, int] = (4, 4)) -> None:
    """Draw the shares of first digits of block-DCT coefficients.

    Args:
        ax: axes.
        img: image or grey plane.
        label: entry of the legend.
        index: number of the series, for colour and marker.
        offset: first row and column of the grid of blocks.
    """
    shares = benford_histogram(block_dct(img, offset=offset))
    ax.plot(range(1, 10), shares.numpy(), label=label, **_style(index))
    ax.set(xlabel="first digit", ylabel="share of coefficients", xticks=range(1, 10), ylim=(0, 0.42))


def plot_law(ax: Axes) -> None:
    """Draw Benford's law on the axes of `plot_digits`."""
    ax.plot(range(1, 10), benford_law().numpy(), label="Benford's law", **REFERENCE)


def plot_clustering(ax: Axes, img: Tensor, label: str, index: int = 0) -> None:
    """Draw the spread of a vertical Haar detail against the size of the detail above it.

    Args:
        ax: axes.
        img: image or grey plane.
        label: entry of the legend.
        index: number of the series, for colour and marker.
    """
    detail = haar(img)["vertical"]
    size, spread = conditional_spread(detail[:-1], detail[1:])
    ax.plot(size.numpy(), spread.numpy(), label=label, **_style(index))
    ax.set(xlabel="size of the detail above (standard deviations)", ylabel="spread of this detail (s.d.)")


def plot_independence(ax: Axes) -> None:
    """Draw what independent details would give on the axes of `plot_clustering`."""
    ax.axhline(1, label="independent", **REFERENCE)


@dataclass(frozen=True)
class StatisticCurve:
    """A statistic as a curve: what is drawn for the image, and what for comparison."""

    curve: Callable[..., None]
    reference: Callable[[Axes], None]


STATISTIC_CURVES: dict[str, StatisticCurve] = {
    "differences": StatisticCurve(plot_differences, plot_gaussian),
    "spectrum": StatisticCurve(plot_spectrum, plot_power_law),
    "first digits": StatisticCurve(plot_digits, plot_law),
    "clustering": StatisticCurve(plot_clustering, plot_independence),
}


def statistic_figure(img: Tensor, view: str, label: str) -> Figure:
    """Put a picture and one of its statistics side by side.

    Args:
        img: image or grey plane.
        view: key of `STATISTIC_CURVES`.
        label: what the curve is called.

    Returns:
        The figure.
    """
    plane = as_luminance(img)
    fig: Figure
    fig, (left, right) = figure(1, 2, width=8, height=3.4)
    left.imshow(plane.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    left.set(title=f"{label}, {plane.shape[1]} x {plane.shape[0]}", xticks=[], yticks=[])
    try:
        STATISTIC_CURVES[view].curve(right, plane, label)
    except StatisticsError as error:
        right.set_title(str(error), fontsize=9)
    STATISTIC_CURVES[view].reference(right)
    right.legend()
    return fig


def stability_figure(table: pd.DataFrame, names: list[str]) -> Figure:
    """Show every statistic of every photograph: three scales, and the copy with scrambled phases.

    Args:
        table: as made by `helpers.statistics.stability_table`.
        names: photographs from top to bottom.

    Returns:
        Figure of one panel per statistic.
    """
    fig: Figure
    fig, axes = figure(3, 2, width=8, height=11, sharey=True)
    for ax, (key, statistic) in zip(axes.flat, STATISTICS.items(), strict=True):
        rows = table[table["statistic"] == key].pivot_table(
            index="photograph", columns="scale", values=["value", "scrambled"], dropna=False
        )
        rows = rows.reindex(names)
        y = np.arange(len(names))
        scales = sorted(table["scale"].unique())
        ax.plot(rows["scrambled", scales[0]], y, label="phases scrambled", **FAKE_STYLE | {"linestyle": "none"})
        for scale, size in zip(scales, (8, 5.5, 3.5), strict=False):
            label = "photograph, native size" if scale == 1 else f"shrunk {scale} times"
            fill = PALETTE[0] if scale == 1 else "white"
            style = REAL_STYLE | {"linestyle": "none", "markersize": size, "markerfacecolor": fill}
            ax.plot(rows["value", scale], y, label=label, **style)
        ax.set(xlabel=statistic.title, yticks=y, yticklabels=[name.replace("_", " ") for name in names])
        ax.margins(y=0.04)
    axes[0, 0].invert_yaxis()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig


def _blurred(img: Tensor) -> Tensor:
    """Blur an image by a Gaussian of 1.5 pixels."""
    from torchvision.transforms.functional import gaussian_blur  # it takes seconds to import, and few ask for it

    blurred: Tensor = gaussian_blur(img, [9, 9], [1.5, 1.5])
    return blurred


def altered_copies() -> dict[str, Callable[[Tensor], Tensor]]:
    """Name the copies that the statistic explorer compares: what each does to an image, uint8 (3, H, W).

    Each returns an image or a grey plane.
    """
    seeded = torch.Generator().manual_seed
    return {
        "as it is": lambda img: img,
        "phases scrambled": lambda img: phase_scramble(img, seeded(0)),
        "saved as JPEG 40": lambda img: decode(encode_jpeg(img, 40)),
        "blurred": _blurred,
        "enlarged 2 times": lambda img: img.repeat_interleave(2, -2).repeat_interleave(2, -1),
    }


def statistic_explorer(images: Mapping[str, Tensor]) -> None:
    """Show any statistic of any photograph at any scale, as it is or altered.

    Args:
        images: name -> image, uint8 (3, H, W).
    """
    copies = altered_copies()

    def draw(statistic: str, photograph: str, copy: str, shrunk: int) -> Figure:
        plane = downscale(as_luminance(copies[copy](images[photograph])), shrunk)
        return statistic_figure(plane, statistic, f"{photograph.replace('_', ' ')}, {copy}")

    alt = "Left, a grey picture; right, one of its statistics as a curve, with a dotted line for comparison."
    explorer(draw, alt, statistic=list(STATISTIC_CURVES), photograph=list(images), copy=list(copies), shrunk=[1, 2, 4])
