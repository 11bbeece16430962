"""One picture of the whole method, shared by lessons 03 to 06: stage 1, natural traces, stage 2, score."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers.course.figures import PALETTE, figure
from helpers.errors import NaturalTracesError

__all__ = ["PARTS", "pipeline_alt", "pipeline_figure"]

PARTS = ("stage 1", "traces", "stage 2", "score")
"""What can be highlighted, in the order in which data flows."""
HALF_WIDTH, HALF_HEIGHT = 0.46, 0.31
"""Half the size of a box, where columns and rows are 1 apart."""


class _Box(NamedTuple):
    """A box of the diagram: the part that it belongs to, its column and row, and its text."""

    part: str
    column: float
    row: float
    text: str


BOXES: Mapping[str, _Box] = MappingProxyType(
    {
        "photographs": _Box("stage 1", 0, 0, "photographs\nonly"),
        "views": _Box("stage 1", 1.15, 0, "kept and\nbroken views"),
        "encoder": _Box("stage 1", 2.3, 0, "encoder with\ntwo heads"),
        "traces": _Box("traces", 3.45, 0, "natural\ntraces $t_k$"),
        "labelled": _Box("stage 2", 0, 1, "photographs and\nsome fakes"),
        "student": _Box("stage 2", 1.15, 1, "encoder,\nlearns on"),
        "embedding": _Box("stage 2", 2.3, 1, "embedding $z$\nand classifier"),
        "loss": _Box("stage 2", 3.45, 1, "soft contrastive\nloss"),
        "image": _Box("score", 0, 2, "one image"),
        "again": _Box("score", 1.15, 2, "encoder,\nfrozen"),
        "near": _Box("score", 2.3, 2, "classifier, and\nproximity to $t_k$"),
        "score": _Box("score", 3.45, 2, "score,\nthreshold"),
    }
)
ARROWS = (
    ("photographs", "views"),
    ("views", "encoder"),
    ("encoder", "traces"),
    ("labelled", "student"),
    ("student", "embedding"),
    ("embedding", "loss"),
    ("traces", "loss"),
    ("image", "again"),
    ("again", "near"),
    ("near", "score"),
)
"""From which box to which; all run to the right or downwards."""
ROWS = ("Stage 1\nlesson 03", "Stage 2\nlesson 04", "Score\nlessons 05, 06")


def pipeline_figure(*highlights: str) -> Figure:
    """Draw the method as a diagram, with what a lesson is about filled in.

    Args:
        highlights: one or more of `PARTS`.

    Returns:
        The figure, to be given to `show`.

    Raises:
        NaturalTracesError: there is no such part.
    """
    unknown = [name for name in highlights if name not in PARTS]
    if unknown:
        raise NaturalTracesError(f"{unknown[0]}: no part of the pipeline (known: {', '.join(PARTS)})")
    fig: Figure
    fig, ax = figure(width=8, height=3.5)
    for box in BOXES.values():
        _draw_box(ax, box, filled=box.part in highlights)
    for start, end in ARROWS:
        _draw_arrow(ax, BOXES[start], BOXES[end])
    for row, text in enumerate(ROWS):
        ax.text(-0.62, row, text, ha="right", va="center", fontsize=11)
    ax.set(xlim=(-1.55, 3.45 + HALF_WIDTH + 0.04), ylim=(2.4, -0.4))
    ax.set_axis_off()
    return fig


def pipeline_alt(*highlights: str) -> str:
    """Describe the diagram in words, for `show`."""
    return (
        "Diagram in three rows. Stage 1: photographs, kept and broken views, encoder with two heads, natural traces. "
        "Stage 2: photographs and some fakes, encoder, embedding and classifier, soft contrastive loss, which sees the "
        f"traces too. Score: image, encoder, classifier and proximity, threshold. Filled: {' and '.join(highlights)}."
    )


def _draw_box(ax: Axes, box: _Box, *, filled: bool) -> None:
    """Draw a box; a filled one stands out by colour and by a thick edge."""
    ax.text(
        box.column,
        box.row,
        box.text,
        ha="center",
        va="center",
        fontsize=10,
        color="white" if filled else "black",
    )
    corner = (box.column - HALF_WIDTH, box.row - HALF_HEIGHT)
    face, width = (PALETTE[0], 2.5) if filled else ("0.95", 1.0)
    ax.add_patch(_rounded(corner, face, width))


def _rounded(corner: tuple[float, float], face: str, width: float) -> FancyBboxPatch:
    """Make the outline of a box from its upper left corner."""
    style = "round,pad=0,rounding_size=0.08"
    return FancyBboxPatch(corner, 2 * HALF_WIDTH, 2 * HALF_HEIGHT, style, facecolor=face, edgecolor="black", lw=width)


def _draw_arrow(ax: Axes, start: _Box, end: _Box) -> None:
    """Draw an arrow from the edge of one box to the edge of another, to the right or down."""
    down = end.row > start.row and end.column == start.column
    tail = (start.column, start.row + HALF_HEIGHT) if down else (start.column + HALF_WIDTH, start.row)
    head = (end.column, end.row - HALF_HEIGHT) if down else (end.column - HALF_WIDTH, end.row)
    ax.annotate(
        "", head, tail, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.5, "shrinkA": 2, "shrinkB": 2}
    )
