"""Figures of lesson 06: who is found by whom, how sure a number is, and how honest a probability."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from helpers.course.figures import FAKE_STYLE, REAL_STYLE, figure, line_style
from helpers.evaluation.metrics import Interval, accuracy_at, average_precision, reliability_curve

__all__ = [
    "matrix_figure",
    "plot_ap_accuracy",
    "plot_intervals",
    "plot_reliability",
    "plot_scores",
    "plot_size_means",
    "ranks_figure",
    "verdict_figure",
]

_GUIDE: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.8}


def plot_scores(ax: Axes, labels: ArrayLike, scores: ArrayLike, thresholds: Mapping[str, float]) -> None:
    """Draw how the logits of photographs and fakes are spread, and where thresholds lie.

    Args:
        ax: Axes.
        labels: (N,) 0 real, 1 fake.
        scores: (N,) logits.
        thresholds: Name -> threshold.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    edges = np.linspace(values.min(), values.max(), 41).tolist()
    for label, name, style, hatch in ((0, "photographs", REAL_STYLE, ""), (1, "fakes", FAKE_STYLE, "///")):
        inside = values[truth == label]
        ax.hist(
            inside,
            edges,
            weights=np.full(len(inside), 100 / len(inside)),
            alpha=0.55,
            color=style["color"],
            edgecolor="0.25",
            linewidth=0.5,
            hatch=hatch,
            label=name,
        )
    for index, (name, threshold) in enumerate(thresholds.items()):
        ax.axvline(threshold, color="0.15", linestyle=("-", "--", ":")[index % 3], linewidth=1.8, label=name)
    ax.set(xlabel="logit (higher: more fake)", ylabel="share of the class (%)")


def verdict_figure(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Figure:
    """Draw the scores of a head with a threshold; the title says AP and the share of right verdicts.

    Args:
        labels: (N,) 0 real, 1 fake.
        scores: (N,) logits.
        threshold: From here on an image is called fake.

    Returns:
        The figure.
    """
    fig: Figure
    fig, ax = figure(width=8, height=3.4)
    plot_scores(ax, labels, scores, {"threshold": threshold})
    right = accuracy_at(labels, scores, threshold)
    ax.set_title(
        f"AP {average_precision(labels, scores):.2f}, right verdicts {right.balanced:.2f}: "
        f"photographs {right.real:.2f}, fakes {right.fake:.2f}"
    )
    ax.legend()
    return fig


def matrix_figure(matrix: pd.DataFrame, titles: Mapping[str, str], split: int) -> Figure:
    """Draw a train x test matrix as a heat map with its numbers.

    Args:
        matrix: AP, see `helpers.lessons.lesson06.study.train_test_matrix`.
        titles: Name of a generator -> what the axes call it.
        split: Number of rows of the first family; a line separates it from the second.

    Returns:
        The figure.
    """
    import seaborn as sns

    fig: Figure
    fig, ax = figure(width=8.5, height=6.8)
    shown = matrix.rename(index=titles, columns=titles)
    sns.heatmap(
        shown,
        ax=ax,
        vmin=0.3,
        vmax=1,
        cmap="viridis",
        annot=shown.map(lambda value: f"{100 * value:.0f}"),
        fmt="",
        linewidths=0.5,
        annot_kws={"fontsize": 9},
        cbar_kws={"label": "average precision"},
    )
    for draw in (ax.axhline, ax.axvline):
        draw(split, color="white", linewidth=4)
    ax.set(xlabel="tested on", ylabel="trained on")
    ax.tick_params(axis="x", rotation=40)
    for label in ax.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
    return fig


def plot_ap_accuracy(ax: Axes, ap: ArrayLike, accuracy: ArrayLike, label: str, index: int = 0) -> None:
    """Draw accuracy against AP, one point for each pair of training and test set.

    Args:
        ax: Axes.
        ap: (N,) average precision.
        accuracy: (N,) balanced accuracy.
        label: Entry of the legend.
        index: Number of the series, for colour and marker.
    """
    style = line_style(index)
    ax.scatter(
        np.asarray(ap), np.asarray(accuracy), s=30, alpha=0.75, label=label, c=style["color"], marker=style["marker"]
    )
    ax.set(xlabel="average precision", ylabel="balanced accuracy", xlim=(0.28, 1.02), ylim=(0.28, 1.02))


def plot_size_means(ax: Axes, means: pd.DataFrame, label: str, index: int = 0) -> None:
    """Draw mAP against the number of training generators, with a band for its interval.

    Args:
        ax: Axes.
        means: See `helpers.lessons.lesson06.study.size_means`.
        label: Entry of the legend.
        index: Number of the series, for colour, marker and dashes.
    """
    sizes = means.index.to_numpy(float)
    style: dict[str, Any] = {**line_style(index)}
    ax.plot(sizes, means["mean"].to_numpy(), label=label, **style)
    ax.fill_between(sizes, means["low"].to_numpy(), means["high"].to_numpy(), alpha=0.18, color=style["color"])
    ax.set(xlabel="generators in training", ylabel="mAP on unseen generators", xticks=sizes.tolist())


def plot_reliability(ax: Axes, labels: ArrayLike, probabilities: ArrayLike, label: str, index: int = 0) -> None:
    """Draw the share of fakes against the stated probability, on the diagonal if they agree.

    Args:
        ax: Axes.
        labels: (N,) 0 real, 1 fake.
        probabilities: (N,) of being fake.
        label: Entry of the legend.
        index: Number of the series, for colour, marker and dashes.
    """
    curve = reliability_curve(labels, probabilities)
    style: dict[str, Any] = {**line_style(index)}
    ax.plot(curve["predicted"].to_numpy(), curve["observed"].to_numpy(), label=label, markersize=5, **style)
    if not any(line.get_gid() == "diagonal" for line in ax.lines):
        ax.plot([0, 1], [0, 1], gid="diagonal", **_GUIDE)
    ax.set(xlabel="stated probability of a fake", ylabel="share of fakes", xlim=(0, 1), ylim=(0, 1), aspect="equal")


def plot_intervals(
    ax: Axes, intervals: Mapping[str, Interval], apart: Sequence[str] = (), *, reference: float = 0.5
) -> None:
    """Draw numbers with their intervals, one line below the other.

    Args:
        ax: Axes.
        intervals: Name -> number, from the top down.
        apart: Names that are drawn in another colour and marker.
        reference: Where a dotted line stands: guessing, or no difference.
    """
    for place, (name, interval) in enumerate(intervals.items()):
        style = line_style(1 if name in apart else 0)
        reach = [[interval.value - interval.low], [interval.high - interval.value]]
        ax.errorbar(
            [interval.value], [place], xerr=reach, color=style["color"], marker=style["marker"], capsize=4, linewidth=2
        )
    ax.set_yticks(range(len(intervals)), list(intervals))
    ax.set(ylim=(len(intervals) - 0.5, -0.5), xlabel="average precision")
    ax.axvline(reference, **_GUIDE)


def ranks_figure(table: pd.DataFrame) -> Figure:
    """Draw how the order of detectors changes between test sets: one line for each detector, rank 1 on top.

    Args:
        table: Rows are detectors, columns are test sets, entries are AP.

    Returns:
        The figure; each point carries its AP.
    """
    ranks = table.rank(ascending=False, method="first")
    fig: Figure
    fig, ax = figure(width=8.5, height=0.55 * len(table) + 1.2)
    places = np.arange(len(table.columns))
    for index, name in enumerate(table.index):
        style: dict[str, Any] = {**line_style(index)}
        ax.plot(places, ranks.loc[name].to_numpy(), markersize=8, linewidth=2, **style)
        for place, column in enumerate(table.columns):
            ax.annotate(
                f"{table.loc[name, column]:.2f}",
                (place, float(ranks.loc[name, column])),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        ax.annotate(
            str(name).replace("_", " "),
            (places[-1], float(ranks.loc[name].iloc[-1])),
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    ax.set_xticks(places, [str(column) for column in table.columns])
    ax.set(ylabel="rank", ylim=(len(table) + 0.6, 0.3), xlim=(-0.15, len(places) - 1 + 0.28 * len(places)))
    ax.set_yticks(range(1, len(table) + 1))
    ax.grid(axis="x", visible=False)
    return fig
