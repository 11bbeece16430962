"""Figures of natural-image statistics, the statistic explorer, and `python -m helpers statistics`."""

import json

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import skimage
import torch

from helpers import cli, statistics
from helpers.course import widgets
from helpers.lessons.lesson01 import figures as statistic_plots


@pytest.fixture(scope="module")
def coffee() -> torch.Tensor:
    return torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("view", statistic_plots.STATISTIC_CURVES)
@pytest.mark.parametrize("copy", statistic_plots.altered_copies())
def test_every_view_of_every_copy_can_be_drawn(coffee, view, copy):
    plane = statistics.downscale(statistics.as_luminance(statistic_plots.altered_copies()[copy](coffee)), 4)
    fig = statistic_plots.statistic_figure(plane, view, copy)
    curve, reference = fig.axes[1].lines
    assert len(curve.get_xdata()) > 5
    assert np.isfinite(np.asarray(curve.get_ydata(), dtype=float)).any()
    assert fig.axes[1].get_xlabel()
    assert fig.axes[1].get_ylabel()
    assert curve.get_linestyle() != reference.get_linestyle()


def test_a_flat_picture_is_drawn_with_a_remark_instead_of_a_curve():
    fig = statistic_plots.statistic_figure(torch.full((64, 64), 0.5), "first digits", "grey card")
    assert "first digit" in fig.axes[1].get_title()


def test_differences_are_a_density(coffee):
    fig, ax = plt.subplots()
    statistic_plots.plot_differences(ax, coffee, "coffee")
    density = np.nan_to_num(np.asarray(ax.lines[0].get_ydata(), dtype=float))
    assert density.sum() * np.diff(statistic_plots.SPREADS)[0] == pytest.approx(1, abs=0.01)
    plt.close(fig)


def test_stability_figure_has_a_panel_per_statistic_and_a_point_per_photograph(coffee):
    table = statistics.stability_table({"coffee": coffee, "upside_down": coffee.flip(1)}, scales=(1, 2))
    fig = statistic_plots.stability_figure(table, ["coffee", "upside_down"])
    assert [ax.get_xlabel() for ax in fig.axes] == [statistic.title for statistic in statistics.STATISTICS.values()]
    first = fig.axes[1].lines[1]
    assert first.get_label() == "photograph, native size"
    assert first.get_xdata()[0] == pytest.approx(statistics.gradient_shape(coffee))


def test_the_explorer_redraws_when_a_control_changes(coffee, monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display_widget", lambda box, still, note, number: shown.append((box, still, note)))
    statistic_plots.statistic_explorer({"coffee": coffee})
    box, still, note = shown[0]
    *controls, picture, caption = box.children
    first = picture.value
    assert [control.description for control in controls] == ["statistic", "photograph", "copy", "shrunk"]
    assert all(isinstance(control, ipywidgets.Dropdown) for control in controls)
    assert still.png.startswith(b"\x89PNG")
    assert "statistic, photograph, copy, shrunk" in note
    controls[0].value, controls[2].value = "first digits", "saved as JPEG 40"
    assert picture.value != first
    assert "copy = saved as JPEG 40" in caption.value


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_the_command_prints_strict_json(capsys):
    status, out, _ = run(capsys, "statistics", "--pictures", "textures", "--json")
    result = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status == 0
    pictures = {row["name"]: row for row in result["pictures"]}
    assert pictures["moon"]["wavelet_shape"] is None
    assert pictures["grass"]["slope_low"] < pictures["grass"]["slope"] < pictures["grass"]["slope_high"]
    assert len(result["table"]) == len(pictures) * 3 * len(statistics.STATISTICS)


def test_the_command_refuses_an_unknown_set_in_one_line(capsys):
    status, out, err = run(capsys, "statistics", "--pictures", "paintings")
    assert status == 2
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_the_photographs_are_printed_with_both_summaries(capsys):
    status, out, _ = run(capsys, "statistics", "--pictures", "photographs")
    assert status == 0
    for text in ("hubble_deep_field", "everyday and scientific: 11 sources", "gradient tail shape"):
        assert text in out


def test_the_benchmark_tells_its_time(capsys, monkeypatch):
    from helpers.lessons.lesson01 import study

    some = study.embedded(["textures"])
    monkeypatch.setattr(study, "embedded", lambda: some)
    status, out, _ = run(capsys, "bench", "statistics", "--json")
    result = json.loads(out)
    assert status == 0
    assert result["pictures"] == len(some[1])
    assert result["seconds"] >= result["seconds_measuring"] > 0
    assert run(capsys, "bench", "statistics")[1].startswith(f"{len(some[1])} pictures, ")
