"""Developing once more changes tone, contrast, sharpness or noise, mildly, and leaves every pixel where it was."""

import pytest
import torch
from textured_images import neighbour_statistics, seeded, textured

from helpers.pixels import develop as camera
from helpers.pixels.develop import develop

DRAWS = 60


def only(monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """Take all changes but one out, by their largest strength."""
    off = {"GAMMA": 0.0, "CONTRAST": 0.0, "FOCUS": (1e-3, 1e-3), "SHARPENING": 0.0, "NOISE": 0.0}
    for name, value in off.items():
        if name != kept and not (kept == "SHARPENING" and name == "FOCUS"):
            monkeypatch.setattr(camera, name, value)


def test_developing_is_a_function_of_the_generator_and_leaves_its_input_alone() -> None:
    img = textured()
    before = img.clone()
    views = [develop(img, seeded(seed)) for seed in (0, 0, *range(1, 9))]
    assert torch.equal(img, before)
    assert torch.equal(views[0], views[1])
    assert len({tuple(view.flatten().tolist()) for view in views}) > 6
    assert all((view.shape, view.dtype) == (img.shape, torch.uint8) for view in views)


def test_the_content_stays_where_it_was() -> None:
    for seed in range(DRAWS):
        img = textured(seed)
        both = torch.stack([img.flatten(), develop(img, seeded(seed)).flatten()]).float()
        assert torch.corrcoef(both)[0, 1] > 0.97


def test_one_in_sixteen_pictures_stays_as_it_is() -> None:
    img = textured()
    same = sum(torch.equal(develop(img, seeded(seed)), img) for seed in range(400))
    assert 10 <= same <= 45


def test_without_any_strength_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "nothing")
    for seed in range(DRAWS):
        assert torch.equal(develop(textured(), seeded(seed)), textured())


def test_a_tone_curve_changes_levels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of one level get one level again, in the same order; the middle moves by the expected exponent."""
    only(monkeypatch, "GAMMA")
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, -1, -1)
    middles = []
    for seed in range(DRAWS):
        result = develop(ramp, seeded(seed))
        assert (result.reshape(3, -1).int().diff(dim=1) >= 0).all()
        assert (int(result.min()), int(result.max())) == (0, 255)
        middles.append(float(result[0].flatten()[128]))
    low, high = (255 * (128 / 255) ** torch.tensor(sign * camera.GAMMA).exp() for sign in (1, -1))
    assert low - 0.5 <= min(middles) < low + 12
    assert high - 12 < max(middles) <= high + 0.5


def test_contrast_scales_around_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "CONTRAST")
    img = (textured() // 4 + 96).contiguous()  # far from both ends
    shares = []
    for seed in range(DRAWS):
        result = develop(img, seeded(seed)).float()
        assert float(result.mean()) == pytest.approx(float(img.float().mean()), abs=0.2)
        shares.append(float(result.std() / img.float().std()))
    assert 1 - camera.CONTRAST - 0.02 < min(shares) < 0.85
    assert 1.15 < max(shares) < 1 + camera.CONTRAST + 0.02


def test_focus_softens_and_sharpens(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "SHARPENING")
    img = textured()
    shares = [
        float((neighbour_statistics(develop(img, seeded(seed))) / neighbour_statistics(img)).mean())
        for seed in range(DRAWS)
    ]
    assert min(shares) < 0.7
    assert max(shares) > 1.5
    flat = torch.full_like(img, 77)
    assert all(torch.equal(develop(flat, seeded(seed)), flat) for seed in range(8))


def test_noise_has_the_stated_strength_and_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "NOISE")
    flat = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    spreads = []
    for seed in range(DRAWS):
        noise = develop(flat, seeded(seed)).float() - 100
        spreads.append(float(noise.std()))
        assert abs(float((noise[:, :, 1:] * noise[:, :, :-1]).mean())) < 0.1
    assert 1.3 < max(spreads) < camera.NOISE + 0.15
    assert min(spreads) == 0
