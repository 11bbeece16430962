"""Explorers: alive where a kernel runs, a picture elsewhere."""

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

import helpers.course.widgets
from helpers.course.figures import figure
from helpers.course.widgets import WIDGET_VIEW, display_widget, explorer, explorer_box

drawn: list[dict[str, object]] = []


def draw(scale: int, channel: str, logarithmic: bool) -> Figure:
    drawn.append({"scale": scale, "channel": channel, "logarithmic": logarithmic})
    fig, ax = figure(width=2, height=1)
    ax.plot([0, scale])
    return fig


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    outputs: list[dict[str, object]] = []
    monkeypatch.setattr(helpers.course.widgets, "display_bundle", outputs.append)
    drawn.clear()
    return outputs


CONTROLS = {"scale": (1, 9, 2), "channel": ["red", "green"], "logarithmic": False}


def make() -> ipywidgets.VBox:
    return explorer_box(draw, alt="A line that rises.", **CONTROLS)


def test_controls_are_labelled_and_the_first_setting_is_drawn(shown: list[dict[str, object]]) -> None:
    box = make()
    *controls, picture = box.children
    assert [control.description for control in controls] == ["scale", "channel", "logarithmic"]
    assert drawn == [{"scale": 5, "channel": "red", "logarithmic": False}]
    assert 'alt="A line that rises. Setting: scale = 5, channel = red, logarithmic = False."' in picture.value


def test_a_changed_control_draws_again_and_leaves_no_figure_open(shown: list[dict[str, object]]) -> None:
    box = make()
    before = box.children[-1].value
    box.children[0].value = 9
    box.children[1].value = "green"
    assert drawn[1:] == [
        {"scale": 9, "channel": "red", "logarithmic": False},
        {"scale": 9, "channel": "green", "logarithmic": False},
    ]
    assert box.children[-1].value != before
    assert "scale = 9, channel = green" in box.children[-1].value
    assert plt.get_fignums() == []


def test_the_output_holds_the_live_view_and_a_readable_stand_in(shown: list[dict[str, object]]) -> None:
    assert explorer(draw, alt="A line that rises.", **CONTROLS) is None
    (output,) = shown
    assert sorted(output) == sorted([WIDGET_VIEW, "text/html", "text/plain"])
    assert 'alt="A line that rises. Setting: scale = 5' in output["text/html"]
    assert output["text/html"].endswith(f"<p><em>{output['text/plain']}</em></p>")
    assert output["text/plain"] == (
        "Interactive in JupyterLab: run this cell, then change scale, channel, logarithmic."
    )


def test_the_live_view_is_that_of_the_widget(shown: list[dict[str, object]]) -> None:
    box = ipywidgets.VBox()
    display_widget(box, "<p>A still picture.</p>", "Run this cell.")
    assert shown[0][WIDGET_VIEW] == {"version_major": 2, "version_minor": 0, "model_id": box.model_id}


def test_a_ready_made_control_is_used(shown: list[dict[str, object]]) -> None:
    slider = ipywidgets.FloatLogSlider(value=1, min=-2, max=2)
    fig = figure(width=1, height=1)[0]
    box = explorer_box(lambda temperature: fig, alt="An empty pair of axes.", temperature=slider)
    assert box.children[0] is slider
    assert slider.description == "temperature"
    assert not slider.continuous_update


def test_a_control_that_makes_no_sense_is_refused(shown: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="no control"):
        explorer(lambda scale: figure()[0], alt="An empty pair of axes.", scale=object())


def test_the_setting_is_told_as_the_controls_show_it() -> None:
    box = explorer_box(
        lambda **_: figure()[0], "A figure that is empty.", quality={"none": 0, "70": 70}, blur=(-0.15, 0.15, 0.05)
    )
    menu, slider, picture = box.children
    assert picture.value.count("Setting: quality = none, blur = -0.05.") == 2
    menu.value, slider.value = 70, 0.1 + 0.05 - 0.05 + 1e-12
    assert "quality = 70, blur = 0.1." in picture.value
