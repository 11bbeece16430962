"""Figures of lesson 09: answers in a crowd, known scores, and the panel of one statement."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from helpers.course.figures import FAKE_STYLE, PALETTE, REAL_STYLE, figure, to_array
from helpers.data import catalog
from helpers.detectors.statement import Neighbour, Statement
from helpers.lessons.lesson09.study import crowd

__all__ = ["crowd_figure", "known_scores_figure", "panel_figure"]

BINS = 32


def crowd_figure(base_rate: float, sensitivity: float = 0.95, specificity: float = 0.95) -> Figure:
    """Draw what a detector calls generated among 10,000 pictures.

    Args:
        base_rate: Share of generated pictures, above 0 and below 1.
        sensitivity: Share of generated pictures that are called generated.
        specificity: Share of photographs that are not.
    """
    counts = crowd(base_rate, sensitivity, specificity)
    called = counts.found + counts.accused
    fig: Figure
    fig, ax = figure(width=8, height=2.2)
    start = 0.0
    parts = ((counts.found, "generated pictures", PALETTE[1], "//"), (counts.accused, "photographs", PALETTE[0], ""))
    for count, name, colour, hatch in parts:
        label = f"{name}: {count:,.0f}"
        ax.barh(0, count / called, left=start, height=0.6, color=colour, hatch=hatch, edgecolor="white", label=label)
        start += count / called
    ax.set(xlim=(0, 1), yticks=[], xlabel="share of the pictures that are called generated")
    ax.set_title(f"{called:,.0f} of 10,000 are called generated; {counts.precision:.0%} of these calls are right")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def known_scores_figure(photographs: Sequence[float], generated: Sequence[float], score: float) -> Figure:
    """Draw histograms of known scores, and where a new score lies.

    Args:
        photographs: Known scores of photographs.
        generated: Known scores of generated pictures.
        score: Of the new picture.
    """
    fig: Figure
    fig, ax = figure(width=8, height=3.2)
    both = np.r_[photographs, generated]
    edges = np.linspace(both.min(), both.max(), BINS)
    groups = (("known photographs", photographs, REAL_STYLE), ("known generated pictures", generated, FAKE_STYLE))
    for name, values, style in groups:
        shares, _ = np.histogram(values, edges)
        look = {"color": style["color"], "linestyle": style["linestyle"]}
        ax.stairs(shares / len(values), edges, label=name, linewidth=2, **look)
    ax.axvline(score, color="0.2", linestyle=":", linewidth=2, label="the new picture")
    ax.set(xlabel="score (higher: more like generated pictures)", ylabel="share of the class")
    ax.legend(loc="upper left", fontsize=9)
    ax.set_ylim(top=1.35 * ax.get_ylim()[1])
    return fig


def panel_figure(statement: Statement) -> Figure:
    """Draw a statement: picture, map of windows, nearest photographs, and the numbers in words.

    Args:
        statement: Of any picture.
    """
    fig = plt.figure(figsize=(8, 5.0), layout="constrained")
    rows: list[Any] = [["picture"] * 3 + ["map"] * 3, ["0", "0", "1", "1", "2", "2"]]
    axes = fig.subplot_mosaic(rows, height_ratios=(2.4, 1))
    preview = to_array(statement.preview)
    axes["picture"].imshow(preview)
    axes["picture"].set_title(_short(statement.path), fontsize=10)
    _draw_map(axes["map"], statement, preview)
    for number, one in enumerate(statement.neighbours[:3]):
        _draw_neighbour(axes[str(number)], one)
    for ax in axes.values():
        ax.set_axis_off()
    fig.suptitle(_headline(statement), fontsize=11)
    return fig


def _short(name: str) -> str:
    name = name.replace("\\", "/").rpartition("/")[2].replace("$", r"\$")
    return name if len(name) <= 24 else name[:21] + "..."


def _headline(statement: Statement) -> str:
    ratio = statement.likelihood_ratio
    parts = [
        f"{statement.verdict.upper()} · probability {statement.probability:.2f} at base rate {statement.base_rate:g}"
    ]
    if ratio is not None:
        parts.append(f"likelihood ratio {ratio.value:.2g} [{ratio.low:.2g}, {ratio.high:.2g}]")
    if statement.p_photograph is not None and statement.p_generated is not None:
        parts.append(f"p(photograph) {statement.p_photograph:.3f}, p(generated) {statement.p_generated:.3f}")
    return parts[0] + "\n" + " · ".join(parts[1:])


def _draw_map(ax: Axes, statement: Statement, preview: NDArray[Any]) -> None:
    values = np.array(statement.patches.probabilities)
    height, width = preview.shape[:2]
    ax.imshow(preview.mean(axis=2), cmap="gray", extent=(0, width, height, 0))
    ax.imshow(values, cmap="PuOr_r", vmin=0, vmax=1, alpha=0.5, extent=(0, width, height, 0), interpolation="nearest")
    rows, columns = values.shape
    for (row, column), value in np.ndenumerate(values):
        place = (column + 0.5) * width / columns, (row + 0.5) * height / rows
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(*place, f"{100 * value:.0f}", ha="center", va="center", fontsize=9, bbox=box)
    ax.set_title("windows alone: probability of generated, %", fontsize=10)


def _draw_neighbour(ax: Axes, one: Neighbour) -> None:
    img = to_array(catalog.photograph(one.name))
    side = min(img.shape[:2])
    ax.imshow(img[:side, :side])
    ax.set_title(f"traces like: {one.name.replace('_', ' ')}, {one.similarity:.2f}", fontsize=9)
