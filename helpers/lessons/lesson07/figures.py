"""Figures and tables of lesson 07: AP against strength, the surface, verdicts, and what augmentation buys."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.course.figures import FAKE_STYLE, REAL_STYLE, figure, image_grid, line_style
from helpers.data.images import Image
from helpers.pixels.perturbations import perturb

__all__ = [
    "PANELS",
    "augmentation_figure",
    "augmentation_table",
    "cell_table",
    "perturbation_wall",
    "score_figure",
    "strength_figure",
    "summary_figure",
    "surface_figure",
    "survival_figure",
    "threshold_table",
]

UPLOADS = ("messenger", "photo-network", "microblog")
PANELS: Mapping[str, tuple[str, ...]] = {
    "JPEG, WebP: quality": ("jpeg", "webp"),
    "resizing: factor": ("resize-box", "resize-bilinear", "resize-bicubic", "resize-lanczos"),
    "blur: sigma (pixels)": ("blur",),
    "noise: sigma (grey levels)": ("noise",),
    "crop: kept share of a side": ("crop",),
    "upload: the whole picture": UPLOADS,
}
"""Axis label of a panel -> perturbations in it, which share their strengths."""
MEASURES = {
    "ap": "AP",
    "accuracy": "accuracy",
    "called_real": "photos called fake",
    "called_fake": "fakes called fake",
}
"""Key in a record -> what tables call it."""
BOUGHT = (
    *(
        ("ap", name, strength)
        for name, strength in (("none", 0), ("jpeg", 80), ("jpeg", 50), ("noise", 4), ("blur", 1))
    ),
    ("accuracy", "none", 0),
    ("called_real", "none", 0),
)
"""What the table of trainings shows."""
UPLOAD_SIZES = ("fits", "larger", "double")
SUMMED_UP = (("none", 0), ("jpeg", 80), ("jpeg", 50), ("resize-bicubic", 0.75), ("blur", 1), ("noise", 4))
WALL = (("jpeg", 30), ("resize-bicubic", 0.5), ("blur", 3), ("noise", 16), ("messenger", 3200), ("combined", 4))
"""The severest strengths."""
WALL_ZOOM = 2
WALL_NAMES = {"resize-bicubic": "resize", "messenger": "upload"}
TELLING = (("none", 0), ("resize-lanczos", 0.9), ("enlarge", 1.1), ("noise", 8), ("blur", 2), ("messenger", 3200))
"""Cells that show how ranking and threshold fail apart."""


def cell_table(record: Mapping[str, Any]) -> pd.DataFrame:
    """Turn the cells of a record into a table indexed by perturbation and strength."""
    return (
        pd.DataFrame(record["cells"]).set_index(["perturbation", "strength"]).sort_index(level=0, sort_remaining=False)
    )


def _plot_strengths(ax: Axes, cells: pd.DataFrame, name: str, value: str, label: str, style: Mapping[str, Any]) -> None:
    """Draw one perturbation's numbers, the untouched images first, with their band."""
    order = list(dict.fromkeys([("none", 0.0), *[key for key in cells.index if key[0] == name]]))
    rows = cells.loc[order]
    places = np.arange(len(rows))
    ax.plot(places, rows[value], label=label, markersize=5, **style)
    ax.fill_between(places, rows[f"{value}_low"], rows[f"{value}_high"], color=style["color"], alpha=0.15, linewidth=0)
    strengths = [f"{strength:g}" for _, strength in order[1:]]
    ax.set_xticks(places, ["none", *(UPLOAD_SIZES if name in UPLOADS else strengths)])


def strength_figure(
    record: Mapping[str, Any],
    panels: Mapping[str, Sequence[str]] = PANELS,
    *,
    values: Sequence[str] = ("ap",),
    columns: int = 3,
    width: float = 8.2,
) -> Figure:
    """Draw AP (and more) against strength, a panel per kind of perturbation, with 95 % bands.

    Args:
        record: See `helpers.lessons.lesson07.study.robustness_study`.
        panels: Axis label -> perturbations.
        values: Of "ap", "auc", "accuracy".
        columns: Panels per row.
        width: Width in inches.

    Returns:
        The figure; the dotted line is chance.
    """
    cells = cell_table(record)
    titles = {"ap": "AP", "auc": "AUC", "accuracy": "accuracy, stored threshold"}
    rows = -(-len(panels) // columns)
    fig: Figure
    fig, axes = figure(rows, columns, width=width, height=2.2 * rows, sharey=True, squeeze=False)
    for ax, (xlabel, names) in zip(axes.flat, panels.items(), strict=False):
        present = [name for name in names if name in cells.index.get_level_values(0)]
        series = [(name, value) for name in present for value in values]
        for number, (name, value) in enumerate(series):
            words = [name.removeprefix("resize-")] if len(present) > 1 else []
            words += [titles[value]] if len(values) > 1 else []
            _plot_strengths(ax, cells, name, value, ", ".join(words), line_style(number))
        ax.axhline(0.5, color="0.35", linestyle=":")
        ax.set(xlabel=xlabel, ylim=(0.4, 1.02))
        if len(present) > 1:
            ax.legend(loc="lower left", fontsize=9, handlelength=1.6, borderpad=0.3, labelspacing=0.3)
    for ax in axes[:, 0]:
        ax.set_ylabel(" / ".join("AP" if value == "ap" else value for value in values))
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    return fig


def summary_figure(record: Mapping[str, Any]) -> Figure:
    """Draw AP and accuracy against four perturbations in one row, with one legend below."""
    panels = {
        "JPEG: quality": ("jpeg",),
        "resizing (bicubic): factor": ("resize-bicubic",),
        "blur: sigma (pixels)": ("blur",),
        "noise: sigma (grey levels)": ("noise",),
    }
    fig = strength_figure(record, panels, values=("ap", "accuracy"), columns=4, width=12)
    fig.set_figheight(3.6)
    handles, _ = fig.axes[0].get_legend_handles_labels()
    names = ["AP (ranking)", "accuracy at the stored threshold"]
    fig.legend(handles, names, loc="outside lower center", ncols=2)
    fakes = f"{record['fake']} fakes of {len(record['generators'])} unseen generators"
    fig.suptitle(f"{record['detector']}: {record['real']} photographs, {fakes}, 95 % bands", fontsize=11)
    return fig


def surface_figure(record: Mapping[str, Any], marked: tuple[float, int | None] | None = None) -> Figure:
    """Draw AP over resize factor and JPEG quality; mark a cell, and show beside it what is called fake there.

    Args:
        record: See `helpers.lessons.lesson07.study.robustness_study`; needs its `surface`.
        marked: Resize factor and JPEG quality (None for no JPEG) of a cell; None for the surface alone.

    Returns:
        The figure.
    """
    table = pd.DataFrame(record["surface"]).assign(quality=lambda rows: rows["quality"].fillna(0))
    grid = table.pivot_table(index="factor", columns="quality", values="ap").sort_index(ascending=False)
    grid = grid[[0.0, *sorted((name for name in grid.columns if name), reverse=True)]]
    fig: Figure
    shape = {"width": 5.6} if marked is None else {"width": 8.4, "width_ratios": (2, 1)}
    fig, axes = figure(1, 1 if marked is None else 2, height=2.6, squeeze=False, **shape)
    left, values = axes[0, 0], grid.to_numpy()
    shown = left.pcolormesh(range(grid.shape[1]), range(len(grid)), values, vmin=0.4, vmax=1, cmap="viridis")
    for (row, column), value in np.ndenumerate(values):
        left.text(column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.75 else "k", fontsize=9)
    left.invert_yaxis()
    left.set_xticks(range(grid.shape[1]), ["none", *(f"{name:g}" for name in grid.columns[1:])])
    left.set_yticks(range(len(grid)), [f"{name:g}" for name in grid.index])
    left.set(xlabel="JPEG quality", ylabel="resize factor")
    left.grid(visible=False)
    fig.colorbar(shown, ax=left, label="AP")
    if marked is not None:
        factor, quality = marked[0], float(marked[1] or 0)
        rows, columns = (np.asarray(names, float).tolist() for names in (grid.index, grid.columns))
        left.add_patch(_frame(rows.index(factor), columns.index(quality)))
        _draw_verdicts(axes[0, 1], table[(table["factor"] == factor) & (table["quality"] == quality)].iloc[0])
    return fig


def _draw_verdicts(ax: Axes, cell: pd.Series) -> None:
    """Draw which shares of photographs and fakes are called fake in one cell."""
    labels = {"called_real": REAL_STYLE, "called_fake": FAKE_STYLE}
    bars = ax.bar(
        ["photographs", "fakes"],
        [cell[key] for key in labels],
        color=[style["color"] for style in labels.values()],
        hatch=["", "//"],
        alpha=0.6,
    )
    ax.bar_label(bars, fmt="%.2f", padding=2)
    ax.set(
        ylim=(0, 1.15),
        ylabel="share called fake",
        title=f"AP {cell['ap']:.2f} [{cell['ap_low']:.2f}, {cell['ap_high']:.2f}]",
    )


def _frame(row: int, column: int) -> Any:  # noqa: ANN401
    """Make the frame of a cell of an image plot."""
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="black", linewidth=3.5)


def augmentation_figure(record: Mapping[str, Any]) -> Figure:
    """Draw AP of each training on untouched and perturbed images: a point per seed, a line through the means."""
    runs = pd.DataFrame(record["runs"])
    fig: Figure
    fig, (left, right) = figure(1, 2, width=8.4, height=3.6, sharey=True, width_ratios=(3, 2))
    seen = runs[runs["perturbation"].isin(["none", "jpeg"])]
    other = runs[~runs["perturbation"].isin(["none", "jpeg"])]
    for ax, part in ((left, seen), (right, other)):
        cells = list(dict.fromkeys(zip(part["perturbation"], part["strength"], strict=True)))
        for number, setting in enumerate(record["settings"]):
            style = line_style(number)
            rows = part[part["setting"] == setting]
            places = np.arange(len(cells)) + 0.09 * (number - 1)
            by_cell = [rows.loc[(rows["perturbation"] == name) & (rows["strength"] == s), "ap"] for name, s in cells]
            ax.plot(places, [values.mean() for values in by_cell], label=setting, markersize=6, **style)
            for place, values in zip(places, by_cell, strict=True):
                ax.plot([place] * len(values), values, color=style["color"], linestyle="none", marker="_", alpha=0.8)
        names = ["none" if name == "none" else f"{s:g}" if name == "jpeg" else _two_lines(name, s) for name, s in cells]
        ax.set_xticks(range(len(cells)), names)
        ax.axhline(0.5, color="0.35", linestyle=":")
    left.set(xlabel="JPEG quality at test", ylabel="AP on unseen generators", ylim=(0.4, 1.02))
    right.set(xlabel="what no training saw")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, title="JPEG in training")
    return fig


def augmentation_table(record: Mapping[str, Any]) -> pd.DataFrame:
    """Sum up what each training buys and costs: the mean over its seeds, and the lowest and highest seed.

    Args:
        record: See `helpers.lessons.lesson07.study.augmentation_study`.

    Returns:
        A row per measure and test, a column per setting.
    """
    runs = pd.DataFrame(record["runs"])
    shown: dict[str, list[str]] = {}
    for measure, name, strength in BOUGHT:
        rows = runs[(runs["perturbation"] == name) & (runs["strength"] == strength)].groupby("setting")[measure]
        means, lows, highs = rows.mean(), rows.min(), rows.max()
        title = f"{MEASURES[measure]}, {'untouched' if name == 'none' else f'{name} {strength:g}'}"
        shown[title] = [f"{means[key]:.2f} ({lows[key]:.2f} to {highs[key]:.2f})" for key in record["settings"]]
    return pd.DataFrame.from_dict(shown, orient="index", columns=record["settings"])


def _two_lines(name: str, strength: float) -> str:
    return f"{name.removesuffix('-bicubic')}\n{strength:g}"


def score_figure(panels: Mapping[str, Sequence[float]], labels: Sequence[int], threshold: float) -> Figure:
    """Draw the scores of photographs and fakes, a panel per treatment, and the threshold between the verdicts.

    Args:
        panels: Title -> scores; higher means more fake. All panels share both axes.
        labels: 0 or False real, 1 or True fake; the same images in every panel.
        threshold: From here on an image is called fake.

    Returns:
        The figure.
    """
    fake = np.asarray(labels, bool)
    every = {title: np.asarray(scores, float) for title, scores in panels.items()}
    low, high = (edge([edge(values) for values in every.values()]) for edge in (np.min, np.max))
    bins = np.linspace(low, high, 31)
    fig: Figure
    fig, axes = figure(1, len(panels), width=2.8 * len(panels), height=2.4, sharex=True, sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], every.items(), strict=True):
        ax.hist(values[~fake], bins, histtype="step", linewidth=2, color=REAL_STYLE["color"], label="photographs")
        ax.hist(values[fake], bins, alpha=0.4, hatch="//", color=FAKE_STYLE["color"], label="fakes")
        ax.axvline(threshold, color="0.2", linestyle="--", label="threshold")
        ax.set(title=title, xlabel="score (arbitrary units)")
    axes[0][0].set_ylabel("images")
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def perturbation_wall(img: Image, seed: int = 0) -> Figure:
    """Show an image as it is and after six severe perturbations.

    Args:
        img: uint8 (3, H, W).
        seed: Seed of those that draw at random.

    Returns:
        The figure; nothing is scaled back.
    """
    shown = {"as it is": img}
    for name, strength in WALL:
        changed = perturb(img, name, strength, torch.Generator().manual_seed(seed))
        shown[f"{WALL_NAMES.get(name, name)}\n{strength:g}"] = changed
    return image_grid(list(shown.values()), list(shown), columns=len(shown), zoom=WALL_ZOOM)


def threshold_table(record: Mapping[str, Any], cells: Sequence[tuple[str, float]]) -> pd.DataFrame:
    """Lay out AP beside the verdicts at the stored threshold.

    Args:
        record: See `helpers.lessons.lesson07.study.robustness_study`.
        cells: Perturbations and strengths.

    Returns:
        A row per cell.
    """
    cell = {(row["perturbation"], row["strength"]): row for row in record["cells"]}
    rows = {
        f"{name} {s:g}": {title: f"{cell[name, s][key]:.2f}" for key, title in MEASURES.items()} for name, s in cells
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def survival_figure(shares: Mapping[str, Sequence[float]], qualities: Sequence[str]) -> Figure:
    """Draw the share of fakes that are caught against the JPEG quality after an attack.

    Args:
        shares: Name of the attack -> shares, one per quality.
        qualities: What the qualities are called.

    Returns:
        The figure.
    """
    fig: Figure
    fig, ax = figure(width=6.2, height=2.6)
    for index, (name, values) in enumerate(shares.items()):
        ax.plot(range(len(qualities)), values, label=name, **line_style(index))
    ax.set_xticks(range(len(qualities)), qualities)
    ax.set(xlabel="JPEG quality after the attack", ylabel="fakes caught (share)", ylim=(-0.05, 1.05))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper")
    return fig
