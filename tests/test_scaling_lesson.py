"""What lesson 08 measures and models: pipelines, jobs, the work of a layer, and figures that say what was measured."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from helpers.api import load_detector
from helpers.lessons.lesson08 import figures, study


def test_the_slowest_stage_sets_the_rate() -> None:
    assert study.pipeline_rate([0.04, 0.02], [1, 1]) == pytest.approx(25)
    assert study.pipeline_rate([0.04, 0.02], [4, 1]) == pytest.approx(50)
    assert study.rate_by_workers(0.04, 0.02, [1, 2, 4]) == pytest.approx([25, 50, 50])


def test_machines_share_the_hours_and_not_the_cost() -> None:
    one, ten = study.price_job(3.6e6, 100, 1, 2.0), study.price_job(3.6e6, 100, 10, 2.0)
    assert (one.hours, one.cost) == pytest.approx((10, 20))
    assert (ten.hours, ten.cost) == pytest.approx((1, 20))


def test_the_work_of_a_convolution_is_counted_and_the_network_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)).eval()
    before = network[1].running_mean.clone()
    (layer,) = study.layer_work(network, torch.rand(1, 2, 8, 8))
    assert layer.flops == 2 * 3 * 64 * 2 * 9
    assert layer.bytes == 4 * (2 * 64 + 3 * 64 + 3 * 2 * 9)
    assert torch.equal(network[1].running_mean, before)
    assert not network.training


def test_the_roof_bends_where_memory_stops_limiting() -> None:
    peaks = study.Peaks(flops=100e9, bytes=10e9)
    assert [peaks.roof(intensity) / 1e9 for intensity in (1, 10, 100)] == pytest.approx([10, 100, 100])


def test_shares_of_one_kind_of_file_sum_to_one() -> None:
    seconds = {"decode PNG": 0.04, "decode JPEG": 0.01, "cut windows": 0.0, "network": 0.04}
    assert study.shares(seconds, "PNG") == pytest.approx({"decode PNG": 0.5, "cut windows": 0, "network": 0.5})
    assert study.shares(seconds, "JPEG")["decode JPEG"] == pytest.approx(0.2)


def test_figures_say_what_is_modelled() -> None:
    bars = figures.profile_figure({"decode PNG": 0.04, "decode JPEG": 0.01, "cut windows": 0.0, "network": 0.02})
    assert {text.get_text() for text in bars.axes[0].texts} == {"40 ms", "10 ms", "20 ms"}
    rates = figures.rate_figure([1, 2], {"PNG": [10.0, 20.0]})
    assert "modelled" in rates.axes[0].get_ylabel()
    roof = figures.roofline_figure(study.Peaks(1e11, 1e10), [study.LayerWork("convolution 1", 1e8, 5e6)])
    assert roof.axes[0].get_ylabel().endswith("at most")
    plt.close("all")


def test_amdahls_law_and_its_share_are_each_others_inverse() -> None:
    for share in (0.0, 0.05, 0.5, 1.0):
        assert study.amdahl(share, 1) == pytest.approx(1)
        assert study.serial_share(study.amdahl(share, 2), 2) == pytest.approx(share)
    assert study.amdahl(0.05, 10**9) == pytest.approx(20)
    assert study.serial_share(2.2, 2) == 0  # measured above the ideal
    assert study.serial_share(0.8, 2) == 1


@pytest.mark.slow
def test_one_and_two_processes_are_timed(tmp_path: Path) -> None:
    rates = study.scaling(load_detector("zoo"), tmp_path, [1, 2], count=3, side=64)
    assert set(rates) == {1, 2}
    assert min(rates.values()) > 0
