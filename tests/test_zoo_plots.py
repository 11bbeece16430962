"""Figures of the zoo."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.evaluation.metrics import Interval
from helpers.generators import RECIPES
from helpers.lessons.lesson02 import figures as zoo_plots
from helpers.statistics.residuals import KERNELS, phase_gains


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_every_generator_has_a_label():
    assert set(RECIPES) <= set(zoo_plots.LABELS)


def test_mosaic_keeps_every_pixel():
    images = [torch.randint(0, 256, (3, 8, 6), dtype=torch.uint8) for _ in range(3)]
    sheet = zoo_plots.mosaic(images, columns=2, gap=2)
    assert sheet.shape == (3, 18, 14)
    assert torch.equal(sheet[:, :8, 8:], images[1])
    assert torch.equal(sheet[:, 10:, :6], images[2])
    assert bool((sheet[:, 10:, 8:] == 255).all())


def test_spectrum_picture_is_white_where_equal_and_tells_more_from_less():
    picture = zoo_plots.spectrum_picture(torch.tensor([[0.0, 12.0], [-12.0, 100.0]]), zoom=1).float()
    assert float(picture[:, 0, 0].min()) > 240
    assert picture[0, 0, 1] > picture[2, 0, 1]  # orange: red above blue
    assert picture[2, 1, 0] > picture[0, 1, 0]  # purple: blue above red
    assert torch.equal(picture[:, 0, 1], picture[:, 1, 1])


def test_wall_has_a_labelled_cell_for_each_set():
    images = {name: torch.zeros((2, 3, 64, 64), dtype=torch.uint8) for name in ("dcgan", "edm", "seen")}
    spectra = {name: torch.zeros(64, 64) for name in images}
    fig = zoo_plots.wall_figure(images, spectra, torch.zeros(64, 64))
    *labels, scale = [ax.texts[0].get_text() for ax in fig.axes]
    assert labels == [zoo_plots.LABELS[name] for name in images]
    assert "dB" in scale


class TestKernels:
    @pytest.mark.parametrize(("blur", "name"), [(0.0, "nearest"), (0.25, "bilinear")])
    def test_slider_passes_through_the_named_kernels(self, blur, name):
        taps = zoo_plots.slider_kernel(blur, 0.0)
        named = KERNELS[name]
        assert torch.equal(taps[taps > 0], named)

    @pytest.mark.parametrize("imbalance", [-0.2, 0.0, 0.3])
    def test_imbalance_is_the_gap_between_phases(self, imbalance):
        even, odd = phase_gains(zoo_plots.slider_kernel(0.1, imbalance)).tolist()
        assert (even, odd) == pytest.approx((1 + imbalance, 1 - imbalance))

    def test_response_in_the_figure_starts_at_one_and_ends_at_the_imbalance(self):
        plane = torch.full((64, 64), 100.0)
        curve = zoo_plots.kernel_figure(plane, 0.25, 0.2).axes[2].lines[0].get_ydata()
        assert float(curve[0]) == pytest.approx(1)
        assert float(curve[-1]) == pytest.approx(0.2)

    def test_spectra_have_frequencies_on_their_axes(self):
        fig = zoo_plots.spectra_figure({"a": torch.rand(32, 32) * 255, "b": torch.rand(64, 64) * 255})
        extents = [ax.images[0].get_extent() for ax in fig.axes[2:4]]
        assert extents == [[-0.5, 0.5, 0.5, -0.5]] * 2
        assert fig.axes[2].get_ylabel()


def test_matrix_writes_its_numbers():
    fig = zoo_plots.matrix_figure(
        np.array([[3.0, 0.0], [1.0, 2.0]]), ["a", "b"], rows="made by", columns="named", limits=(0, 3)
    )
    assert [text.get_text() for text in fig.axes[0].texts] == ["3", "1", "2"]
    assert fig.axes[0].get_ylabel() == "made by"


def test_ratio_figure_draws_one_series_each():
    ratio = Interval(2.0, 0.5, 8.0, 0.95, 20)
    fig = zoo_plots.ratio_figure({"GANs": {"halves": ratio}, "diffusion": {"halves": ratio}})
    ax = fig.axes[0]
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["GANs", "diffusion"]
    assert len(ax.containers) == 2
