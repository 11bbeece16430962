"""Residuals against plain loops, spectra against theory, fingerprints that are there and that are not."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage, signal

from helpers.statistics import residuals


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 16, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("name", list(residuals.RESIDUALS))
class TestEveryResidual:
    def test_keeps_the_lattice(self, name, images):
        result = residuals.RESIDUALS[name](images)
        assert result.shape == images.shape
        assert result.dtype == torch.float32

    def test_is_zero_on_flat_images_and_blind_to_brightness(self, name, images):
        flat = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
        assert not residuals.RESIDUALS[name](flat).any()
        dark = images.float() / 2
        torch.testing.assert_close(
            residuals.RESIDUALS[name](dark + 40), residuals.RESIDUALS[name](dark), atol=1e-2, rtol=0
        )

    def test_is_local(self, name, images):
        changed = images.clone()
        changed[..., 12:, :] = 255 - changed[..., 12:, :]
        a, b = residuals.RESIDUALS[name](images), residuals.RESIDUALS[name](changed)
        torch.testing.assert_close(a[..., :10, :], b[..., :10, :])


class TestResiduals:
    def test_median_agrees_with_scipy(self, images):
        expected = images[1, 2].double() - ndimage.median_filter(images[1, 2].double().numpy(), 3, mode="mirror")
        np.testing.assert_allclose(residuals.median_residual(images)[1, 2].numpy(), expected.numpy())

    def test_denoiser_agrees_with_scipy(self, images):
        x = images[0, 0].double().numpy()
        expected = x - signal.wiener(x, 3, noise=40.0**2)
        result = residuals.denoising_residual(images, noise=40.0)[0, 0].numpy()
        np.testing.assert_allclose(result[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-4, atol=1e-3)

    def test_diagonal_is_haar_on_even_places(self, images):
        pywt = pytest.importorskip("pywt")
        x = images[2, 1].double().numpy()
        _, (_, _, diagonal) = pywt.dwt2(x, "haar")
        result = residuals.diagonal_residual(images)[2, 1, ::2, ::2].numpy()
        np.testing.assert_allclose(np.abs(result), np.abs(diagonal), atol=1e-3)

    def test_difference_by_hand(self):
        x = torch.tensor([[10.0, 20.0, 40.0], [30.0, 50.0, 60.0], [0.0, 5.0, 9.0]])[None, None]
        result = residuals.difference_residual(x)[0, 0]
        assert result[0, 0] == 10 - (20 + 30) / 2
        assert result[1, 1] == 50 - (60 + 5) / 2
        assert result[0, 2] == 40 - (20 + 60) / 2


class TestSpectra:
    def test_white_noise_is_flat_with_its_variance(self):
        noise = 5 * torch.randn(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        spectrum = (10 ** (residuals.log_spectrum(noise) / 10)).mean(dim=0)
        assert spectrum.shape == (32, 32)
        away = torch.ones(32, 32, dtype=torch.bool)
        away[15:18, 15:18] = False
        assert abs(float(spectrum[away].mean()) - 25) < 0.5
        assert float(spectrum[away].std()) < 2.5

    def test_a_checkerboard_is_a_corner_peak(self):
        board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1).expand(2, 3, 32, 32)
        peak = residuals.log_spectrum(board).mean(dim=0).argmax()
        assert divmod(int(peak), 32) == (0, 0)
        stripes = (torch.arange(32) % 4 < 2).float().expand(1, 3, 32, 32)
        column = int(residuals.log_spectrum(stripes)[0, 16].argmax())
        assert abs(column - 16) == 8

    def test_decibels(self):
        x = torch.randn(2, 3, 16, 16)
        gain = residuals.log_spectrum(10 * x) - residuals.log_spectrum(x)
        assert float(gain.median()) == pytest.approx(20, abs=0.2)


class TestFingerprints:
    def test_found_in_noise_and_not_where_there_is_none(self):
        rng = torch.Generator().manual_seed(0)
        mark = torch.randn(3, 32, 32, generator=rng)
        noise = torch.randn(2, 64, 3, 32, 32, generator=rng)
        marked = noise[0] + 0.3 * mark
        assert residuals.split_half_correlation(marked, rng) > 0.6
        assert abs(residuals.split_half_correlation(noise[1], rng)) < 0.1
        prints = torch.stack([residuals.fingerprint(marked[:32]), residuals.fingerprint(noise[1, :32])])
        scores = residuals.fingerprint_correlation(marked[32:], prints)
        assert scores.shape == (32, 2)
        assert (scores[:, 0] > scores[:, 1]).float().mean() > 0.95

    def test_averaging_gains_with_the_root_of_the_number(self):
        rng = torch.Generator().manual_seed(1)
        mark = torch.randn(1, 32, 32, generator=rng)
        result = []
        for n in (16, 64):
            noisy = 0.1 * mark + torch.randn(n, 1, 32, 32, generator=rng)
            result.append(float(residuals.fingerprint_correlation(mark[None], residuals.fingerprint(noisy)[None])))
        expected = [0.1 * math.sqrt(n) / math.sqrt(1 + 0.01 * n) for n in (16, 64)]
        assert result == pytest.approx(expected, abs=0.06)

    def test_correlations_are_bounded_and_of_itself_one(self, images):
        x = residuals.median_residual(images)
        scores = residuals.fingerprint_correlation(x, x)
        torch.testing.assert_close(scores.diag(), torch.ones(3))
        assert scores.abs().max() <= 1 + 1e-5


class TestUpsampling:
    @pytest.mark.parametrize("factor", [2, 3])
    @pytest.mark.parametrize("kernel", list(residuals.KERNELS))
    def test_prediction_equals_measurement(self, kernel, factor):
        x = torch.randn(2, 8, 10, dtype=torch.float64)
        measured = torch.fft.fft2(residuals.upsample(x, residuals.KERNELS[kernel], factor))
        predicted = residuals.predicted_spectrum(torch.fft.fft2(x), residuals.KERNELS[kernel], factor)
        torch.testing.assert_close(measured, predicted)

    def test_zero_insertion_repeats_the_spectrum(self):
        x = torch.randn(6, 8, dtype=torch.float64)
        spectrum = torch.fft.fft2(residuals.zero_insert(x))
        torch.testing.assert_close(spectrum[:6, :8], spectrum[6:, 8:])
        torch.testing.assert_close(spectrum[:6, :8], torch.fft.fft2(x))

    def test_nearest_is_repetition(self):
        x = torch.randn(5, 7)
        expected = x.repeat_interleave(2, 0).repeat_interleave(2, 1)
        torch.testing.assert_close(residuals.upsample(x, residuals.KERNELS["nearest"]), expected)

    def test_bilinear_agrees_with_torch_inside(self):
        x = torch.randn(1, 1, 8, 8)
        expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
        result = residuals.upsample(x[0, 0], residuals.KERNELS["bilinear"]).roll((-1, -1), (0, 1))
        torch.testing.assert_close(result[2:-2, 2:-2], expected[2:-2, 2:-2])

    def test_blurred_nearest_is_bilinear(self):
        kernel = np.convolve([1, 1], [0.25, 0.5, 0.25])
        np.testing.assert_allclose(residuals.KERNELS["blurred"].numpy(), kernel)

    def test_kernels_keep_brightness_and_damp_the_copy(self):
        for name, kernel in residuals.KERNELS.items():
            response = residuals.kernel_response(kernel, 16, 16).abs()
            if name == "zeros":
                torch.testing.assert_close(response, torch.ones_like(response))
            else:
                assert float(response[0, 0]) == pytest.approx(4)
                assert float(response[8, 8]) == pytest.approx(0, abs=1e-6)
        nearest, bilinear = (
            residuals.kernel_response(residuals.KERNELS[name], 16, 16).abs()[0, 5] for name in ("nearest", "bilinear")
        )
        assert bilinear < nearest

    def test_phase_gains_show_the_checkerboard(self):
        assert residuals.phase_gains(torch.ones(4, 4)).tolist() == [[4, 4], [4, 4]]
        assert residuals.phase_gains(torch.ones(3, 3)).tolist() == [[4, 2], [2, 1]]
        kernel = torch.rand(5, 5)
        flat = F.conv_transpose2d(torch.ones(1, 1, 8, 8), kernel[None, None], stride=2)[0, 0]
        torch.testing.assert_close(flat[8:10, 8:10], residuals.phase_gains(kernel))
        assert residuals.phase_gains(torch.ones(4)).tolist() == [2, 2]
