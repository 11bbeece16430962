"""Figures of stage 1, shared by lesson 03 and its explorer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike
from torch import Tensor

from helpers.course.figures import FAKE_STYLE, PALETTE, REAL_STYLE, figure, line_style, to_array
from helpers.detectors.networks import InputView, high_pass_bank
from helpers.lessons.lesson03.study import PIXEL_DIFFUSION
from helpers.pixels.views import BREAKERS

__all__ = [
    "ablation_figure",
    "alarm_figure",
    "breaker_figure",
    "counts_figure",
    "draw_distances",
    "filter_figure",
    "fine_detail",
    "generator_figure",
    "ordered",
    "view_figure",
]

Record = Mapping[str, Any]


def fine_detail(img: Tensor) -> Tensor:
    """Show one of the six views that the encoder has of an image: differences of the luma along both diagonals.

    Args:
        img: uint8 (3, H, W).

    Returns:
        Float (H, W) in [0, 1]; 0.5 where neighbours agree.
    """
    detail: Tensor = (InputView("bank")(img[None])[0, 4] + 1) / 2
    return detail


def filter_figure(img: Tensor) -> Figure:
    """Draw the six high-pass filters, each as numbers beside what it leaves of an image.

    Args:
        img: uint8 (3, H, W).
    """
    fig, axes = figure(2, 6, width=8.0, height=3.0)
    views = InputView("bank")(img[None])[0]
    for index, (kernel, view) in enumerate(zip(high_pass_bank()[:, 0], views, strict=True)):
        left, right = axes[index // 3, 2 * (index % 3) : 2 * (index % 3) + 2]
        _draw_kernel(left, kernel, f"filter {index + 1}")
        right.imshow(view.numpy(), cmap="gray", vmin=-1, vmax=1)
        right.set_title("leaves")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    return fig  # type: ignore[no-any-return]


def _draw_kernel(ax: Axes, kernel: Tensor, title: str) -> None:
    """Draw a small kernel as a table of colours with its weights written in; weights of 0 stay empty."""
    ax.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-2, vmax=2)
    for (row, column), weight in np.ndenumerate(kernel.numpy()):
        if weight:
            color = "white" if abs(weight) > 1.1 else "black"
            ax.text(column, row, f"{weight:.2g}", ha="center", va="center", fontsize=9, color=color)
    ax.set_title(title)


def counts_figure(counts: Mapping[str, Tensor]) -> Figure:
    """Draw shares of triples of several images, sorted by those of the first.

    Args:
        counts: Name -> shares, float (K,).
    """
    fig, ax = figure(width=7.5, height=3.4)
    order = next(iter(counts.values())).argsort(descending=True)
    for index, (name, shares) in enumerate(counts.items()):
        style = line_style(index) | {"markersize": 4, "linewidth": 1}
        ax.plot(np.arange(1, len(order) + 1), 100 * shares[order].numpy(), label=name, **style)
    ax.set(yscale="log", xlabel="kind of triple, sorted by the first image", ylabel="share of all triples, %")
    ax.legend()
    return fig  # type: ignore[no-any-return]


def ordered(names: Sequence[str]) -> list[str]:
    """Put generators that enlarge a small picture first, those that take noise from pixels last."""
    return sorted(names, key=lambda name: (name in PIXEL_DIFFUSION, name))


def alarm_figure(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw both alarms, step by step.

    Args:
        logs: Name of a training -> table with the columns `spread` and `rank`, one row per step.
    """
    fig, axes = figure(1, 2, width=8.0, height=3.3)
    for index, (name, log) in enumerate(logs.items()):
        style = line_style(index) | {"markevery": 10, "markersize": 5}
        for ax, column in zip(axes, ("spread", "rank"), strict=True):
            ax.plot(log.index + 1, log[column], label=name, **style)
    axes[0].set(xlabel="step", ylabel="spread of photographs (0 to 1)", yscale="log")
    axes[0].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[1].set(xlabel="step", ylabel="effective rank of photographs", ylim=(0, None))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(logs))
    return fig  # type: ignore[no-any-return]


def draw_distances(ax: Axes, photographs: ArrayLike, fakes: ArrayLike, title: str) -> None:
    """Draw how far photographs and fakes lie from the natural traces, as two histograms.

    Args:
        ax: Axes; the distance is logarithmic.
        photographs: Distances, above 0.
        fakes: Distances, above 0.
        title: Above.
    """
    bins = np.geomspace(0.015, 2, 32)
    filled: dict[str, Any] = {"histtype": "stepfilled", "alpha": 0.5}
    line: dict[str, Any] = {"histtype": "step", "linewidth": 2, "linestyle": "--"}
    for values, name, style, kind in (
        (photographs, "photographs", REAL_STYLE, filled),
        (fakes, "fakes", FAKE_STYLE, line),
    ):
        if np.size(values):
            weights = np.full(np.shape(values), 100 / np.size(values))
            clipped = np.clip(values, bins[0], bins[-1])
            ax.hist(clipped, bins.tolist(), weights=weights, color=style["color"], label=name, **kind)
    ax.set(xscale="log", xlabel="distance, 1 - proximity", title=title)


def generator_figure(record: Record, names: Sequence[str], extra: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the AUC of every generator for some variants, with intervals, and of further encoders.

    Args:
        record: What `helpers.lessons.lesson03.study.study` returned.
        names: Variants.
        extra: Name -> generator -> AUC.
    """
    fig, ax = figure(width=8, height=4.2)
    entries = {entry["name"]: entry["generators"] for entry in record["variants"]}
    generators = ordered(list(entries[names[0]]))
    places = np.arange(len(generators))
    for index, name in enumerate([*names, *extra]):
        style = line_style(index) | {"linestyle": "none", "markersize": 6}
        offset = places + 0.2 * (index - (len(names) + len(extra) - 1) / 2)
        if name in extra:
            ax.plot(offset, [extra[name][generator] for generator in generators], label=name, fillstyle="none", **style)
            continue
        areas = pd.DataFrame([entries[name][generator] for generator in generators])
        errors = [areas["value"] - areas["low"], areas["high"] - areas["value"]]
        ax.errorbar(offset, areas["value"], errors, label=name, capsize=3, **style)
    last = sum(generator not in PIXEL_DIFFUSION for generator in generators) - 0.5
    ax.axvline(last, color="0.5", linewidth=1)
    ax.axhline(0.5, color="0.5", linestyle=":")
    ax.text(last - 0.1, -0.09, "enlarge a small picture", ha="right", fontsize=10)
    ax.text(last + 0.1, -0.09, "take noise from pixels", ha="left", fontsize=10)
    ax.set(xticks=places, yticks=np.linspace(0, 1, 6), ylim=(-0.13, 1.03), ylabel="AUC, 0.5 is chance")
    ax.set_xticklabels(generators, rotation=30, ha="right")
    fig.legend(loc="outside upper center", ncols=4)
    return fig  # type: ignore[no-any-return]


def ablation_figure(record: Record, names: Sequence[str]) -> Figure:
    """Draw mean AUC and both alarms of some variants.

    Args:
        record: What `helpers.lessons.lesson03.study.study` returned.
        names: Variants, from top to bottom.
    """
    fig, axes = figure(1, 3, width=8, height=0.36 * len(names) + 1.3, sharey=True)
    entries = {entry["name"]: entry for entry in record["variants"]}
    places = np.arange(len(names))[::-1]
    means = pd.DataFrame([entries[name]["mean"] for name in names])
    errors = [means["value"] - means["low"], means["high"] - means["value"]]
    axes[0].errorbar(means["value"], places, xerr=errors, capsize=3, color=PALETTE[0], marker="o", linestyle="none")
    axes[0].axvline(0.5, color="0.5", linestyle=":")
    axes[0].set(xlabel="mean AUC", yticks=places)
    axes[0].set_yticklabels(names)
    for ax, alarm, label in ((axes[1], "spread", "spread"), (axes[2], "rank", "effective rank")):
        for index, kind in enumerate(("photographs", "heterogeneous")):
            style = line_style(2 * index + 1) | {"linestyle": "none", "fillstyle": "none" if index else "full"}
            values = [np.mean(entries[name][alarm][kind]) for name in names]
            ax.plot(values, places, label="homogeneous" if index == 0 else kind, **style)
        ax.set(xlabel=label, xlim=(0, None))
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return fig  # type: ignore[no-any-return]


def breaker_figure(record: Record) -> Figure:
    """Draw what an encoder finds that knows a single way to break traces: breakers x generators.

    Args:
        record: What `helpers.lessons.lesson03.study.study` returned.
    """
    entries = {entry["name"]: entry for entry in record["variants"]}
    rows = {name: entries[f"broken by {name} alone"]["generators"] for name in BREAKERS}
    rows["all six"] = record["variants"][0]["generators"]
    generators = ordered(list(rows["all six"]))
    areas = np.array([[areas_of[generator]["value"] for generator in generators] for areas_of in rows.values()])
    fig, ax = figure(width=9.5, height=4)
    mesh = ax.pcolormesh(areas, cmap="RdBu_r", vmin=0, vmax=1)
    ax.invert_yaxis()
    for (row, column), area in np.ndenumerate(areas):
        color = "black" if 0.2 < area < 0.8 else "white"
        ax.text(column + 0.5, row + 0.5, f"{area:.2f}", ha="center", va="center", color=color)
    ax.set(xticks=np.arange(len(generators)) + 0.5, yticks=np.arange(len(rows)) + 0.5, ylabel="broken by")
    ax.set_yticklabels(list(rows))
    ax.set_xticklabels(generators, rotation=30, ha="right")
    ax.grid(visible=False)
    fig.colorbar(mesh, label="AUC, 0.5 is chance")
    return fig  # type: ignore[no-any-return]


def view_figure(img: Tensor, distance: float, photographs: ArrayLike, title: str) -> Figure:
    """Draw an image, its fine detail, and its distance from the traces among those of photographs.

    Args:
        img: uint8 (3, H, W).
        distance: Of this image.
        photographs: Distances of photographs, to compare with.
        title: What the image is.
    """
    fig, axes = figure(1, 3, width=8.0, height=2.7, width_ratios=[1, 1, 1.6])
    axes[0].imshow(to_array(img))
    axes[0].set_title(title)
    axes[1].imshow(to_array(torch.as_tensor(fine_detail(img))), cmap="gray", vmin=0, vmax=1)
    axes[1].set_title("fine detail")
    for ax in axes[:2]:
        ax.set_axis_off()
    share = 100 * float((np.asarray(photographs) < distance).mean())
    draw_distances(axes[2], photographs, [], f"farther than {share:.0f} % of photographs")
    axes[2].axvline(distance, linewidth=2, color=FAKE_STYLE["color"], linestyle="--", label="this image")
    axes[2].set_ylabel("photographs, %")
    axes[2].legend()
    return fig  # type: ignore[no-any-return]
