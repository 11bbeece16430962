"""Figures of embeddings, shared by lesson 05, its explorer and the README."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from helpers.course.figures import FAKE_STYLE, MARKERS, PALETTE, REAL_STYLE, figure, to_array
from helpers.lessons.lesson05.study import STAGES, points_of

__all__ = [
    "LABEL_STYLES",
    "contest_figure",
    "group_styles",
    "label_names",
    "mark",
    "plot_map",
    "plot_moves",
    "point_figure",
    "purity_figure",
    "stages_figure",
    "strip_figure",
    "summary_figure",
]

LABEL_STYLES: dict[str, dict[str, Any]] = {
    "photograph": {"color": REAL_STYLE["color"], "marker": REAL_STYLE["marker"]},
    "fake, generator seen": {"color": FAKE_STYLE["color"], "marker": FAKE_STYLE["marker"]},
    "fake, generator unseen": {"color": PALETTE[4], "marker": "^"},
}
"""Kind of an image -> how its points are drawn."""
FAINT: dict[str, Any] = {"color": "0.85", "marker": ".", "s": 10, "linewidths": 0}


def label_names(df: pd.DataFrame) -> NDArray[Any]:
    """Name the kind of every image of the study: an entry of `LABEL_STYLES`."""
    photograph, seen, unseen = LABEL_STYLES
    return np.where(df["label"] == "real", photograph, np.where(df["seen"], seen, unseen))


def group_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give up to fifty groups a colour and a marker each; no two groups share both."""
    return {
        name: {
            "color": PALETTE[index % len(PALETTE)],
            "marker": MARKERS[(index + 5 * (index // len(PALETTE))) % len(MARKERS)],
        }
        for index, name in enumerate(names)
    }


def plot_map(
    ax: Axes, points: ArrayLike, groups: ArrayLike, styles: Mapping[str, Mapping[str, Any]], size: float = 18
) -> None:
    """Scatter a map; groups without a style are drawn faint, below the others.

    Args:
        ax: Axes; ticks are taken away, because the axes of a map have no unit.
        points: (N, 2).
        groups: (N,) names.
        styles: Name -> colour and marker.
        size: Area of a marker, in points squared.
    """
    places, names = np.asarray(points), np.asarray(groups)
    x, y = places[:, 0], places[:, 1]
    others = ~np.isin(names, list(styles))
    ax.scatter(x[others], y[others], **FAINT)
    for name, style in styles.items():
        chosen = names == name
        ax.scatter(x[chosen], y[chosen], label=name, s=size, linewidths=0.2, edgecolors="white", **style)
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")


def mark(ax: Axes, point: ArrayLike) -> None:
    """Put a ring around a point of a map."""
    x, y = np.asarray(point)
    ax.scatter(x, y, s=220, facecolors="none", edgecolors="black", linewidths=2, zorder=5)


def plot_moves(ax: Axes, before: ArrayLike, after: ArrayLike) -> None:
    """Draw where the originals lie on a map, where their redrawn copies land, and a line from each to its copy.

    Args:
        ax: Axes that hold a map.
        before: (n, 2).
        after: (n, 2), in the same order.
    """
    old, new = np.asarray(before), np.asarray(after)
    ax.plot([old[:, 0], new[:, 0]], [old[:, 1], new[:, 1]], color="0.5", linewidth=0.6, linestyle="-")
    ends = zip(("original crop", "redrawn by a generator"), (old, new), (REAL_STYLE, FAKE_STYLE), strict=True)
    for name, places, style in ends:
        look: dict[str, Any] = {"color": style["color"], "marker": style["marker"]}
        ax.scatter(places[:, 0], places[:, 1], label=name, s=24, linewidths=0.4, edgecolors="black", zorder=3, **look)


def stages_figure(maps: Mapping[str, ArrayLike], df: pd.DataFrame) -> Figure:
    """Draw maps side by side, three times: by label, by generator, and by photograph.

    Args:
        maps: Title -> points (N, 2).
        df: Rows of the study, N.

    Returns:
        A figure of three rows.
    """
    real = df["label"] == "real"
    rows: list[tuple[str, NDArray[Any], dict[str, dict[str, Any]]]] = [
        ("by label", label_names(df), LABEL_STYLES),
        ("by generator", df["generator"].to_numpy(), group_styles(sorted(set(df["generator"]) - {""}))),
        ("by photograph", np.where(real, df["source"], ""), group_styles(sorted(set(df["source"][real])))),
    ]
    fig: Figure = plt.figure(figsize=(8.5, 3.6 * len(rows)))
    parts: Any = fig.subfigures(len(rows), 1)
    for number, (part, (title, groups, styles)) in enumerate(zip(parts, rows, strict=True)):
        axes = part.subplots(1, len(maps))
        for ax, (name, points) in zip(axes, maps.items(), strict=True):
            plot_map(ax, points, groups, styles)
            ax.set_title("" if number else name)
        axes[0].set_ylabel(title)
        names = axes[0].get_legend_handles_labels()
        part.legend(*names, loc="outside lower center", ncols=min(6, len(styles)), fontsize=10, markerscale=1.4)
    return fig


def summary_figure(record: Mapping[str, Any], df: pd.DataFrame) -> Figure:
    """Draw the recorded maps of the three stages by label, each with its trust and its label purity."""
    fig, axes = figure(1, len(STAGES), width=10, height=3.9)
    for ax, stage in zip(axes, STAGES, strict=True):
        entry = record["stages"][stage]
        purity = entry["purity"]["label"]
        plot_map(ax, points_of(entry["points"]), label_names(df), LABEL_STYLES)
        ax.set_title(
            f"{stage}\ntrustworthiness {entry['trust']:.2f}\n"
            f"purity {purity['value']:.2f} [{purity['low']:.2f}, {purity['high']:.2f}], chance {purity['chance']:.2f}",
            fontsize=10,
        )
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.6)
    return fig  # type: ignore[no-any-return]


def contest_figure(maps: Sequence[ArrayLike], labels: Sequence[ArrayLike]) -> Figure:
    """Draw maps without names, A, B, C ..., by label: 0 photograph, 1 fake."""
    kinds = list(LABEL_STYLES)[:2]
    styles = {name: LABEL_STYLES[kind] for name, kind in zip(("photograph", "fake"), kinds, strict=True)}
    fig, axes = figure(1, len(maps), width=8.5, height=3.4)
    for letter, ax, points, truth in zip("ABCDEF", axes, maps, labels, strict=False):
        plot_map(ax, points, np.where(np.asarray(truth) == 0, "photograph", "fake"), styles)
        ax.set_title(f"map {letter}")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig  # type: ignore[no-any-return]


def purity_figure(purity: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Draw purities with their intervals and chance levels.

    Args:
        purity: Stage -> question -> value, low, high, chance; see `helpers.lessons.lesson05.study.purities`.

    Returns:
        One row per question, one marker per stage.
    """
    questions = list(next(iter(purity.values())))
    fig, ax = figure(width=8, height=3.6)
    styles = group_styles(list(purity))
    for number, (stage, entry) in enumerate(purity.items()):
        rows = [entry[question] for question in questions]
        heights = np.arange(len(rows)) + 0.2 * (number - 1)
        ends = np.array([[row["value"] - row["low"], row["high"] - row["value"]] for row in rows]).T
        ax.errorbar([row["value"] for row in rows], heights, xerr=ends, linestyle="none", label=stage, **styles[stage])
    for height, question in enumerate(questions):
        chance = purity[STAGES[0]][question]["chance"]
        ax.plot(
            [chance, chance], [height - 0.4, height + 0.4], color="0.4", linestyle=":", label="" if height else "chance"
        )
    ax.set_yticks(range(len(questions)), questions)
    ax.set(xlim=(0, 1.02), xlabel="share of the ten nearest images with the same name")
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return fig  # type: ignore[no-any-return]


def strip_figure(strip: Sequence[Mapping[str, Any]], df: pd.DataFrame) -> Figure:
    """Draw one embedding under several settings of UMAP; under each map its trust and its gap."""
    distances = sorted({row["min_distance"] for row in strip})
    fig, axes = figure(len(distances), len(strip) // len(distances), width=8.5, height=6.4)
    for ax, row in zip(axes.flat, strip, strict=True):
        plot_map(ax, points_of(row["points"]), label_names(df), LABEL_STYLES, size=14)
        ax.set_title(f"{row['n_neighbours']} neighbours,\nleast distance {row['min_distance']:g}", fontsize=10)
        ax.set_xlabel(f"trust {row['trust']:.3f}, gap {row['gap']:.2f}", fontsize=10)
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.6)
    return fig  # type: ignore[no-any-return]


def point_figure(
    points: ArrayLike,
    df: pd.DataFrame,
    row: int,
    picture: tuple[str, Tensor],
    traces: Sequence[tuple[str, Tensor]],
    near: Sequence[tuple[str, Tensor]],
) -> Figure:
    """Draw a map with one point marked; beside it the image under the point, its nearest traces, its nearest images.

    Args:
        points: (N, 2).
        df: Rows of the study, N.
        row: Number of the marked image.
        picture: The image, uint8 (3, H, W), with a text.
        traces: For each of the nearest natural traces a crop that stands for it, with a text.
        near: Nearest images of the study, one more than traces, each with a text.

    Returns:
        The figure.
    """
    columns = len(near)
    fig, axes = figure(4, columns, width=8.5, height=8.6)
    for ax in axes.flat:
        ax.set_axis_off()
    large = fig.add_subplot(axes[0, 0].get_gridspec()[:2, :])
    plot_map(large, points, label_names(df), LABEL_STYLES)
    mark(large, np.asarray(points)[row])
    large.legend(fontsize=10, loc="best")
    shown = [picture, *traces, *near]
    for ax, (text, img) in zip(axes[2:].flat, shown, strict=True):
        ax.imshow(to_array(img), interpolation="nearest")
        ax.set_title(text, fontsize=10)
    return fig  # type: ignore[no-any-return]
