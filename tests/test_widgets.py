"""Explorers: alive where a kernel runs, a picture elsewhere."""

import re

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

import helpers.course.widgets
from helpers.course.environment import CHECKED
from helpers.course.figures import Picture, figure
from helpers.course.numbering import FIGURES
from helpers.course.widgets import LIVE, STYLE, WIDGET_VIEW, display_widget, explorer, explorer_box

drawn: list[dict[str, object]] = []


def draw(scale: int, channel: str, logarithmic: bool) -> Figure:
    drawn.append({"scale": scale, "channel": channel, "logarithmic": logarithmic})
    fig, ax = figure(width=2, height=1)
    ax.plot([0, scale])
    return fig


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    outputs: list[dict[str, object]] = []
    for module in (helpers.course.widgets, helpers.course.figures):
        monkeypatch.setattr(module, "display_bundle", lambda data, metadata=None: outputs.append(data))
    FIGURES.reset()
    drawn.clear()
    return outputs


CONTROLS = {"scale": (1, 9, 2), "channel": ["red", "green"], "logarithmic": False}


def make() -> ipywidgets.VBox:
    return explorer_box(draw, "A line that rises.", 1, **CONTROLS)[0]


def test_controls_are_labelled_and_the_first_setting_is_drawn(shown: list[dict[str, object]]) -> None:
    box = make()
    *controls, picture, caption = box.children
    field, slider = controls[0].children
    assert [control.description for control in (field, *controls[1:])] == ["scale", "channel", "logarithmic"]
    assert (field.value, field.min, field.max, field.step) == (slider.value, 1, 9, 2)
    assert not slider.tabbable
    assert drawn == [{"scale": 5, "channel": "red", "logarithmic": False}]
    text = "A line that rises. Setting: scale = 5, channel = red, logarithmic = False."
    assert f'alt="{text}"' in picture.value
    assert caption.value == f"<strong>Figure 1:</strong> {text}"


def test_a_changed_control_draws_again_and_leaves_no_figure_open(shown: list[dict[str, object]]) -> None:
    box = make()
    before = box.children[-2].value
    field, slider = box.children[0].children
    field.value = 9
    assert slider.value == 9
    box.children[1].value = "green"
    assert drawn[1:] == [
        {"scale": 9, "channel": "red", "logarithmic": False},
        {"scale": 9, "channel": "green", "logarithmic": False},
    ]
    assert box.children[-2].value != before
    assert all("scale = 9, channel = green" in child.value for child in box.children[-2:])
    assert plt.get_fignums() == []


def test_the_output_holds_the_live_view_and_a_readable_stand_in(shown: list[dict[str, object]]) -> None:
    assert explorer(draw, alt="A line that rises.", **CONTROLS) is None
    view, drawing, caption = shown
    assert list(view) == [WIDGET_VIEW]
    assert sorted(drawing) == ["image/png", "text/plain"]
    note = "Interactive in JupyterLab: run this cell, then change scale, channel, logarithmic."
    assert caption["text/plain"] == (
        f"Figure 1: A line that rises. Setting: scale = 5, channel = red, logarithmic = False. {note}"
    )
    assert caption["text/html"].endswith(f"<em>{note}</em>{STYLE}")
    assert len(drawn) == 1


def test_no_style_is_stored(shown: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKED, "1")
    explorer(draw, alt="A line that rises.", **CONTROLS)
    assert set(re.findall(r"<(\w+)", shown[2]["text/html"])) == {"strong", "em"}


def test_the_live_view_is_that_of_the_widget(shown: list[dict[str, object]]) -> None:
    box = ipywidgets.VBox()
    display_widget(box, Picture(b"png", "A picture that stands still.", 9), "Run this cell.")
    assert shown[0][WIDGET_VIEW] == {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    assert LIVE in box._dom_classes
    assert shown[2]["text/plain"] == "Figure 1: A picture that stands still. Run this cell."


def test_a_ready_made_control_is_used(shown: list[dict[str, object]]) -> None:
    slider = ipywidgets.FloatLogSlider(value=1, min=-2, max=2)
    fig = figure(width=1, height=1)[0]
    box, _ = explorer_box(lambda temperature: fig, "An empty pair of axes.", 1, temperature=slider)
    field = box.children[0].children[0]
    assert box.children[0].children[1] is slider
    assert (field.description, field.value, field.min, field.max) == ("temperature", 1, 0.01, 100)
    assert not slider.continuous_update


def test_a_control_that_makes_no_sense_is_refused(shown: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="no control"):
        explorer(lambda scale: figure()[0], alt="An empty pair of axes.", scale=object())


def test_the_setting_is_told_as_the_controls_show_it() -> None:
    box, still = explorer_box(
        lambda **_: figure()[0], "A figure that is empty.", 1, quality={"none": 0, "70": 70}, blur=(-0.15, 0.15, 0.05)
    )
    menu, (_, slider), caption = box.children[0], box.children[1].children, box.children[-1]
    assert still.alt.endswith("Setting: quality = none, blur = -0.05.")
    menu.value, slider.value = 70, 0.1 + 0.05 - 0.05 + 1e-12
    assert "quality = 70, blur = 0.1." in caption.value
