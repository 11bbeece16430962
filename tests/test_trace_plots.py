"""Figures of lesson 03 show what they are given, with labels."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.lessons.lesson03 import figures as trace_plots
from helpers.lessons.lesson03.study import PIXEL_DIFFUSION
from helpers.pixels.views import BREAKERS

GENERATORS = ("ddpm", "style", "dit", "dcgan")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def record() -> dict:
    names = ["full", "other", *[f"broken by {name} alone" for name in BREAKERS]]
    rng = np.random.default_rng(0)
    variants = []
    for name in names:
        areas = {
            g: {"value": v, "low": v - 0.1, "high": v + 0.1} for g, v in zip(GENERATORS, rng.random(4), strict=True)
        }
        alarm = {"photographs": list(rng.random(2)), "heterogeneous": list(rng.random(2))}
        mean = {"value": 0.7, "low": 0.6, "high": 0.75}
        variants.append({"name": name, "generators": areas, "mean": mean, "spread": alarm, "rank": alarm})
    return {"variants": variants}


def test_generators_that_enlarge_come_first() -> None:
    assert trace_plots.ordered(GENERATORS) == ["dcgan", "style", "ddpm", "dit"]
    assert set(trace_plots.ordered(GENERATORS)[2:]) <= set(PIXEL_DIFFUSION)


def test_a_flat_image_has_no_detail_and_a_checkerboard_has_much() -> None:
    flat = torch.full((3, 16, 16), 90, dtype=torch.uint8)
    assert torch.allclose(trace_plots.fine_detail(flat), torch.full((16, 16), 0.5), atol=1e-5)
    board = flat + 60 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2).to(torch.uint8)
    detail = trace_plots.fine_detail(board)[2:-2, 2:-2]
    assert 0 <= float(detail.min()) < 0.05
    assert 0.95 < float(detail.max()) <= 1


def test_alarms_are_drawn_from_step_one() -> None:
    logs = {
        "a": pd.DataFrame({"spread": [0.5, 0.1], "rank": [3.0, 2.0]}),
        "b": pd.DataFrame({"spread": [1], "rank": [1]}),
    }
    fig = trace_plots.alarm_figure(logs)
    lines = fig.axes[0].lines
    assert [list(line.get_xdata()) for line in lines] == [[1, 2], [1]]
    assert list(lines[0].get_ydata()) == [0.5, 0.1]
    assert list(fig.axes[1].lines[0].get_ydata()) == [3.0, 2.0]


def test_every_generator_shows_its_recorded_area() -> None:
    made = record()
    fig = trace_plots.generator_figure(made, ["full"], {"more": dict.fromkeys(GENERATORS, 0.25)})
    ax = fig.axes[0]
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == trace_plots.ordered(GENERATORS)
    drawn = ax.containers[0].lines[0].get_ydata()
    assert list(drawn) == [made["variants"][0]["generators"][name]["value"] for name in labels]


def test_the_ablation_keeps_the_order_of_its_variants() -> None:
    fig = trace_plots.ablation_figure(record(), ["other", "full"])
    labels = {
        text.get_text(): place
        for text, place in zip(fig.axes[0].get_yticklabels(), fig.axes[0].get_yticks(), strict=True)
    }
    assert labels["other"] > labels["full"]
    assert all(ax.get_xlabel() for ax in fig.axes)


def test_breakers_fill_a_table_with_all_six_last() -> None:
    made = record()
    ax = trace_plots.breaker_figure(made).axes[0]
    areas = ax.collections[0].get_array()
    assert areas.shape == (7, 4)
    texts = [text.get_text() for text in ax.texts]
    assert texts == [f"{area:.2f}" for area in areas.ravel()]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert areas[-1].tolist() == [
        made["variants"][0]["generators"][name]["value"] for name in trace_plots.ordered(GENERATORS)
    ]


def test_a_view_states_its_rank_among_photographs() -> None:
    img = torch.zeros(3, 16, 16, dtype=torch.uint8)
    fig = trace_plots.view_figure(img, 0.35, [0.1, 0.2, 0.3, 0.4], "kept")
    assert fig.axes[2].get_title() == "farther than 75 % of photographs"


def test_histograms_count_percent_and_leave_out_what_is_empty() -> None:
    _, ax = plt.subplots()
    trace_plots.draw_distances(ax, [0.05, 0.05, 0.5, 0.001], [], "title")
    heights = [patch.get_path().vertices[:, 1].max() for patch in ax.patches]
    assert len(heights) == 1
    assert heights[0] == pytest.approx(50)


def test_six_filters_are_drawn_with_what_they_leave() -> None:
    img = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fig = trace_plots.filter_figure(img)
    shown = [ax.images[0].get_array() for ax in fig.axes]
    assert len(shown) == 12
    for kernel, view in zip(shown[0::2], shown[1::2], strict=True):
        assert float(kernel.sum()) == pytest.approx(0, abs=1e-6)
        assert view.shape == (32, 32)
    assert {text.get_text() for text in fig.axes[0].texts} == {"-1", "1"}


def test_counts_are_sorted_by_the_first_image() -> None:
    shares = {"one": torch.tensor([0.1, 0.6, 0.3]), "two": torch.tensor([0.5, 0.2, 0.3])}
    first, second = trace_plots.counts_figure(shares).axes[0].lines
    assert first.get_ydata() == pytest.approx([60, 30, 10])
    assert second.get_ydata() == pytest.approx([20, 30, 50])
