"""Figures of lesson 04: pulls on the circle, the limits of the loss, a training curve, the experiment on the zoo."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from helpers.course.figures import FAKE_STYLE, PALETTE, REAL_STYLE, figure, line_style
from helpers.lessons.lesson04.toys import Circle, on_circle, pulls

__all__ = [
    "draw_circle",
    "draw_targets",
    "limits_figure",
    "parts_figure",
    "pulls_figure",
    "training_figure",
    "zoo_experiment_figure",
]

GREY = "0.35"
NAMES = {"soft": "soft targets", "hard": "hard targets", "uniform": "uniform targets", "none": "cross-entropy"}


def draw_targets(ax: Axes, targets: Mapping[str, Tensor], title: str) -> None:
    """Draw the targets of some photographs as bars side by side.

    Args:
        ax: Axes.
        targets: Name of a photograph -> probabilities of the traces, (K,).
        title: Above the bars.
    """
    width = 0.8 / len(targets)
    for index, (name, values) in enumerate(targets.items()):
        places = np.arange(1, len(values) + 1) + (index - (len(targets) - 1) / 2) * width
        look: dict[str, Any] = {"color": PALETTE[index], "hatch": ("", "//", "..")[index % 3], "edgecolor": "white"}
        ax.bar(places, values.numpy(), width, label=name, **look)
        ax.set_xticks(range(1, len(values) + 1))
    ax.set(title=title, xlabel="natural trace", ylim=(0, 1))


def draw_circle(ax: Axes, temperature: float, teacher_temperature: float = 0.1, sharpness: float = 0.0) -> None:
    """Draw the toy circle; the area of a trace or a fake grows with the strength of its pull or push on the anchor.

    Args:
        ax: Axes.
        temperature: tau_s.
        teacher_temperature: tau_t.
        sharpness: Of the weights of near fakes.
    """
    circle = Circle()
    pull = pulls(circle, temperature, teacher_temperature, sharpness)
    turns = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turns), np.sin(turns), color="0.8", linestyle="-", linewidth=1, zorder=1)
    traces, fakes = on_circle(circle.traces).numpy(), on_circle(circle.fakes).numpy()
    near, far = pull.gradient[: len(traces)].numpy(), pull.gradient[len(traces) :].numpy()
    for points, values, style in ((traces, near, REAL_STYLE), (fakes, far, FAKE_STYLE)):
        marker, colour = str(style["marker"]), style["color"]
        ax.scatter(
            points[:, 0], points[:, 1], s=25 + 900 * np.abs(values), marker=marker, c=colour, alpha=0.55, zorder=2
        )
        for (x, y), value in zip(points, values, strict=True):
            text = f"{-value:+.2f}" if abs(value) >= 0.005 else "0"
            ax.annotate(text, (1.42 * x, 1.36 * y), ha="center", va="center", fontsize=9)
    x, y = on_circle([circle.anchor])[0].tolist()
    ax.scatter([x], [y], s=90, marker="*", c=GREY, zorder=3)
    angle = circle.anchor + float(np.clip(40 * pull.turn / 4, -70, 70))
    end_x, end_y = (0.72 * on_circle([angle])[0]).tolist()
    bend = f"arc3,rad={-0.2 * float(np.sign(pull.turn))}"
    arrow = {"arrowstyle": "->", "color": GREY, "linewidth": 2, "connectionstyle": bend}
    ax.annotate("", xy=(end_x, end_y), xytext=(0.72 * x, 0.72 * y), arrowprops=arrow)
    ax.text(0, -0.12, f"nearest fake:\n{pull.nearest_share:.0%} of the push", ha="center", va="center", fontsize=10)
    ax.set(xlim=(-1.75, 1.75), ylim=(-1.6, 1.6), aspect="equal", xticks=[], yticks=[])
    ax.grid(visible=False)


def pulls_figure(temperature: float, teacher_temperature: float = 0.1, sharpness: float = 0.0) -> Figure:
    """Draw one circle with its numbers below; see `draw_circle`."""
    fig, ax = figure(width=5.2, height=4.6)
    draw_circle(ax, temperature, teacher_temperature, sharpness)
    ax.set_title(f"student {temperature:g}, teacher {teacher_temperature:g}, sharpness {sharpness:g}")
    return fig  # type: ignore[no-any-return]


def limits_figure(temperatures: Sequence[float], losses: Sequence[float], limits: Mapping[str, float]) -> Figure:
    """Draw the loss against the teacher's temperature, between its two limits.

    Args:
        temperatures: tau_t.
        losses: One for each.
        limits: Name -> loss of a limit.
    """
    fig, ax = figure(width=7, height=3.6)
    ax.semilogx(temperatures, losses, label="soft contrastive loss", markersize=4, **line_style(0))
    for index, (name, value) in enumerate(limits.items(), start=1):
        ax.axhline(value, label=name, linewidth=2, **{**line_style(index), "marker": ""})
    ax.set(xlabel="temperature of the teacher", ylabel="loss (nat)")
    ax.legend()
    return fig  # type: ignore[no-any-return]


def training_figure(log: pd.DataFrame) -> Figure:
    """Draw the three terms of stage 2 against the step.

    Args:
        log: As `helpers.training.read_log` gives it.
    """
    fig, ax = figure(width=7, height=3.4)
    for index, name in enumerate(("classification", "contrast", "repulsion")):
        ax.plot(log.index, log[f"main/{name}"], label=name, markersize=4, **line_style(index))
    ax.set(xlabel="step", ylabel="term of the loss", ylim=(0, None))
    ax.legend()
    return fig  # type: ignore[no-any-return]


def zoo_experiment_figure(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw mAP over unseen generators, with its interval and each seed, for every way to train.

    Args:
        records: Entry "arms" of `data/results/transfer_zoo.json`, those that are to be shown, in order.
    """
    fig, ax = figure(width=8, height=0.5 + 0.42 * len(records))
    for row, record in enumerate(records):
        unseen, mapped = record["unseen"], record["stage1"]
        style = {"color": PALETTE[0 if mapped else 1], "marker": "o" if mapped else "s"}
        ax.errorbar(
            unseen["value"],
            row,
            xerr=[[unseen["value"] - unseen["low"]], [unseen["high"] - unseen["value"]]],
            capsize=4,
            linestyle="none",
            markersize=8,
            **style,
        )
        ax.plot(unseen["per_run"], [row + 0.22] * len(unseen["per_run"]), "|", color=GREY, markersize=7)
    labels = [
        f"{NAMES[record['targets']]}, {'after stage 1' if record['stage1'] else 'from scratch'} ({record['score']})"
        for record in records
    ]
    ax.set(yticks=range(len(records)), yticklabels=labels, xlabel="mean average precision over unseen generators")
    ax.invert_yaxis()
    return fig  # type: ignore[no-any-return]


def parts_figure(table: pd.DataFrame) -> Figure:
    """Draw what each part of the method is worth on known and on new photo sources, signed values written beside.

    Args:
        table: See `helpers.lessons.lesson04.records.part_table`.
    """
    fig, ax = figure(width=8, height=4.2)
    parts, tiers = (list(dict.fromkeys(table[column])) for column in ("part", "photographs"))
    for index, tier in enumerate(tiers):
        rows = table[table["photographs"] == tier].set_index("part").loc[parts]
        heights = np.arange(len(parts)) + 0.3 * (index - 0.5)
        ends = np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]])
        style = {**line_style(index), "linestyle": "none"}
        ax.errorbar(rows["value"], heights, xerr=ends, capsize=3, label=tier, **style)
        for height, value, high in zip(heights, rows["value"], rows["high"], strict=True):
            ax.text(high + 0.006, height, f"{value:+.3f}", va="center", fontsize=10, color=style["color"])
    ax.axvline(0, color=GREY, linestyle=":")
    ax.set(yticks=range(len(parts)), yticklabels=parts, xlabel="difference in mAP over seven unseen generators")
    ax.set_xlim(-0.03, 0.29)
    ax.invert_yaxis()
    ax.legend(loc="center right")
    return fig  # type: ignore[no-any-return]
