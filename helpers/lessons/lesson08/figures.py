"""Figures of lesson 08: where the time goes, what more workers bring, and the roofline."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from helpers.course.figures import PALETTE, figure, line_style
from helpers.lessons.lesson08.study import LayerWork, Peaks

__all__ = ["profile_figure", "rate_figure", "roofline_figure"]

HATCHES = ("", "//", "..", "xx")


def profile_figure(seconds: Mapping[str, float]) -> Figure:
    """Draw one bar for PNG and one for JPEG files, cut into steps.

    Args:
        seconds: Step -> seconds for one image, see `helpers.lessons.lesson08.study.profile`.
    """
    fig: Figure
    fig, ax = figure(width=8, height=2.6)
    for row, kind in enumerate(("PNG", "JPEG")):
        steps = {"decode the file": f"decode {kind}", "cut windows": "cut windows", "network": "network"}
        start = 0.0
        for index, (title, name) in enumerate(steps.items()):
            width = 1000 * seconds[name]
            look = {"color": PALETTE[index], "hatch": HATCHES[index], "edgecolor": "white"}
            ax.barh(row, width, left=start, height=0.6, label="" if row else title, **look)
            if width > 4:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
                ax.text(start + width / 2, row, f"{width:.0f} ms", ha="center", va="center", fontsize=10, bbox=box)
            start += width
    ax.set(yticks=[0, 1], yticklabels=["PNG", "JPEG"], xlabel="processor time for one image (ms)")
    ax.invert_yaxis()
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def rate_figure(workers: Sequence[int], rates: Mapping[str, Sequence[float]]) -> Figure:
    """Draw images per second against the number of workers that decode.

    Args:
        workers: Numbers of workers.
        rates: Name of a pipeline -> images per second, one for each number.
    """
    fig: Figure
    fig, ax = figure(width=8, height=4.2)
    for index, (name, values) in enumerate(rates.items()):
        ax.plot(workers, values, label=name, markersize=5, **line_style(index))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(workers), [str(count) for count in workers])
    powers = np.log10([value for series in rates.values() for value in series])
    decades = range(min(math.floor(powers.min()), 0), max(math.ceil(powers.max()), 5) + 1)  # alike for all settings
    ax.set_yticks([10.0**power for power in decades], [f"{10.0**power:,.0f}" for power in decades])
    ax.set_ylim(10.0 ** decades[0], 10.0 ** decades[-1])
    ax.set(xlabel="workers that decode", ylabel="images per second (modelled)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def roofline_figure(peaks: Peaks, layers: Sequence[LayerWork]) -> Figure:
    """Draw what a machine can do at most against operations per byte, and where the layers of a network stand.

    Args:
        peaks: Of the machine.
        layers: Of the network; each stands on the roof, for what it reaches is not measured.
    """
    fig: Figure
    fig, ax = figure(width=8, height=3.8)
    intensities = np.logspace(-1, 3, 200)
    ax.loglog(intensities, [peaks.roof(one) / 1e9 for one in intensities], color="0.2", linestyle="-", linewidth=2)
    for index, layer in enumerate(layers):
        style = {**line_style(index), "linestyle": "none"}
        ax.plot(layer.intensity, peaks.roof(layer.intensity) / 1e9, label=layer.name, markersize=9, **style)
    ridge = peaks.flops / peaks.bytes
    ax.axvline(ridge, color="0.35", linestyle=":")
    ax.text(ridge * 1.1, peaks.roof(0.3) / 1e9, "left: memory limits\nright: arithmetic limits", fontsize=10)
    ax.set(xlabel="operations per byte moved", ylabel="billion operations per second, at most")
    ax.legend(loc="upper left")
    return fig
