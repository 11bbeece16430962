import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from helpers.course.figures import PALETTE, use_style
from helpers.errors import NaturalTracesError
from helpers.lessons.pipeline import ARROWS, BOXES, PARTS, pipeline_alt, pipeline_figure


@pytest.mark.parametrize("highlights", [("stage 1",), ("traces", "stage 2"), PARTS])
def test_the_diagram_fills_what_a_lesson_is_about(highlights: tuple[str, ...]) -> None:
    ax = pipeline_figure(*highlights).axes[0]
    colors = [to_hex(patch.get_facecolor()) for patch in ax.patches if hasattr(patch, "get_boxstyle")]
    filled = [box.part for box, color in zip(BOXES.values(), colors, strict=False) if color == PALETTE[0]]
    assert filled == [box.part for box in BOXES.values() if box.part in highlights]
    plt.close("all")


def test_every_box_has_its_arrow_and_fits_its_text() -> None:
    assert {name for arrow in ARROWS for name in arrow} == set(BOXES)
    use_style()
    fig = pipeline_figure("score")
    fig.canvas.draw()
    ax = fig.axes[0]
    boxes = [patch for patch in ax.patches if hasattr(patch, "get_boxstyle")][: len(BOXES)]
    for text, patch in zip(ax.texts, boxes, strict=False):
        inside, outline = text.get_window_extent(), patch.get_window_extent()
        assert outline.x0 <= inside.x0 < inside.x1 <= outline.x1, text.get_text()
    plt.close("all")


def test_what_is_filled_is_also_said() -> None:
    assert pipeline_alt("stage 1", "traces").endswith("Filled: stage 1 and traces.")


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(NaturalTracesError, match="no part of the pipeline"):
        pipeline_figure("stage 3")
