"""Variance between groups: made-up groups whose components are known, and where upsampling puts its copies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.lessons.lesson02.variance import (
    PLACES,
    between_variance,
    frequencies,
    places,
    recorded_ratios,
    replica_cells,
    ring_cells,
    scenes,
    variance_ratio,
)
from helpers.statistics.residuals import log_spectrum, zero_insert


def groups(deviation: float, count: int, images: int = 40, cells: int = 200, seed: int = 0) -> list[np.ndarray]:
    """Groups whose means have a known deviation, with unit noise within."""
    rng = np.random.default_rng(seed)
    return [deviation * rng.normal(size=cells) + rng.normal(size=(images, cells)) for _ in range(count)]


class TestBetween:
    def test_finds_a_known_variance(self):
        assert between_variance(groups(1.5, 20)).mean() == pytest.approx(1.5**2, rel=0.1)

    def test_is_unbiased_where_groups_do_not_differ(self):
        """The plain variance of means would give 1 / images."""
        result = between_variance(groups(0.0, 12, images=10, cells=4000))
        assert abs(result.mean()) < 0.005
        assert (result < 0).any()

    def test_agrees_with_one_way_analysis_of_variance(self):
        data = groups(0.5, 6, images=15, cells=1)
        grand = np.concatenate(data).mean()
        between = 15 * sum((x.mean() - grand) ** 2 for x in data) / 5
        within = sum(((x - x.mean()) ** 2).sum() for x in data) / (6 * 14)
        assert between_variance(data)[0] == pytest.approx((between - within) / 15)


class TestRatio:
    def test_covers_the_truth(self):
        cells = {"all": np.ones(200, bool)}
        result = variance_ratio(groups(2.0, 12), groups(1.0, 8, seed=1), cells, n_draws=200)["all"]
        assert result.low < 4 < result.high
        assert result.value == pytest.approx(4, rel=0.3)
        assert result.n == 20

    def test_only_the_chosen_cells_count(self):
        strong = [np.concatenate([a, b], axis=1) for a, b in zip(groups(3.0, 8), groups(0.5, 8, seed=2), strict=True)]
        weak = groups(1.0, 8, cells=400, seed=3)
        cells = {"first": np.arange(400) < 200, "second": np.arange(400) >= 200}
        result = variance_ratio(strong, weak, cells, n_draws=20)
        assert result["first"].value > 5
        assert result["second"].value < 0.6

    def test_few_groups_give_a_wider_interval_than_many(self):
        cells = {"one": np.ones(1, bool)}
        few, many = (
            variance_ratio(groups(1, n, cells=1), groups(1, n, cells=1, seed=1), cells, n_draws=300)["one"]
            for n in (5, 60)
        )
        assert np.log(few.high / few.low) > 2 * np.log(many.high / many.low)


class TestPlaces:
    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_zero_insertion_lights_exactly_the_predicted_cells(self, factor):
        flat = zero_insert(torch.full((1, 3, 64 // factor, 64 // factor), 100.0), factor)
        spectrum = torch.fft.fftshift(torch.fft.fft2(flat).abs()[0, 0])
        lit = spectrum > 1e-3
        lit[32, 32] = False  # the mean itself
        assert torch.equal(lit, replica_cells(64, factor))

    def test_log_spectrum_has_its_peaks_there(self):
        flat = 100 + 10 * zero_insert(torch.ones((1, 3, 32, 32)), 2)
        highest = log_spectrum(flat)[0].flatten().topk(3).indices
        assert set(highest.tolist()) == set(replica_cells(64, 2).flatten().nonzero().flatten().tolist())

    def test_parts_do_not_overlap(self):
        parts = places(64)
        assert tuple(parts) == PLACES
        assert [int(parts[name].sum()) for name in ("halves", "quarters", "eighths")] == [3, 12, 48]
        assert int(torch.stack(list(parts.values())).sum(dim=0).max()) == 1
        assert float(frequencies(64)[parts["elsewhere"]].min()) > 0.25

    def test_rings_fill_the_plane(self):
        rings = ring_cells(64, [index / 16 for index in range(13)])
        assert torch.equal(torch.stack(rings).sum(dim=0), torch.ones(64, 64, dtype=torch.int64))


def test_scenes_are_the_eight_everyday_ones():
    reduced, native = scenes(4), scenes(4, native=True)
    assert len(reduced) == 8
    assert set(reduced) == set(native)
    assert all(x.shape == (4, 3, 64, 64) for x in (*reduced.values(), *native.values()))
    assert not torch.equal(reduced["coffee"], native["coffee"])


def test_recorded_ratios_are_those_of_the_record(project: Path) -> None:
    rows = json.loads((project / "data" / "results" / "variance_zoo.json").read_text("utf-8"))["ratios"]
    of_gans = [
        row for row in rows if (row["of"], row["view"], row["residual"]) == ("GANs", "matched JPEG", "denoising")
    ]
    wanted = next(row for row in of_gans if row["over"] == "photographs")
    result = recorded_ratios("matched JPEG")
    assert list(result) == ["GANs", "diffusion"]
    assert result["GANs"]["halves"].value == wanted["halves"]["value"]
    assert list(result["diffusion"]) == list(PLACES)
