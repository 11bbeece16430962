"""Statistics of natural images: against independent references, and against images whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
import pywt
import scipy.fft
import scipy.ndimage
import scipy.signal
import scipy.stats
import skimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from helpers import statistics
from helpers.data import catalog
from helpers.data.images import decode, encode_jpeg, from_pil
from helpers.statistics import GeneralisedGaussian, StatisticsError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def coffee() -> torch.Tensor:
    return torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def random_plane() -> torch.Tensor:
    return torch.rand(96, 130, generator=generator(3), dtype=torch.float64)


class TestLuminance:
    def test_agrees_with_pillow(self, coffee):
        luma = np.asarray(PillowImage.fromarray(skimage.data.coffee()).convert("L"), dtype=float)
        assert np.abs(statistics.as_luminance(coffee).numpy() * 255 - luma).max() < 1

    def test_bytes_and_floats_agree(self, coffee):
        floats = coffee.to(torch.float64) / 255
        torch.testing.assert_close(statistics.as_luminance(coffee), statistics.as_luminance(floats))

    def test_a_grey_image_is_its_own_luminance(self, random_plane):
        torch.testing.assert_close(statistics.as_luminance(random_plane.expand(3, -1, -1)), random_plane)

    @pytest.mark.parametrize("shape", [(4, 32, 32), (2, 3, 32, 32), (32,), (15, 400), (3, 8, 8)])
    def test_refuses_what_is_no_image(self, shape):
        with pytest.raises(StatisticsError):
            statistics.as_luminance(torch.zeros(shape))

    def test_linear_light_agrees_with_scikit_image(self):
        coded = torch.linspace(0, 1, 256, dtype=torch.float64)
        grey = coded.numpy()[:, None].repeat(3, 1)
        reference = skimage.color.rgb2xyz(grey)[:, 1]
        np.testing.assert_allclose(statistics.linear_light(coded).numpy(), reference, atol=1e-6)

    @pytest.mark.parametrize("factor", [1, 2, 3, 4])
    def test_downscale_agrees_with_scikit_image(self, factor):
        plane = torch.rand(48, 60, generator=generator(), dtype=torch.float64)
        reference = skimage.transform.downscale_local_mean(plane.numpy(), (factor, factor))
        np.testing.assert_allclose(statistics.downscale(plane, factor).numpy(), reference, atol=1e-12)

    def test_downscale_drops_what_is_left_over(self):
        assert statistics.downscale(torch.zeros(2, 3, 50, 61), 4).shape == (2, 3, 12, 15)

    def test_clipped_marks_both_ends_only(self):
        values = torch.tensor([0, 1, 254, 255], dtype=torch.float64) / 255
        assert statistics.clipped(values).tolist() == [True, False, False, True]


class TestSpectrum:
    @pytest.mark.parametrize("size", [(64, 64), (60, 97), (101, 48)])
    def test_ring_averages_agree_with_scipy(self, size):
        plane = torch.rand(size, generator=generator(1), dtype=torch.float64)
        window = np.outer(*(scipy.signal.windows.hann(side, sym=False) for side in size))
        weighted_mean = np.average(plane.numpy(), weights=window)
        power = np.abs(scipy.fft.fft2((plane.numpy() - weighted_mean) * window)) ** 2 / np.sum(window**2)
        radius = np.hypot(*np.meshgrid(*(scipy.fft.fftfreq(side) for side in size), indexing="ij"))
        edges = np.geomspace(0.05, 0.47, 13)
        reference = scipy.stats.binned_statistic(radius.ravel(), power.ravel(), "mean", edges).statistic
        frequency, measured = statistics.radial_power_spectrum(plane, rings=12, band=(0.05, 0.47))
        np.testing.assert_allclose(measured.numpy(), reference[~np.isnan(reference)], rtol=1e-9)
        assert torch.all(frequency.diff() > 0)

    def test_white_noise_has_its_variance_at_every_frequency(self):
        plane = 3 * statistics.power_law_noise((512, 384), 0.0, generator())
        _, power = statistics.radial_power_spectrum(plane, rings=8, band=(0.1, 0.5))
        torch.testing.assert_close(power, torch.full_like(power, 9.0), rtol=0.08, atol=0)

    def test_brightness_does_not_count_and_contrast_scales_with_its_square(self, random_plane):
        _, power = statistics.radial_power_spectrum(random_plane)
        _, changed = statistics.radial_power_spectrum(5 + 2 * random_plane)
        torch.testing.assert_close(changed, 4 * power)

    def test_a_wave_lies_in_its_ring_whatever_its_orientation(self):
        y, x = torch.meshgrid(torch.arange(200.0), torch.arange(300.0), indexing="ij")
        for angle in (0.0, 0.5, 1.3, 2.4):
            wave = torch.sin(2 * torch.pi * 0.11 * (x * math.cos(angle) + y * math.sin(angle)))
            frequency, power = statistics.radial_power_spectrum(wave)
            assert abs(math.log(frequency[power.argmax()].item() / 0.11)) < 0.12

    @pytest.mark.parametrize("size", [(1024, 1024), (768, 1280)])
    @pytest.mark.parametrize("alpha", [0.0, 1.0, 1.6, 2.0, 2.6, 3.0])
    def test_slope_of_a_large_field_is_within_five_hundredths(self, alpha, size):
        fitted = statistics.spectral_slope(statistics.power_law_noise(size, alpha, generator(5)), draws=10)
        assert abs(fitted.slope - alpha) < 0.05

    @pytest.mark.parametrize("size", [(256, 256), (300, 451), (640, 200)])
    @pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 2.5])
    def test_mean_slope_of_small_fields_is_within_five_hundredths(self, alpha, size):
        fields = [statistics.power_law_noise(size, alpha, generator(seed)) for seed in range(8)]
        slopes = [statistics.spectral_slope(field, draws=1).slope for field in fields]
        assert abs(np.mean(slopes) - alpha) < 0.05

    def test_the_interval_covers_the_truth(self):
        fields = [statistics.power_law_noise((256, 384), 2.0, generator(100 + seed)) for seed in range(60)]
        fits = [statistics.spectral_slope(field, draws=200) for field in fields]
        assert np.mean([fitted.low <= 2 <= fitted.high for fitted in fits]) >= 0.87

    def test_fit_line_agrees_with_scipy(self):
        x, noise = torch.linspace(-4, -1, 20, dtype=torch.float64), torch.randn(20, generator=generator()).double()
        slope, r2 = statistics.fit_line(x, -2.2 * x + 0.3 * noise)
        reference = scipy.stats.linregress(x.numpy(), (-2.2 * x + 0.3 * noise).numpy())
        assert slope.item() == pytest.approx(-reference.slope)
        assert r2.item() == pytest.approx(reference.rvalue**2)

    def test_slope_ignores_brightness_contrast_and_mirrors(self, coffee):
        plane = statistics.as_luminance(coffee)
        fitted = statistics.spectral_slope(plane)
        for changed in (0.2 + 0.5 * plane, plane.flip(1), plane.T):
            assert statistics.spectral_slope(changed).slope == pytest.approx(fitted.slope, abs=0.01)

    def test_the_fit_is_deterministic_and_its_interval_holds_the_slope(self, coffee):
        fitted = statistics.spectral_slope(coffee)
        assert fitted == statistics.spectral_slope(coffee)
        assert fitted.low < fitted.slope < fitted.high
        assert fitted.windows == 9
        assert fitted.r2 > 0.9

    def test_tiny_or_constant_images_are_refused(self):
        with pytest.raises(StatisticsError, match="no room"):
            statistics.spectral_slope(torch.rand(20, 20, generator=generator()))
        with pytest.raises(StatisticsError, match="constant"):
            statistics.spectral_slope(torch.full((128, 128), 0.5))


class TestTails:
    @pytest.mark.parametrize("shape", [0.5, 0.6, 0.8, 1.0, 1.5, 2.0])
    @pytest.mark.parametrize("scale", [0.01, 3.0])
    def test_shape_and_scale_of_a_sample_are_recovered_within_five_percent(self, shape, scale):
        sample = statistics.generalised_gaussian_sample(200_000, shape, scale, generator(2))
        fitted = statistics.generalised_gaussian_fit(sample)
        assert fitted.shape == pytest.approx(shape, rel=0.05)
        assert fitted.scale == pytest.approx(scale, rel=0.1)
        assert statistics.misfit(sample, fitted) < 0.02

    @pytest.mark.parametrize("shape", [0.7, 2.0])
    def test_agrees_with_maximum_likelihood_of_scipy(self, shape):
        sample = scipy.stats.gennorm.rvs(shape, scale=2.0, size=20_000, random_state=1)
        fitted = statistics.generalised_gaussian_fit(torch.from_numpy(sample))
        reference_shape, _, _ = scipy.stats.gennorm.fit(sample, floc=0)
        assert fitted.shape == pytest.approx(reference_shape, rel=0.06)

    @pytest.mark.parametrize("shape", [0.5, 1.0, 2.0])
    def test_samples_follow_the_distribution_of_scipy(self, shape):
        sample = statistics.generalised_gaussian_sample(50_000, shape, 1.7, generator(4))
        reference = scipy.stats.gennorm(shape, scale=1.7)
        assert scipy.stats.kstest(sample.numpy(), reference.cdf).pvalue > 1e-3
        fitted = GeneralisedGaussian(shape, 1.7)
        distance = scipy.stats.kstest(sample.numpy()[::2], reference.cdf).statistic
        assert statistics.misfit(sample[::2], fitted) == pytest.approx(distance, abs=0.005)

    @settings(max_examples=25, deadline=None)
    @given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
    def test_contrast_changes_the_scale_but_not_the_shape(self, factor, seed):
        sample = torch.randn(500, generator=generator(seed), dtype=torch.float64) ** 3
        fitted = statistics.generalised_gaussian_fit(sample)
        scaled = statistics.generalised_gaussian_fit(-factor * sample)
        assert scaled.shape == pytest.approx(fitted.shape, rel=1e-4)
        assert scaled.scale == pytest.approx(factor * fitted.scale, rel=1e-3)

    def test_hopeless_samples(self):
        spike = torch.zeros(100_000)
        spike[0] = 1.0
        assert statistics.generalised_gaussian_fit(spike).shape == 0.1
        assert statistics.generalised_gaussian_fit(torch.ones(1000)).shape == 10.0
        with pytest.raises(StatisticsError):
            statistics.generalised_gaussian_fit(torch.zeros(1000))
        with pytest.raises(StatisticsError):
            statistics.generalised_gaussian_fit(torch.ones(10))

    def test_gradients_agree_with_numpy(self, random_plane):
        plane = 0.1 + 0.8 * random_plane
        reference = [np.diff(plane.numpy(), axis=axis).ravel() for axis in (1, 0)]
        np.testing.assert_allclose(statistics.gradients(plane).numpy(), np.concatenate(reference))

    def test_pairs_of_clipped_pixels_are_left_out(self):
        plane = torch.full((16, 16), 0.5)
        plane[:, 8:] = 1.0
        assert statistics.gradients(plane).numel() == 2 * 16 * 15 - 16 * 7 - 15 * 8
        assert statistics.gradients(plane).max() == 0.5

    @pytest.mark.parametrize("level", [1, 2, 3])
    def test_haar_agrees_with_pywavelets(self, level):
        plane = torch.rand(64, 96, generator=generator(), dtype=torch.float64)
        approximation, details, *_ = pywt.wavedec2(plane.numpy(), "haar", level=level)
        bands = statistics.haar(plane, level)
        for name, reference in zip(bands, (approximation, *details), strict=True):
            np.testing.assert_allclose(bands[name].numpy(), reference, atol=1e-12)

    def test_scale_distance_is_zero_only_without_a_change_of_form(self, coffee):
        assert statistics.scale_distance(coffee, 1) == 0
        noise = statistics.power_law_noise((256, 256), 2.0, generator())
        checks = (torch.arange(256)[:, None] // 4 + torch.arange(256) // 4) % 2
        assert statistics.scale_distance(noise / 10 + 0.5, 2) < 0.02
        assert statistics.scale_distance(checks.double() * 0.8 + 0.1, 4) > 0.2


class TestBenford:
    def test_block_dct_agrees_with_the_cosine_matrix(self, random_plane):
        index = np.arange(8)
        matrix = np.cos(np.pi * (2 * index[None] + 1) * index[:, None] / 16) / 2
        matrix[0] /= math.sqrt(2)
        blocks = statistics.block_dct(random_plane, offset=(4, 2))
        assert blocks.shape == (11, 16, 8, 8)
        patch = random_plane[4 + 8 * 3 : 4 + 8 * 4, 2 + 8 * 5 : 2 + 8 * 6].numpy() * 255 - 128
        np.testing.assert_allclose(blocks[3, 5].numpy(), matrix @ patch @ matrix.T, atol=1e-10)

    def test_block_dct_shows_the_steps_of_the_quantisation_table(self):
        grey = from_pil(PillowImage.fromarray(skimage.data.camera()))
        again = decode(encode_jpeg(grey, 50))
        steps = statistics.block_dct(again)[..., 0, 1] / 11  # the luma table at quality 50 starts with 16, 11
        assert (steps - steps.round()).abs().median() < 0.05

    @given(st.integers(1, 9), st.floats(0.0001, 0.9999), st.integers(-2, 6))
    def test_first_digits_are_what_one_reads(self, digit, rest, exponent):
        value = (digit + rest) * 10.0**exponent
        assert statistics.first_digits(torch.tensor([-value, value], dtype=torch.float64)).tolist() == [digit, digit]

    def test_below_a_power_of_ten_there_is_a_nine_and_within_rounding_errors_a_one(self):
        powers = torch.tensor([10.0**exponent for exponent in range(-1, 7)], dtype=torch.float64)
        assert set(statistics.first_digits(powers * (1 - 1e-8)).tolist()) == {9}
        assert set(statistics.first_digits(powers * (1 - 1e-12)).tolist()) == {1}
        hair = torch.tensor([math.nextafter(float(power), 0) for power in powers], dtype=torch.float64)
        assert set(statistics.first_digits(hair).tolist()) == {1}

    def test_small_values_have_no_digit(self):
        assert statistics.first_digits(torch.tensor([0.0, 0.005, 1e-12])).numel() == 0

    def test_law_sums_to_one_and_numbers_without_scale_obey_it(self):
        law = statistics.benford_law()
        assert law.sum().item() == pytest.approx(1)
        assert law[0].item() == pytest.approx(math.log10(2))
        blocks = 10 ** (4 * torch.rand(3000, 8, 8, generator=generator(), dtype=torch.float64))
        assert statistics.benford_divergence(statistics.benford_histogram(blocks)) < 5e-5

    def test_divergence_agrees_with_scipy_entropies(self):
        shares, law = torch.full((9,), 1 / 9, dtype=torch.float64), statistics.benford_law()
        middle = (shares + law) / 2
        reference = (scipy.stats.entropy(shares, middle, 2) + scipy.stats.entropy(law, middle, 2)) / 2
        assert statistics.benford_divergence(shares) == pytest.approx(reference)
        assert statistics.benford_divergence(law) == pytest.approx(0, abs=1e-12)

    def test_the_dc_term_does_not_count(self):
        blocks = torch.full((5, 8, 8), 3.0)
        blocks[:, 0, 0] = 700.0
        assert statistics.benford_histogram(blocks)[2] == 1

    def test_an_earlier_jpeg_shows_on_its_grid_only(self, coffee):
        again = decode(encode_jpeg(coffee, 75))
        on, off = (statistics.benford_distance(again, grid) for grid in (statistics.ON_GRID, statistics.OFF_GRID))
        assert on > 3 * off
        assert on > 3 * statistics.benford_distance(coffee, statistics.ON_GRID)

    def test_a_flat_image_is_refused(self):
        with pytest.raises(StatisticsError):
            statistics.benford_distance(torch.full((64, 64), 0.5))


class TestNeighbours:
    def test_agrees_with_scipy(self, coffee):
        plane = statistics.as_luminance(coffee)
        offsets = ((0, 1), (1, 0), (3, 2))
        pairs = [(plane[:, :-1], plane[:, 1:]), (plane[:-1], plane[1:]), (plane[:-3, :-2], plane[3:, 2:])]
        reference = [scipy.stats.pearsonr(a.flatten(), b.flatten()).statistic for a, b in pairs]
        np.testing.assert_allclose(statistics.neighbour_correlation(plane, offsets).numpy(), reference, atol=1e-9)

    def test_a_chain_of_known_correlation(self):
        noise = torch.randn(200, 4000, generator=generator(), dtype=torch.float64).numpy()
        chain = torch.from_numpy(scipy.signal.lfilter([1.0], [1.0, -0.8], noise, axis=1))
        right, two_right, down = statistics.neighbour_correlation(chain, ((0, 1), (0, 2), (1, 0))).tolist()
        assert right == pytest.approx(0.8, abs=0.01)
        assert two_right == pytest.approx(0.64, abs=0.01)
        assert down == pytest.approx(0, abs=0.01)

    def test_details_of_photographs_cluster_and_those_of_noise_do_not(self, coffee):
        assert statistics.detail_clustering(coffee) > 0.3
        assert abs(statistics.detail_clustering(statistics.power_law_noise((400, 600), 2.0, generator()))) < 0.05

    def test_conditional_spread(self):
        first, second = torch.randn(2, 100_000, generator=generator(), dtype=torch.float64)
        common = torch.rand(100_000, generator=generator(), dtype=torch.float64)
        _, flat = statistics.conditional_spread(first, second)
        assert flat.max() / flat.min() < 1.1
        sizes, rising = statistics.conditional_spread(first * common, second * common)
        assert torch.all(sizes.diff() > 0)
        assert rising[-1] > 2 * rising[0]


class TestForgeries:
    def test_scrambled_phases_keep_the_spectrum_and_lose_the_tail(self, coffee):
        plane = statistics.as_luminance(coffee)
        scrambled = statistics.phase_scramble(coffee, generator())
        torch.testing.assert_close(torch.fft.rfft2(scrambled).abs(), torch.fft.rfft2(plane).abs(), rtol=1e-6, atol=1e-6)
        assert statistics.gradient_shape(plane) < 0.6
        assert statistics.gradient_shape(scrambled) > 1.6

    def test_dead_leaves_have_flat_discs_and_the_tail_of_photographs(self):
        leaves = statistics.dead_leaves((512, 512), generator())
        assert 0 <= leaves.min() <= leaves.max() <= 1
        assert statistics.generalised_gaussian_fit(statistics.gradients(leaves)).shape < 0.6
        assert torch.equal(leaves, statistics.dead_leaves((512, 512), generator()))

    def test_paper_discs_pass_every_test_that_photographs_pass(self):
        manifest = catalog.photographs()
        names = manifest.loc[manifest["scene"] == "everyday", "name"]
        everyday = pd.DataFrame([statistics.measure(catalog.photograph(name)) for name in names])
        for seed in range(3):
            discs = scipy.ndimage.gaussian_filter(statistics.dead_leaves((1024, 1024), generator(seed)).numpy(), 1.8)
            plane = 0.1 + 0.8 * statistics.downscale(torch.from_numpy(discs), 2)
            values = pd.Series(statistics.measure((255 * plane).round() / 255))
            assert values.between(everyday.min(), everyday.max()).all()

    def test_noise_is_standardised_and_depends_on_its_generator_alone(self):
        first, again, other = (statistics.power_law_noise((90, 70), 2.0, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.mean().item() == pytest.approx(0, abs=1e-9)
        assert first.var(correction=0).item() == pytest.approx(1)


class TestStability:
    @pytest.fixture(scope="class")
    @classmethod
    def table(cls):
        pictures = {"coffee": skimage.data.coffee(), "cat": skimage.data.chelsea(), "rocket": skimage.data.rocket()}
        images = {name: torch.from_numpy(pixels).permute(2, 0, 1) for name, pixels in pictures.items()}
        images["coffee again"] = images["coffee"]
        return statistics.stability_table(images, sources={"coffee again": "coffee"})

    def test_one_row_per_image_scale_and_statistic(self, table):
        assert len(table) == 4 * 3 * len(statistics.STATISTICS)
        assert not table.duplicated(["photograph", "scale", "statistic"]).any()
        assert not table[["value", "scrambled"]].isna().any().any()

    def test_values_are_those_of_the_functions(self, table, coffee):
        rows = table[(table.photograph == "coffee") & (table.scale == 2)].set_index("statistic")["value"]
        small = statistics.downscale(statistics.as_luminance(coffee), 2)
        assert rows["slope"] == pytest.approx(statistics.spectral_slope(small).slope)
        assert rows["gradient_shape"] == pytest.approx(statistics.gradient_shape(small))
        assert rows["benford"] == pytest.approx(statistics.benford_distance(small))

    def test_photographs_are_as_the_literature_says(self, table):
        first = table[table.scale == 1].groupby("statistic")["value"]
        assert first.min()["slope"] > 1.5
        assert first.max()["slope"] < 3.5
        assert first.max()["gradient_shape"] < 1
        assert first.min()["neighbour_correlation"] > 0.9

    def test_summary_counts_a_source_once_and_brackets_its_values(self, table):
        summary = statistics.stability_summary(table).set_index("statistic")
        assert set(summary["sources"]) == {3}
        assert summary.index.tolist() == list(statistics.STATISTICS)
        for key in ("median", "scale_shift", "edge_effect"):
            assert (summary[f"{key}_low"] <= summary[key]).all()
            assert (summary[key] <= summary[f"{key}_high"]).all()
        assert summary.loc["gradient_shape", "edge_effect_high"] < -2
        pd.testing.assert_frame_equal(statistics.stability_summary(table), summary.reset_index())

    def test_summary_leaves_undefined_values_out_and_refuses_too_little(self, table):
        more = table.copy()
        extra = table[table.photograph == "cat"].assign(photograph="x", source="x")
        extra.loc[extra.statistic == "slope", "value"] = math.nan
        summary = statistics.stability_summary(pd.concat([more, extra])).set_index("statistic")
        assert summary["sources"].to_dict() == {name: 3 if name == "slope" else 4 for name in statistics.STATISTICS}
        with pytest.raises(StatisticsError, match="two scales"):
            statistics.stability_summary(table[table.scale == 1])
        with pytest.raises(StatisticsError, match="three sources"):
            statistics.stability_summary(table[table.source != "cat"])

    def test_standardised_shift_is_cohens_d(self):
        first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 5.0, 5.0])
        pooled = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
        assert statistics.standardised_shift(first, second) == pytest.approx(1.5 / pooled)
        stacked = np.stack((first, first)), np.stack((second, first))
        np.testing.assert_allclose(statistics.standardised_shift(*stacked), [1.5 / pooled, 0])

    def test_an_undefined_statistic_is_nan(self, coffee):
        doubled = coffee.repeat_interleave(2, 1).repeat_interleave(2, 2)
        values = statistics.measure(doubled)
        assert math.isnan(values["wavelet_shape"])
        assert math.isfinite(values["gradient_shape"])


def test_rounding_errors_choose_no_first_digit() -> None:
    exact = torch.tensor([0.5, 2.0, 3.0, 0.01, 10.0, 700.0], dtype=torch.float64)
    expected = [5, 2, 3, 1, 1, 7]
    for error in (-1e-12, 0.0, 1e-12):
        assert statistics.first_digits(exact * (1 + error)).tolist() == expected
    assert statistics.first_digits(exact * (1 - 1e-6)).tolist() == [4, 1, 2, 9, 6]  # and 0.01 is too small then
