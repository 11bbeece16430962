import io
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as PillowImage
from scipy import ndimage
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from helpers.data.images import ImageError, encode_jpeg, encode_png, to_float, to_pil
from helpers.errors import NaturalTracesError
from helpers.evaluation.attack import pgd_attack
from helpers.evaluation.sweep import Cell, grid, perturbation_generator, summarise, sweep
from helpers.pixels import perturbations as robustness
from helpers.pixels.perturbations import PERTURBATIONS, RobustnessError, perturb


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    """Smooth colour gradients with some noise: compresses like a photograph."""
    rows, columns = torch.meshgrid(torch.linspace(20, 200, height), torch.linspace(20, 200, width), indexing="ij")
    noise = torch.randint(0, 40, (3, height, width), generator=seeded(seed))
    return (torch.stack([rows, columns, (rows + columns) / 2]) + noise).to(torch.uint8)


def distance(first: Tensor, second: Tensor) -> float:
    return float((first.float() - second.float()).abs().mean())


# Perturbations


@pytest.mark.parametrize(("name", "strength"), grid())
def test_every_entry_makes_a_new_image_repeatably(name: str, strength: float) -> None:
    img = photo()
    before = img.clone()
    first, second = (perturb(img, name, strength, seeded(3)) for _ in range(2))
    assert (first.dtype, first.ndim, first.shape[0]) == (torch.uint8, 3, 3)
    assert torch.equal(first, second)
    assert torch.equal(img, before)
    first.zero_()  # no memory is shared with the input
    assert torch.equal(img, before)


@pytest.mark.parametrize("name", ["noise", "crop", "screenshot", "combined"])
def test_chance_comes_from_the_generator_alone(name: str) -> None:
    strength = PERTURBATIONS[name].strengths[-1]
    torch.manual_seed(0)
    first = perturb(photo(), name, strength, seeded(3))
    torch.manual_seed(1)
    assert torch.equal(perturb(photo(), name, strength, seeded(3)), first)
    other = perturb(photo(), name, strength, seeded(4))
    assert other.shape != first.shape or not torch.equal(other, first)


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg-444", "webp", "blur", "noise", "darker", "lighter", "messenger", "forwarded"]
)
def test_strengths_run_from_harmless_to_severe(name: str) -> None:
    img = photo(96, 128)
    entry = PERTURBATIONS[name]
    got = [perturb(img, name, strength, seeded()) for strength in entry.strengths]
    kept = [view for view in got if view.shape == img.shape]
    damage = [distance(view, img) for view in kept]
    assert all(after >= before for before, after in itertools.pairwise(damage)), damage
    assert [view.numel() for view in got] == sorted((view.numel() for view in got), reverse=True)
    assert damage[0] > 0


def test_table_is_keyed_by_name_and_starts_with_the_untouched_image() -> None:
    assert all(key == entry.name for key, entry in PERTURBATIONS.items())
    assert torch.equal(perturb(photo(), "none", 0, seeded()), photo())
    cells = grid(["jpeg", "jpeg"])
    assert cells == [Cell("none", 0.0), *(Cell("jpeg", quality) for quality in PERTURBATIONS["jpeg"].strengths)]
    assert len(grid()) == sum(len(entry.strengths) for entry in PERTURBATIONS.values())


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("quality", [95, 60, 20])
def test_jpeg_agrees_with_torchvision(quality: int) -> None:
    # Both call libjpeg, with 4:2:0.
    assert distance(robustness.jpeg(photo(), quality), transforms.jpeg(photo(), quality)) < 0.05


def test_subsampling_spares_luminance_and_costs_colour() -> None:
    red_and_blue = torch.zeros(3, 32, 32, dtype=torch.uint8)
    red_and_blue[0, :, ::2], red_and_blue[2, :, 1::2] = 200, 200
    full, half = (robustness.jpeg(red_and_blue, 95, subsampling) for subsampling in ("4:4:4", "4:2:0"))
    assert distance(full, red_and_blue) < 5
    assert distance(half, red_and_blue) > 30


def test_webp_is_what_pillow_writes() -> None:
    buffer = io.BytesIO()
    to_pil(photo()).save(buffer, "WEBP", quality=50, lossless=False)
    reference = np.asarray(PillowImage.open(buffer).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(robustness.webp(photo(), 50).numpy(), reference)
    assert not np.array_equal(reference, photo().numpy())


@pytest.mark.parametrize("kernel", robustness.KERNELS)
def test_resize_keeps_its_new_size_and_the_mean(kernel: str) -> None:
    got = robustness.resize(photo(40, 60), 0.5, kernel)
    assert got.shape == (3, 20, 30)
    assert (got.float().mean((1, 2)) - photo(40, 60).float().mean((1, 2))).abs().max() < 3
    assert robustness.resize(photo(40, 60), 1e-6, kernel).shape == (3, 1, 1)


def test_kernels_against_arithmetic() -> None:
    img = photo(16, 24)
    means = img.float().reshape(3, 8, 2, 12, 2).mean((2, 4))
    assert (robustness.resize(img, 0.5, "box").float() - means).abs().max() <= 1
    nearest = robustness.resize(img, 2.0, "nearest")
    assert torch.equal(nearest, img.repeat_interleave(2, 1).repeat_interleave(2, 2))
    kinds = {robustness.resize(img, 0.75, kernel).numpy().tobytes() for kernel in robustness.KERNELS}
    assert len(kinds) == 5


@pytest.mark.parametrize("sigma", [0.5, 1.5, 3.0])
def test_blur_agrees_with_scipy(sigma: float) -> None:
    values = photo().double().numpy()
    radius = math.ceil(3 * sigma)
    reference = ndimage.gaussian_filter(values, (0, sigma, sigma), mode="mirror", radius=(0, radius, radius))
    assert np.abs(robustness.blur(photo(), sigma).numpy() - reference).max() < 0.51
    assert robustness.blur(photo(3, 4), 5.0).shape == (3, 3, 4)  # smaller than the kernel
    assert torch.equal(robustness.blur(photo(), 0), photo())


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_noise_has_the_stated_spread(sigma: float) -> None:
    grey = torch.full((3, 100, 100), 128, dtype=torch.uint8)
    difference = robustness.add_noise(grey, sigma, seeded()).double() - 128
    assert abs(float(difference.mean())) < 4 * sigma / math.sqrt(30_000)
    # Rounding adds the variance of a uniform error, 1/12.
    assert float(difference.std()) == pytest.approx(math.sqrt(sigma**2 + 1 / 12), rel=0.02)
    white = torch.full((3, 20, 20), 255, dtype=torch.uint8)
    assert int(robustness.add_noise(white, sigma, seeded()).min()) > 255 - 6 * sigma  # clipped, not wrapped round


def test_crop_copies_native_pixels_of_every_place() -> None:
    img = torch.arange(100, dtype=torch.uint8).reshape(1, 10, 10).repeat(3, 1, 1)
    corners = set()
    for seed in range(200):
        got = robustness.crop_share(img, 0.8, seeded(seed))
        assert got.shape == (3, 8, 8)
        top, left = divmod(int(got[0, 0, 0]), 10)
        assert torch.equal(got, img[:, top : top + 8, left : left + 8])
        corners.add((top, left))
    assert corners == {(row, column) for row in range(3) for column in range(3)}
    assert torch.equal(robustness.crop_share(img, 1.0, seeded()), img)


def test_gamma_agrees_with_arithmetic() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 256).repeat(3, 1, 1)
    got = robustness.change_gamma(ramp, 2.0)[0, 0].numpy()
    assert np.array_equal(got, np.rint(np.arange(256) ** 2 / 255).astype(np.uint8))
    assert torch.equal(robustness.change_gamma(ramp, 1.0), ramp)


def test_screenshot_scales_tints_and_cuts() -> None:
    grey = torch.full((3, 100, 200), 100, dtype=torch.uint8)
    tints, shares = set(), set()
    for seed in range(30):
        got = robustness.screenshot(grey, 0.5, seeded(seed))
        assert 45 <= got.shape[1] <= 50
        assert 90 <= got.shape[2] <= 100
        assert all(len(channel.unique()) == 1 for channel in got)  # the tint is the same everywhere
        assert int((got.int() - 100).abs().max()) <= 3
        tints.add(tuple(got[:, 0, 0].tolist()))
        shares.add(got.shape[1])
    assert len(tints) > 10
    assert len(shares) > 3


def test_upload_reduces_as_the_whole_picture_and_saves_as_jpeg() -> None:
    img = photo(64, 96)
    settings = robustness.SERVICES["messenger"]
    got = robustness.upload(img, "messenger", 2 * settings.long_side)
    reduced = PillowImage.fromarray(img.permute(1, 2, 0).numpy()).resize((48, 32), PillowImage.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(reduced)).permute(2, 0, 1)
    assert torch.equal(got, robustness.jpeg(expected, settings.quality))
    # A picture that is small enough is not resized, and never enlarged.
    for side in (96, settings.long_side):
        assert torch.equal(robustness.upload(img, "messenger", side), robustness.jpeg(img, settings.quality))
    # A whole picture that is larger than the service allows is reduced to its long side.
    large = torch.zeros(3, 10, 2 * settings.long_side, dtype=torch.uint8)
    assert robustness.upload(large, "messenger", 100).shape == (3, 5, settings.long_side)


def test_forwarding_repeats_the_upload() -> None:
    once = perturb(photo(), "forwarded", 1, seeded())
    assert torch.equal(perturb(photo(), "forwarded", 2, seeded()), perturb(once, "forwarded", 1, seeded()))


def test_chain_is_one_step_after_the_other() -> None:
    generator = seeded(5)
    expected = robustness.jpeg(robustness.add_noise(photo(), 4, generator), 60)
    assert torch.equal(robustness.chain(photo(), [("noise", 4), ("jpeg", 60)], seeded(5)), expected)
    level = robustness.CHAINS[1]
    assert torch.equal(perturb(photo(), "combined", 2, seeded(1)), robustness.chain(photo(), level, seeded(1)))


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("mirror", 1),
        ("jpeg", 0),
        ("jpeg", 90.5),
        ("webp", 101),
        ("resize-box", 0),
        ("resize-box", float("nan")),
        ("blur", -1),
        ("noise", -1),
        ("crop", 0),
        ("crop", 1.1),
        ("darker", 0),
        ("messenger", 0),
        ("forwarded", 0),
        ("combined", 5),
    ],
)
def test_senseless_requests(name: str, strength: float) -> None:
    with pytest.raises((RobustnessError, ImageError)):
        perturb(photo(), name, strength, seeded())


def test_error_is_expected() -> None:
    assert issubclass(RobustnessError, NaturalTracesError)


# Sweep


class Grain:
    """A toy detector: less energy between neighbouring pixels means more fake. Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: list[Tensor]) -> np.ndarray:
        self.calls += 1
        return np.array([-float(img.float().diff(dim=2).abs().mean()) for img in images])


def image_set(count: int = 24) -> tuple[list[Tensor], pd.DataFrame]:
    """Noisy photographs as real images, blurred ones as fakes, two of each source."""
    fake = np.arange(count) % 2 == 1
    pictures = [photo(24, 24, seed) for seed in range(count)]
    images = [robustness.blur(img, 0.6) if made else img for img, made in zip(pictures, fake, strict=True)]
    about = pd.DataFrame(
        {
            "path": [f"{index}.png" for index in range(count)],
            "label": np.where(fake, "fake", "real"),
            "generator": np.where(fake, "toy", ""),
            "source": [f"s{index // 4}" for index in range(count)],
            "note": "kept",
        }
    )
    return images, about


CELLS = [Cell("none", 0), Cell("noise", 8), Cell("jpeg", 50), Cell("crop", 0.8)]


def test_sweep_agrees_with_a_loop() -> None:
    images, about = image_set()
    got = sweep("grain", Grain(), images, about, cells=CELLS, seed=7, batch_size=5, progress=False)
    assert list(got.columns) == [*about.columns, "detector", "perturbation", "strength", "score"]
    assert len(got) == len(CELLS) * len(images)
    row = 0
    for cell in CELLS:
        for index, img in enumerate(images):
            view = perturb(img, *cell, perturbation_generator(7, index, cell))
            expected = (f"{index}.png", "grain", cell.perturbation, cell.strength, Grain()([view])[0])
            assert tuple(got.loc[row, ["path", "detector", "perturbation", "strength", "score"]]) == expected
            row += 1


def test_scores_do_not_depend_on_labels_or_on_other_cells() -> None:
    images, about = image_set()
    swapped = about.assign(label=about["label"].map({"real": "fake", "fake": "real"}))
    all_cells = sweep("grain", Grain(), images, about, cells=CELLS, progress=False)
    one_cell = sweep("grain", Grain(), images, swapped, cells=[CELLS[1]], progress=False)
    noise = all_cells[all_cells["perturbation"] == "noise"]
    assert one_cell["score"].tolist() == noise["score"].tolist()


def test_generators_differ_in_every_part_of_their_key() -> None:
    keys = [(0, 0, Cell("noise", 1)), (1, 0, Cell("noise", 1)), (0, 1, Cell("noise", 1))]
    keys += [(0, 0, Cell("crop", 1)), (0, 0, Cell("noise", 2))]
    draws = [float(torch.rand((), generator=perturbation_generator(*key))) for key in keys]
    assert len(set(draws)) == len(keys)
    again = perturbation_generator(0, 0, Cell("noise", 1.0))
    assert float(torch.rand((), generator=again)) == draws[0]


def test_finished_cells_are_read_and_only_missing_ones_run(tmp_path) -> None:
    images, about = image_set()
    detector = Grain()
    first = sweep("grain", detector, images, about, cells=CELLS, cache=tmp_path, progress=False)
    assert detector.calls == len(CELLS)
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(CELLS)
    again = sweep("grain", detector, lambda: iter(images), about, cells=CELLS, cache=tmp_path, progress=False)
    assert detector.calls == len(CELLS)
    pd.testing.assert_frame_equal(again, first)
    files[0].unlink()
    files[1].write_text(files[1].read_text()[:-20])  # damaged
    files[2].write_text(files[3].read_text())  # another cell's
    pd.testing.assert_frame_equal(
        sweep("grain", detector, images, about, cells=CELLS, cache=tmp_path, progress=False), first
    )
    assert detector.calls == len(CELLS) + 3


def test_a_stopped_sweep_goes_on(tmp_path) -> None:
    images, about = image_set()
    detector = Grain()

    def breaks_down(views: list[Tensor]) -> np.ndarray:
        if detector.calls == 2:
            raise KeyboardInterrupt
        return detector(views)

    with pytest.raises(KeyboardInterrupt):
        sweep("grain", breaks_down, images, about, cells=CELLS, cache=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2
    got = sweep("grain", detector, images, about, cells=CELLS, cache=tmp_path, progress=False)
    assert detector.calls == len(CELLS)
    pd.testing.assert_frame_equal(got, sweep("grain", Grain(), images, about, cells=CELLS, progress=False))


@pytest.mark.parametrize("changed", ["detector", "seed", "pixels", "order"])
def test_the_cache_tells_apart_what_differs(changed: str, tmp_path) -> None:
    images, about = image_set()
    detector = Grain()
    sweep("grain", detector, images, about, cells=CELLS[:1], cache=tmp_path, progress=False)
    name, seed = ("other" if changed == "detector" else "grain"), (1 if changed == "seed" else 0)
    if changed == "pixels":
        images[3] = images[3].clone()
        images[3][0, 0, 0] += 1
    if changed == "order":
        images = images[::-1]
    sweep(name, detector, images, about, cells=CELLS[:1], cache=tmp_path, seed=seed, progress=False)
    assert detector.calls == 2
    stored = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert len(stored) == 2
    assert {"detector", "images", "perturbation", "strength", "seed", "scores"} <= set(stored[0])


def test_awkward_detector_names_make_file_names(tmp_path) -> None:
    images, about = image_set(4)
    for name in ("../up and away", "..", "a/b", "a:b"):
        sweep(name, Grain(), images, about, cells=CELLS[:1], cache=tmp_path / "cache", progress=False)
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("score", "reason"),
    [(lambda views: np.zeros(1), "finite scores"), (lambda views: np.full(len(views), np.nan), "finite scores")],
)
def test_bad_scores_are_refused_and_not_kept(score, reason: str, tmp_path) -> None:
    images, about = image_set()
    with pytest.raises(RobustnessError, match=reason):
        sweep("bad", score, images, about, cells=CELLS[:1], cache=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_bad_tables_are_refused() -> None:
    images, about = image_set()
    with pytest.raises(RobustnessError, match="source"):
        sweep("grain", Grain(), images, about.drop(columns="source"), cells=CELLS, progress=False)
    with pytest.raises(RobustnessError, match="rows about them"):
        sweep("grain", Grain(), images, about.iloc[:-1], cells=CELLS, progress=False)
    with pytest.raises(RobustnessError, match="labels"):
        sweep("grain", Grain(), images, about.assign(label=1), cells=CELLS, progress=False)
    with pytest.raises(RobustnessError, match="mirror"):
        sweep("grain", Grain(), images, about, cells=[Cell("mirror", 1)], progress=False)


# Summary


def results(seed: int = 0, count: int = 300) -> pd.DataFrame:
    """Scores of two cells, twice as many reals as fakes, in sources of three images."""
    rng = np.random.default_rng(seed)
    fake = np.arange(count) % 3 == 0
    about = pd.DataFrame(
        {
            "path": np.arange(count).astype(str),
            "label": np.where(fake, "fake", "real"),
            "generator": "",
            "source": (np.arange(count) // 6).astype(str),
            "detector": "toy",
        }
    )
    clean = rng.normal(size=count) + 2 * fake
    cells = [("none", 0.0, clean), ("noise", 8.0, clean - 1.5 * fake + rng.normal(size=count) / 4)]
    return pd.concat(
        [about.assign(perturbation=name, strength=strength, score=scores) for name, strength, scores in cells]
    )


def test_summary_agrees_with_scikit_learn() -> None:
    table = results()
    got = summarise(table, 0.8, n_draws=50).set_index("perturbation")
    for name, cell in table.groupby("perturbation"):
        truth, scores = (cell["label"] == "fake").to_numpy(int), cell["score"].to_numpy()
        weights = 1 / np.bincount(truth)[truth]
        assert got.loc[name, "auc"] == pytest.approx(roc_auc_score(truth, scores))
        assert got.loc[name, "ap"] == pytest.approx(average_precision_score(truth, scores, sample_weight=weights))
        assert got.loc[name, "accuracy"] == pytest.approx(balanced_accuracy_score(truth, scores >= 0.8))
    assert got[["n_real", "n_fake", "clusters"]].to_numpy().tolist() == [[200, 100, 100]] * 2


def test_intervals_surround_the_value_and_the_loss_is_paired() -> None:
    got = summarise(results(), {"toy": 0.8}, n_draws=300).set_index("perturbation")
    for name in ("ap", "auc", "accuracy"):
        assert (got[f"{name}_low"] < got[name]).all()
        assert (got[name] < got[f"{name}_high"]).all()
        assert got.loc["none", [f"{name}_loss", f"{name}_loss_low", f"{name}_loss_high"]].tolist() == [0, 0, 0]
        assert got.loc["noise", f"{name}_loss"] == pytest.approx(got.loc["none", name] - got.loc["noise", name])
        assert got.loc["noise", f"{name}_loss_low"] > 0
    # The cells share their noise, so their difference is known better than two independent numbers would let it be.
    width = {name: got.loc[name, "auc_high"] - got.loc[name, "auc_low"] for name in ("none", "noise")}
    assert got.loc["noise", "auc_loss_high"] - got.loc["noise", "auc_loss_low"] < math.hypot(*width.values())


def test_summary_groups_repeat_and_several_detectors() -> None:
    table = results()
    other = table.assign(detector="reversed", score=-table["score"])
    both = summarise(pd.concat([table, other]), {"toy": 0.8, "reversed": -0.8}, n_draws=20, group="path")
    assert both["detector"].tolist() == ["toy", "toy", "reversed", "reversed"]
    assert set(both["clusters"]) == {300}
    assert both.loc[2, "auc"] == pytest.approx(1 - both.loc[0, "auc"])
    pd.testing.assert_frame_equal(both.iloc[:2], summarise(table, 0.8, n_draws=20, group="path"))


def test_summary_refuses_what_cannot_be_compared() -> None:
    table = results()
    with pytest.raises(RobustnessError, match="threshold"):
        summarise(table, {"other": 0.5})
    with pytest.raises(RobustnessError, match="same images"):
        summarise(table.iloc[:-1], 0.5)
    with pytest.raises(RobustnessError, match="both"):
        summarise(table[table["label"] == "real"], 0.5)
    with pytest.raises(RobustnessError, match="both"):
        summarise(table.iloc[:0], 0.5)


def test_a_sweep_shows_what_hurts_the_toy_detector() -> None:
    images, about = image_set(60)
    cells = [Cell("none", 0), Cell("blur", 2), Cell("lighter", 0.9)]
    got = summarise(sweep("grain", Grain(), images, about, cells=cells, progress=False), -9.0, n_draws=50)
    accuracy = got.set_index("perturbation")["accuracy"]
    assert accuracy["none"] > 0.99
    assert accuracy["lighter"] > 0.99
    assert accuracy["blur"] == 0.5  # everything is smooth now, and so is called fake


# Attack


class Tiny(nn.Module):
    """A small convolution whose mean response is the logit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 1, 3))

    def forward(self, values: Tensor) -> Tensor:
        return self.layers(values).mean((1, 2, 3))


def batch(count: int = 4) -> Tensor:
    return torch.stack([photo(16, 20, seed) for seed in range(count)])


@pytest.mark.parametrize("epsilon", [1, 2, 4, 8])
@pytest.mark.parametrize(("towards", "sign"), [("real", -1), ("fake", 1)])
def test_the_score_moves_and_the_budget_is_kept(epsilon: int, towards: str, sign: int) -> None:
    images, model = batch(), Tiny().eval()
    before = images.clone()
    got = pgd_attack(model, images, epsilon, seeded(), towards=towards)
    assert torch.equal(images, before)
    assert (got.images.dtype, got.images.shape) == (torch.uint8, images.shape)
    assert int((got.images.int() - images.int()).abs().max()) == epsilon
    assert (sign * (got.after - got.before) > 0).all()
    # What is reported was measured on the rounded images, as anyone can measure it again.
    with torch.no_grad():
        torch.testing.assert_close(got.after, model(to_float(got.images)))
        torch.testing.assert_close(got.before, model(to_float(images)))
    again = pgd_attack(model, images, epsilon, seeded(), towards=towards)
    assert torch.equal(again.images, got.images)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_linear_detector_is_driven_into_the_corner() -> None:
    # For a linear logit the best change is known: epsilon against the sign of every weight, clipped to 0..255.
    weights = torch.randn(3, 8, 8, generator=seeded(1))
    images = torch.randint(0, 256, (5, 3, 8, 8), generator=seeded(2)).to(torch.uint8)
    got = pgd_attack(lambda values: (values * weights).sum((1, 2, 3)), images, 3, seeded(3), steps=20)
    corner = (images.int() - 3 * weights.sign().int()).clamp(0, 255)
    assert torch.equal(got.images.int(), corner)


def test_more_budget_lowers_the_score_further() -> None:
    drops = [
        float((lambda a: (a.before - a.after).mean())(pgd_attack(Tiny(), batch(), e, seeded()))) for e in (1, 4, 16)
    ]
    assert drops == sorted(drops)
    assert drops[0] > 0


def test_rounding_is_part_of_the_attack() -> None:
    # This detector only sees fractions of a grey level, which no file can hold: nothing is won after rounding.
    def fractions(values: Tensor) -> Tensor:
        return torch.sin(torch.pi * values * 255).square().sum((1, 2, 3))

    images = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    got = pgd_attack(lambda values: -fractions(values), images, 2, seeded(), steps=5)
    torch.testing.assert_close(got.after, got.before, atol=1e-3, rtol=0)


def test_without_gain_the_original_comes_back() -> None:
    images = batch()
    flat = pgd_attack(lambda values: values.sum((1, 2, 3)) * 0, images, 4, seeded())
    assert torch.equal(flat.images, images)
    nothing = pgd_attack(Tiny(), images, 0, seeded())
    assert torch.equal(nothing.images, images)
    assert torch.equal(nothing.after, nothing.before)


def test_images_of_a_batch_do_not_disturb_each_other() -> None:
    images, model = batch(), Tiny().eval()
    whole = pgd_attack(model, images, 4, seeded(9))
    alone = pgd_attack(model, images[:1], 4, seeded(9))  # the first image takes the first random numbers
    assert (whole.images[:1].int() - alone.images.int()).abs().float().mean() < 0.01


def test_attacked_images_survive_a_lossless_file() -> None:
    got = pgd_attack(Tiny(), batch(1), 4, seeded()).images[0]
    assert np.array_equal(np.asarray(PillowImage.open(io.BytesIO(encode_png(got)))).transpose(2, 0, 1), got.numpy())
    assert len(encode_jpeg(got, 90)) > 0


@pytest.mark.parametrize("change", [{"epsilon": -1}, {"epsilon": 0.5}, {"steps": 0}, {"towards": "left"}])
def test_senseless_attacks(change: dict) -> None:
    settings = {"epsilon": 2, "steps": 3} | change
    with pytest.raises(RobustnessError):
        pgd_attack(Tiny(), batch(), settings.pop("epsilon"), seeded(), **settings)


def test_attack_checks_images_and_logits() -> None:
    with pytest.raises(RobustnessError, match="uint8"):
        pgd_attack(Tiny(), to_float(batch()), 2, seeded())
    with pytest.raises(RobustnessError, match="one logit per image"):
        pgd_attack(lambda values: values.mean(), batch(), 2, seeded())
