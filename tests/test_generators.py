"""The twelve generators: the interface, the mathematics of the processes, the blocks, the crops, the training."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.data import crops
from helpers.data.crops import draw_crops, stack, zoo_photographs
from helpers.generators import (
    RECIPES,
    GeneratorError,
    NoiseSource,
    base,
    blocks,
    build,
    diffusion,
    gans,
    quality,
    recipe,
    tasks,
    training,
)
from helpers.generators.recipes import build_task
from helpers.training import load_weights, save_weights

DIFFUSION = [name for name, recipe in RECIPES.items() if recipe.family == "diffusion"]


@pytest.fixture(scope="module")
def some_crops():
    return stack(draw_crops(zoo_photographs("train"), 6, seed=5))


def quick(name):
    """A generator with fresh, seeded weights that takes three steps only, and whose output is neither zero nor flat."""
    torch.manual_seed(0)
    generator = build(name)
    if hasattr(generator, "steps"):
        generator.steps = 3
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=rng))
            elif parameter.ndim > 1 and name == "lsgan":  # fresh, without batch statistics, it paints one grey
                parameter.mul_(3)
    return generator


class TestInterface:
    def test_six_of_each_family(self):
        assert len(RECIPES) == 12
        assert len(DIFFUSION) == 6

    @pytest.mark.parametrize("name", list(RECIPES))
    def test_samples_are_bytes_and_repeatable(self, name):
        generator = quick(name)
        images = generator.sample(3, seed=4)
        assert images.shape == (3, 3, 64, 64)
        assert images.dtype == torch.uint8
        assert torch.equal(images, generator.sample(3, seed=4))
        assert not torch.equal(images, generator.sample(3, seed=5))
        assert not torch.equal(images[0], images[1])

    @pytest.mark.parametrize("name", ["dcgan", "translation", "latent"])
    def test_image_does_not_depend_on_how_many_are_made(self, name):
        generator = quick(name)
        assert torch.equal(generator.sample(18, seed=2)[:2], generator.sample(2, seed=2))

    def test_sampling_leaves_training_mode_and_global_random_state_alone(self):
        generator = build("dcgan").train()
        before = torch.get_rng_state()
        generator.sample(1, seed=0)
        assert generator.training
        assert torch.equal(before, torch.get_rng_state())

    def test_building_leaves_global_random_state_alone_and_follows_its_seed(self):
        before = torch.get_rng_state()
        first, same, other = (build("lsgan", seed).state_dict() for seed in (3, 3, 4))
        assert torch.equal(before, torch.get_rng_state())
        assert all(torch.equal(first[key], same[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)

    @pytest.mark.parametrize("name", [*DIFFUSION, "translation"])
    def test_redraws_given_crops(self, name, some_crops):
        generator = quick(name)
        drawn = generator.resynthesise(some_crops, seed=1)
        assert drawn.shape == some_crops.shape
        assert drawn.dtype == torch.uint8
        assert torch.equal(drawn, generator.resynthesise(some_crops, seed=1))

    @pytest.mark.parametrize("name", ["dcgan", "wgan_gp", "lsgan", "style", "shuffle"])
    def test_latent_gans_say_that_they_cannot_redraw(self, name, some_crops):
        generator = build(name)
        assert not generator.can_redraw
        with pytest.raises(NotImplementedError, match="cannot redraw"):
            generator.resynthesise(some_crops, seed=1)

    def test_redraws_exactly_what_can_redraw(self):
        assert {name for name in RECIPES if build(name).can_redraw} == {*DIFFUSION, "translation"}

    def test_unknown_name_and_empty_order(self):
        with pytest.raises(GeneratorError, match="no such generator"):
            recipe("biggan")
        with pytest.raises(ValueError, match="at least one"):
            build("dcgan").sample(0, seed=0)

    @pytest.mark.parametrize("name", list(RECIPES))
    def test_half_precision_file_is_small(self, name, tmp_path):
        save_weights(build(name), tmp_path / "w.safetensors", half=True)
        assert (tmp_path / "w.safetensors").stat().st_size < 1.5e6
        load_weights(build(name, seed=1), tmp_path / "w.safetensors")

    def test_signed_range_round_trips(self):
        values = torch.arange(256, dtype=torch.uint8)
        assert torch.equal(base.from_signed(base.to_signed(values)), values)
        assert base.from_signed(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]

    def test_noise_is_standard_normal_and_its_own_per_image(self):
        noise = NoiseSource(0, range(16))
        values = noise.normal(64, 64)
        assert abs(float(values.mean())) < 0.02
        assert abs(float(values.std()) - 1) < 0.02
        assert torch.equal(values[5], NoiseSource(0, [5]).normal(64, 64)[0])
        assert set(NoiseSource(1, range(200)).integers(3).tolist()) == {0, 1, 2}


class TestBlocks:
    @pytest.mark.parametrize("kind", blocks.UPSAMPLERS)
    def test_upsamplers_double_the_size(self, kind):
        assert blocks.Upsample(8, 4, kind)(torch.randn(2, 8, 6, 6)).shape == (2, 4, 12, 12)

    def test_transposed_convolution_is_zero_insertion_and_convolution(self):
        layer = blocks.Upsample(2, 3, "transposed").double()
        x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
        spread = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
        spread[:, :, ::2, ::2] = x
        kernel = layer.convolution.weight.transpose(0, 1).flip(2, 3)
        expected = F.conv2d(F.pad(spread, (2, 2, 2, 2)), kernel, layer.convolution.bias)
        torch.testing.assert_close(layer(x), expected)

    def test_sub_pixel_shuffle_interleaves_four_maps(self):
        layer = blocks.Upsample(3, 2, "shuffle")
        x = torch.randn(1, 3, 4, 4)
        maps = layer.convolution(x)
        y = layer(x)
        for channel, row, col in itertools.product(range(2), (0, 1), (0, 1)):
            torch.testing.assert_close(y[:, channel, row::2, col::2], maps[:, 4 * channel + 2 * row + col])

    def test_blur_keeps_the_mean_and_removes_the_finest_checkerboard(self):
        flat = torch.full((1, 2, 8, 8), 0.3)
        torch.testing.assert_close(blocks.blur(flat), flat)
        board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
        assert blocks.blur(board[None, None])[..., 1:-1, 1:-1].abs().max() < 1e-6

    def test_unknown_upsampler_is_refused(self):
        with pytest.raises(ValueError, match="unknown upsampler"):
            blocks.Upsample(2, 2, "bicubic")

    def test_attention_equals_the_formula(self):
        layer = blocks.SelfAttention(8, heads=1).double()
        nn.init.normal_(layer.out.weight)
        x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
        query, key, value = layer.query_key_value(layer.norm(x)).flatten(2).chunk(3, dim=1)
        weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(8), dim=-1)
        expected = x + layer.out((value @ weights.transpose(1, 2)).reshape(2, 8, 3, 3))
        torch.testing.assert_close(layer(x), expected)

    def test_modulated_convolution_equals_a_scaled_kernel_per_image(self):
        layer = gans.StyledConvolution(3, 4, 5).double()
        x, style = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
        for one in range(2):
            kernel = layer.weight * layer.style(style[one])[None, :, None, None]
            kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-6).sqrt()
            y = F.conv2d(x[one : one + 1], kernel, padding=1) + layer.bias
            expected = F.leaky_relu(y, 0.2) * math.sqrt(2)
            torch.testing.assert_close(layer(x, style)[one : one + 1], expected)


class TestNetworks:
    def test_time_reaches_every_pixel_network(self):
        for name in ("ddpm", "dit", "latent"):
            network = quick(name).network
            x = torch.randn(2, 4 if name == "latent" else 3, *((16, 16) if name == "latent" else (64, 64)))
            early, late = network(x, torch.full((2,), 0.1)), network(x, torch.full((2,), 0.9))
            assert early.shape == x.shape
            assert (early - late).abs().max() > 1e-4

    def test_patches_fall_back_into_their_places(self):
        """Without attention and without neighbours a patch answers for its own place, and by its gates a bit around."""
        network = quick("dit").network
        for block in network.blocks:
            block.attend = lambda x: torch.zeros_like(x)
            block.neighbours = nn.Identity()
        x, time = torch.randn(1, 3, 64, 64), torch.tensor([0.5])
        changed = x.clone()
        changed[..., 8:16, 24:32] += 1
        difference = (network(changed, time) - network(x, time)).abs().amax(dim=1)[0]
        assert difference[8:16, 24:32].min() > 0
        difference[2:22, 18:38] = 0
        assert difference.max() == 0


class Exact(nn.Module):
    """The best possible network for images that are all one constant: it knows the answer."""

    def __init__(self, process, target, clean=0.25):
        super().__init__()
        self.process, self.target, self.clean = process, target, clean

    def forward(self, x, time):
        if self.target == "edm":
            sigma = (4 * time).exp()[:, None, None, None]
            d = self.process.data_deviation
            noisy = x * (sigma**2 + d**2).sqrt()
            skip, out = d**2 / (sigma**2 + d**2), sigma * d / (sigma**2 + d**2).sqrt()
            return (self.clean - skip * noisy) / out
        alpha, sigma = (diffusion.column(value) for value in self.process.alpha_sigma(time))
        eps = (x - alpha * self.clean) / sigma
        return {"noise": eps, "velocity": alpha * eps - sigma * self.clean, "slope": eps - self.clean}[self.target]


PROCESSES = {
    "noise": diffusion.NoisePrediction(),
    "velocity": diffusion.VelocityPrediction(shift=2.0),
    "edm": diffusion.Preconditioned(),
    "slope": diffusion.RectifiedFlow(),
}


class TestProcesses:
    @pytest.mark.parametrize("target", list(PROCESSES))
    def test_exact_network_has_no_loss_and_finds_the_image(self, target):
        process = PROCESSES[target]
        network = Exact(process, target)
        clean = torch.full((8, 3, 4, 4), 0.25)
        assert process.loss(network, clean, torch.Generator().manual_seed(0)) < 1e-6
        noise = NoiseSource(0, range(8))
        start = noise.normal(3, 4, 4) * process.alpha_sigma(torch.ones(1))[1]
        result = process.walk(network, start, noise, 20, 1.0)
        torch.testing.assert_close(result, clean, atol=5e-3, rtol=0)

    @pytest.mark.parametrize("target", list(PROCESSES))
    def test_predictions_take_the_mixture_apart(self, target):
        process = PROCESSES[target]
        time, eps = torch.tensor([0.2, 0.5, 0.9]), torch.randn(3, 3, 4, 4)
        clean = torch.full((3, 3, 4, 4), 0.25)
        result, noise = process.predict(Exact(process, target), process.add_noise(clean, eps, time), time)
        torch.testing.assert_close(result, clean, atol=1e-3, rtol=0)
        torch.testing.assert_close(noise, eps, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("target", ["noise", "velocity"])
    def test_variance_is_preserved(self, target):
        alpha, sigma = PROCESSES[target].alpha_sigma(torch.linspace(0, 1, 21))
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(21))
        assert (sigma.diff() > 0).all()
        assert alpha[0] == 1

    def test_linear_schedule_is_that_of_the_paper(self):
        beta = np.linspace(1e-4, 0.02, 1000)
        alpha, _ = PROCESSES["noise"].alpha_sigma(torch.tensor([0.25, 1.0]))
        expected = [np.prod(1 - beta[:250]) ** 0.5, np.prod(1 - beta) ** 0.5]
        np.testing.assert_allclose(alpha.numpy(), expected, rtol=1e-5)

    def test_eta_one_is_the_posterior_of_ho_et_al(self):
        """One ancestral step, written out with the posterior mean and variance (equations 6 and 7)."""
        process = diffusion.NoisePrediction(n_steps=1000)
        process.clip = False
        network = nn.Conv2d(3, 3, 3, padding=1)
        wrapped = lambda x, time: network(x)  # noqa: E731
        x, now, after = torch.randn(4, 3, 8, 8), torch.tensor(0.4), torch.tensor(0.38)
        with torch.no_grad():
            got = diffusion.ddim(process, wrapped, x, NoiseSource(3, range(4)), torch.stack([now, after]), eta=1.0)
            bar, bar_after = process.signal[400], process.signal[380]
            beta = 1 - bar / bar_after
            clean = (x - (1 - bar).sqrt() * network(x)) / bar.sqrt()
            mean = (bar_after.sqrt() * beta * clean + (bar / bar_after).sqrt() * (1 - bar_after) * x) / (1 - bar)
            variance = (1 - bar_after) / (1 - bar) * beta
            expected = mean + variance.sqrt() * NoiseSource(3, range(4)).normal(3, 8, 8)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)

    def test_preconditioning_has_unit_input_and_target(self):
        process, rng = PROCESSES["edm"], torch.Generator().manual_seed(0)
        clean = 0.5 * torch.randn(64, 3, 16, 16, generator=rng)
        seen = {}

        def network(x, time):
            seen["x"] = x
            return torch.zeros_like(x)

        for sigma in (0.05, 0.5, 5.0):
            level = torch.full((64,), sigma)
            noisy = clean + sigma * torch.randn(clean.shape, generator=rng)
            denoised = process.denoise(network, noisy, level)
            assert abs(float(seen["x"].std()) - 1) < 0.02
            out = sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
            assert abs(float(((clean - denoised) / out).std()) - 1) < 0.02

    def test_noise_levels_follow_equation_5(self):
        _, sigma = PROCESSES["edm"].alpha_sigma(torch.linspace(1, 0, 19)[:-1])
        i, n = np.arange(18), 19
        expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        np.testing.assert_allclose(sigma.numpy(), expected, rtol=2e-4)

    def test_heun_is_of_second_order(self):
        """For data of standard deviation s the exact path is x proportional to sqrt(s^2 + sigma^2)."""
        process = diffusion.Preconditioned()
        process.clip = False
        process.denoise = lambda network, x, sigma: x * 0.25 / (0.25 + sigma.view(-1, 1, 1, 1) ** 2)
        noise = NoiseSource(0, [0])
        start = torch.full((1, 3, 2, 2), 80.0)
        exact = 80 * 0.5 / math.sqrt(0.25 + 80**2)
        errors = [abs(float(process.walk(nn.Identity(), start, noise, n, 1.0)[0, 0, 0, 0]) - exact) for n in (20, 40)]
        assert errors[1] < errors[0] / 3

    def test_straight_paths_need_one_step(self):
        process = PROCESSES["slope"]
        network, noise = Exact(process, "slope"), NoiseSource(0, range(2))
        result = process.walk(network, noise.normal(3, 4, 4), noise, 1, 1.0)
        torch.testing.assert_close(result, torch.full((2, 3, 4, 4), 0.25))

    def test_shift_multiplies_the_ratio_of_noise_to_image(self):
        time = torch.linspace(0.1, 0.9, 9)
        ratios = []
        for shift in (1.0, 3.0):
            alpha, sigma = diffusion.VelocityPrediction(shift=shift).alpha_sigma(time)
            ratios.append(sigma / alpha)
        torch.testing.assert_close(ratios[1], 3 * ratios[0])
        flow = diffusion.RectifiedFlow(shift=3.0)
        alpha, sigma = flow.alpha_sigma(flow.shifted(time))
        torch.testing.assert_close(sigma / alpha, 3 * time / (1 - time))

    def test_redrawing_starts_where_it_says(self):
        """The flow's shifted steps begin at the asked time, and exact slopes lead back to the image."""
        process = PROCESSES["slope"]
        noise = NoiseSource(0, range(2))
        clean = torch.full((2, 3, 4, 4), 0.25)
        noisy = process.add_noise(clean, noise.normal(3, 4, 4), torch.full((2,), 0.4))
        result = process.walk(Exact(process, "slope"), noisy, noise, 5, 0.4)
        torch.testing.assert_close(result, clean, atol=1e-5, rtol=0)

    def test_stratified_times_fill_every_part(self):
        times = diffusion.uniform(10, torch.Generator().manual_seed(0))
        assert sorted((times * 10).long().tolist()) == list(range(10))


class TestSketch:
    def test_bank_gives_back_the_sketches(self, some_crops):
        images = base.to_signed(some_crops)
        generator = gans.TranslationGenerator(bank_size=len(images))
        generator.fill_bank(images)
        seen = {}
        generator.colour_in = lambda condition, noise: seen.setdefault("condition", condition)
        noise = NoiseSource(0, range(16))
        chosen = NoiseSource(0, range(16)).integers(len(images))
        generator.draw(noise)
        torch.testing.assert_close(seen["condition"], gans.sketch(images)[chosen])

    def test_a_tenth_of_the_pixels_is_edge(self, some_crops):
        share = gans.edge_drawing(base.to_signed(some_crops)).float().mean(dim=(1, 2, 3))
        assert (share <= 0.11).all()
        assert share.max() > 0.05

    def test_bank_is_filled_before_training(self):
        task = training.prepare_task("translation")
        edges, colours = task.generator.bank_edges, task.generator.bank_colours
        assert torch.equal(edges, task.average.bank_edges)
        assert 0.02 < float(torch.stack([edges >> bit & 1 for bit in range(8)]).float().mean()) < 0.11
        assert colours.max() <= 15
        assert colours.float().std() > 1

    def test_sketch_does_not_depend_on_precision(self, some_crops):
        images = base.to_signed(some_crops)
        with torch.autocast("cpu", torch.bfloat16):
            result = gans.sketch(images)
        assert torch.equal(result, gans.sketch(images))

    def test_flat_image_has_no_edges(self):
        assert not gans.edge_drawing(torch.zeros(1, 3, 64, 64)).any()


class TestTraining:
    @pytest.mark.parametrize("name", list(RECIPES))
    def test_every_turn_moves_its_own_network_only(self, name, some_crops):
        task = build_task(name)
        optimizers = task.optimizers()
        owners = {turn: {id(p) for group in o.param_groups for p in group["params"]} for turn, o in optimizers.items()}
        steps = (0, 10**6) if name == "latent" else (0, 1)
        turns = [turn for step in steps for turn in task.turns(step)]
        assert set(turns) == set(optimizers)
        before = {key: value.clone() for key, value in task.named_parameters()}
        for turn in optimizers:
            optimizers[turn].zero_grad()
            losses = task.losses(turn, some_crops[:4], torch.Generator().manual_seed(0))
            losses["loss"].backward()
            assert all(value.isfinite() for value in losses.values())
            assert any(
                p.grad is not None and p.grad.abs().sum() > 0 for p in task.parameters() if id(p) in owners[turn]
            )
            optimizers[turn].step()
        moved = {key for key, value in task.named_parameters() if not torch.equal(value, before[key])}
        assert moved
        assert not any(key.startswith("average.") for key in moved)

    def test_average_follows_the_generator(self):
        task = build_task("dcgan")
        with torch.no_grad():
            for parameter in task.generator.parameters():
                parameter.add_(1.0)
        old = copy.deepcopy(task.average.state_dict())
        task.after_step(10_000)
        decay = task.average_decay
        for key, value in task.average.state_dict().items():
            if value.is_floating_point():
                expected = decay * old[key] + (1 - decay) * task.generator.state_dict()[key]
                torch.testing.assert_close(value, expected)

    def test_learning_rate_rises_stays_and_falls(self):
        task = build_task("ddpm")
        factors = [task.learning_rate_factor(step, 1000) for step in range(1000)]
        assert factors[0] == pytest.approx(0.01)
        assert factors[300] == 1
        assert factors[-1] == pytest.approx(0.02)
        assert all(a >= b for a, b in itertools.pairwise(factors[100:]))

    def test_gradient_penalty_knows_a_linear_critic(self):
        weight = torch.randn(3 * 8 * 8)
        critic = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1, bias=False))
        with torch.no_grad():
            critic[1].weight.copy_(weight)
        real, fake = torch.randn(2, 4, 3, 8, 8)
        rng = torch.Generator().manual_seed(0)
        length = float(weight.norm())
        assert float(tasks.gradient_penalty(critic, real, fake, rng)) == pytest.approx((length - 1) ** 2, rel=1e-4)
        assert float(tasks.real_slope_penalty(critic, real)) == pytest.approx(length**2 / 2, rel=1e-4)

    @pytest.mark.parametrize("loss", list(tasks.CRITIC_LOSSES))
    def test_losses_reward_the_right_direction(self, loss):
        low, high = torch.tensor([-0.5, -0.3]), torch.tensor([0.3, 0.5])
        assert tasks.CRITIC_LOSSES[loss](high, low) < tasks.CRITIC_LOSSES[loss](low, high)
        assert tasks.GENERATOR_LOSSES[loss](high) < tasks.GENERATOR_LOSSES[loss](low)

    def test_short_training_leaves_all_that_ships_and_resumes(self, tmp_path):
        out = training.train("dcgan", tmp_path, steps=3, accelerator="cpu")
        assert {"weights.safetensors", "curve.csv", "run.json"} <= {path.name for path in out.iterdir()}
        before = (out / "weights.safetensors").read_bytes()
        training.train("dcgan", tmp_path, steps=3, accelerator="cpu")
        assert (out / "weights.safetensors").read_bytes() == before
        generator = build("dcgan", seed=9)
        load_weights(generator, out / "weights.safetensors")
        assert generator.sample(1, seed=0).shape == (1, 3, 64, 64)


class TestCrops:
    def test_train_and_other_photographs_share_no_scene(self):
        scenes = [{picture.source for picture in zoo_photographs(split)} for split in ("train", "val", "test")]
        assert all(scenes)
        assert not scenes[0] & (scenes[1] | scenes[2])

    def test_a_crop_is_where_it_says(self):
        pictures = zoo_photographs("train")
        by_name = {picture.name: picture for picture in pictures}
        result = draw_crops(pictures, 60, seed=3)
        for crop in result:
            img = by_name[crop.name].sizes[crop.scale]
            window = img[:, crop.top : crop.top + 64, crop.left : crop.left + 64]
            assert torch.equal(crop.image, window.flip(2) if crop.mirrored else window)
        assert {crop.scale for crop in result} == set(crops.SCALES)
        assert {crop.source for crop in result} == {picture.source for picture in pictures}
        assert {crop.mirrored for crop in result} == {True, False}

    def test_crops_are_numbered(self):
        pictures = zoo_photographs("train")
        assert torch.equal(draw_crops(pictures, 5, 1)[4].image, crops.CropDataset(pictures, seed=1)[4])

    def test_area_downscale_averages_blocks(self):
        img = torch.randint(0, 256, (3, 9, 11), dtype=torch.uint8)
        small = crops.area_downscale(img, 2)
        assert small.shape == (3, 4, 5)
        expected = np.rint(img[:, 2:4, 6:8].double().mean(dim=(1, 2)).numpy())
        assert small[:, 1, 3].tolist() == expected.tolist()
        assert torch.equal(crops.area_downscale(img, 1), img)


class TestQuality:
    def test_distance_is_small_for_one_distribution_and_large_for_two(self):
        rng = np.random.default_rng(0)
        x, y, z = rng.normal(size=(120, 10)), rng.normal(size=(200, 10)), rng.normal(1.5, 1, size=(120, 10))
        near, far = quality.kernel_distance(x, y, n_draws=100), quality.kernel_distance(z, y, n_draws=100)
        assert abs(near.value) < 0.01
        assert far.value > 0.2
        assert near.low < near.high < far.low < far.value < far.high

    def test_distance_equals_the_plain_formula(self):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(8, 3)), rng.normal(size=(9, 3))
        mean, deviation = y.mean(0), y.std(0)
        a, b = (x - mean) / deviation, (y - mean) / deviation
        width = np.median([np.sum((p - q) ** 2) for p, q in itertools.combinations(b, 2)])

        def kernel(p, q):
            return math.exp(-np.sum((p - q) ** 2) / width)

        within_a = np.mean([kernel(p, q) for p, q in itertools.combinations(a, 2)])
        within_b = np.mean([kernel(p, q) for p, q in itertools.combinations(b, 2)])
        between = np.mean([kernel(p, q) for p in a for q in b])
        expected = within_a + within_b - 2 * between
        assert quality.kernel_distance(x, y, n_draws=10).value == pytest.approx(expected, abs=1e-9)

    def test_statistics_tell_blur_and_colour(self, some_crops):
        features = quality.patch_statistics(some_crops)
        assert features.shape == (6, 41)
        assert np.isfinite(features).all()
        blurred = base.from_signed(blocks.blur(base.to_signed(some_crops)))
        assert (quality.patch_statistics(blurred)[:, 9:14] < features[:, 9:14]).all()
        assert np.allclose(features[:, 32:35], some_crops.double().mean(dim=(2, 3)) / 255)

    def test_flat_images_are_described_too(self):
        assert np.isfinite(quality.patch_statistics(torch.full((2, 3, 64, 64), 7, dtype=torch.uint8))).all()

    def test_diversity_of_copies_is_nothing(self, some_crops):
        assert quality.diversity(some_crops[:1].expand(4, -1, -1, -1)) < 1e-3
        assert quality.diversity(some_crops) > 0.1
