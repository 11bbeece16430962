"""Attribution: made-up generators whose marks are known, and the shipped zoo."""

import numpy as np
import pytest
import torch

from helpers.generators import zoo_images
from helpers.lessons.lesson02 import attribution
from helpers.lessons.lesson02.attribution import (
    POST_PROCESSING,
    choose,
    colour_features,
    fit,
    nearest_fingerprint,
    score,
    sorted_by_likeness,
    spectrum_features,
)
from helpers.statistics.residuals import RESIDUALS

PERIODS = {"two": 2, "four": 4, "eight": 8}


def marked(period: int, count: int, seed: int) -> torch.Tensor:
    """Smooth random pictures with a faint grating of one period."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 10, 10), generator=generator) * 200
    smooth = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic")
    grating = 4 * torch.cos(2 * torch.pi * torch.arange(64) / period)
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth + grating + noise + 25).clamp(0, 255).to(torch.uint8)


def sets(count: int, seed: int) -> dict[str, torch.Tensor]:
    return {name: marked(period, count, seed + period) for name, period in PERIODS.items()}


def described(groups: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: spectrum_features(images) for name, images in groups.items()}


class TestFeatures:
    @pytest.mark.parametrize("residual", list(RESIDUALS))
    def test_a_grating_lights_the_cell_of_its_frequency(self, residual):
        step = torch.arange(64)
        image = 128 + 20 * torch.cos(2 * torch.pi * (step[:, None] + step) / 4).expand(1, 3, 64, 64)
        result = spectrum_features(image.to(torch.uint8), residual).reshape(32, 16)
        row, column = np.unravel_index(result.argmax(), result.shape)
        assert row in (23, 24)  # a quarter cycle per pixel downwards: half-way from the middle to the edge
        assert column in (7, 8)

    def test_spectra_do_not_see_where_things_are(self):
        images = marked(4, 3, seed=0)
        turned = torch.rot90(images, 2, dims=(2, 3))
        plain, mirrored = (spectrum_features(x, "median") for x in (images, turned))
        assert np.abs(plain - mirrored).mean() < 1.0  # the pooling and the window are symmetric but for one cell

    def test_thumbnails_see_nothing_fine(self):
        images = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8)
        checkered = images.clone()
        checkered[..., ::2, ::2] += 20
        checkered[..., 1::2, 1::2] += 20
        assert np.ptp(colour_features(checkered)) == 0
        assert colour_features(checkered).shape == (1, 192)


class TestClassifier:
    def test_names_known_marks_and_no_others(self):
        train, val, test = (described(sets(count, seed)) for count, seed in ((24, 0), (8, 100), (12, 200)))
        model, strength = choose(train, val)
        result = score(model, test, n_draws=100)
        assert result.accuracy.value > 0.95
        assert strength in attribution.STRENGTHS
        assert np.sum(result.confusion) == 36
        assert result.accuracy.n == 12
        assert np.trace(result.confusion) == round(result.accuracy.value * 36)

    def test_confusion_rows_are_the_truth(self):
        train = described(sets(24, 0))
        model = fit(train)
        swapped = score(model, {"two": train["four"], "four": train["four"], "eight": train["eight"]}, n_draws=10)
        assert swapped.confusion[0] == (0, 24, 0)
        assert swapped.accuracy.value == pytest.approx(2 / 3)

    def test_interval_resamples_numbers_not_images(self):
        """If all images of one number are right or wrong together, more generators bring no certainty."""

        class Coin:
            def predict(self, rows):
                return np.where(rows[:, 0] > 0, "a", "b")

        rows = np.where(np.arange(40) % 2 == 0, 1.0, -1.0)[:, None]
        alone = score(Coin(), {"a": rows}, n_draws=500).accuracy
        twice = score(Coin(), {"a": rows, "b": -rows}, n_draws=500).accuracy
        assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))

    def test_transfer_knows_its_own_and_not_its_opposite(self):
        rng = np.random.default_rng(0)
        places = {"up": 2.0, "down": -2.0}
        train, test = ({name: rng.normal(x, 1, (60, 1)) for name, x in places.items()} for _ in range(2))
        real = rng.normal(0, 1, (60, 1)), rng.normal(0, 1, (60, 1))
        areas = attribution.transfer(real, train, test, strength=1.0)
        assert areas.diagonal().min() > 0.85
        assert areas[0, 1] < 0.15
        assert areas[1, 0] < 0.15


class TestFingerprint:
    def test_named_by_its_own_print_until_the_lattice_moves(self):
        generator = torch.Generator().manual_seed(0)
        prints = {name: torch.randn((3, 16, 16), generator=generator) for name in "abc"}
        train, test = (
            {name: 2 * torch.randn((n, 3, 16, 16), generator=generator) + mark for name, mark in prints.items()}
            for n in (40, 20)
        )
        assert nearest_fingerprint(train, test, n_draws=50).accuracy.value > 0.95
        moved = {name: rows.roll(1, dims=3) for name, rows in test.items()}
        assert nearest_fingerprint(train, moved, n_draws=50).accuracy.value < 0.6


class TestViews:
    def test_keep_shape_and_type_and_change_what_they_say(self):
        images = marked(2, 4, seed=5)
        for name, view in POST_PROCESSING.items():
            result = view(images)
            assert (result.shape, result.dtype) == (images.shape, torch.uint8)
            assert torch.equal(result, images) == (name == "unchanged")

    def test_jpeg_settings_depend_on_the_number_only(self):
        image = marked(2, 1, seed=5)
        views = attribution.matched_jpeg(image.repeat(3, 1, 1, 1))
        assert torch.equal(views[:1], attribution.matched_jpeg(image))
        assert not torch.equal(views[0], views[1])

    def test_shrinking_removes_the_finest_wave(self):
        image = marked(2, 4, seed=5)
        corner = [
            spectrum_features(x, "difference").reshape(4, 32, 16)[:, 16, -1].mean()
            for x in (image, POST_PROCESSING["shrunk and enlarged"](image))
        ]
        assert corner[0] - corner[1] > 10


def test_the_zoo_is_named_far_above_chance():
    """Four of the twelve, one residual: the whole study is `zoo attribute`."""
    names = ("dcgan", "style", "flow", "latent")
    train, test = ({name: zoo_images(split)[name] for name in names} for split in ("train", "test"))
    result = score(fit(described(train)), described(test), n_draws=100)
    assert result.accuracy.low > 0.7


def test_generators_that_detectors_treat_alike_lie_side_by_side() -> None:
    kinds = np.array([0, 1, 2, 0, 1, 2, 0])
    areas = np.where(kinds[:, None] == kinds[None, :], 0.95, 0.2) + np.random.default_rng(0).uniform(0, 0.03, (7, 7))
    order = sorted_by_likeness(areas)
    assert sorted(order) == list(range(7))
    assert np.count_nonzero(np.diff(kinds[order])) == 2
