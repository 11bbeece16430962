"""Four published ways to turn noise into images, in one notation: x_t = alpha(t) x + sigma(t) eps.

`time` runs from 0 (the image) to 1 (noise). A process knows its alpha and sigma, what its network predicts, the loss
by which the network learns that, and how to walk back from noise to an image.
"""

import itertools
import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.data.crops import IMAGE_SIZE
from helpers.generators.base import ImageGenerator, NoiseSource


def column(x: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1), to scale images one by one."""
    return x[:, None, None, None]


def uniform(n: int, rng: torch.Generator) -> Tensor:
    """N numbers, uniform in 0..1, one in each n-th part of the interval (stratified: a quieter loss)."""
    order = torch.randperm(n, generator=rng, device=rng.device)
    return (order + torch.rand(n, generator=rng, device=rng.device)) / n


def normal_like(x: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal noise in the shape of `x`."""
    return torch.randn(x.shape, generator=rng, device=x.device)


class Process(ABC):
    """A path between images and noise, and how a network walks it back."""

    clip = True
    """Whether estimates of the image are clipped to -1..1 on the way (pixels yes, latents no)."""

    @abstractmethod
    def alpha_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """The share of image and of noise at `time`: two tensors in the shape of `time`."""

    @abstractmethod
    def predict(self, network: nn.Module, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The network's estimate of the clean image and of the noise in `noisy`, both in its shape."""

    @abstractmethod
    def loss(self, network: nn.Module, clean: Tensor, rng: torch.Generator) -> Tensor:
        """The training loss on a batch of images: a scalar."""

    @abstractmethod
    def walk(self, network: nn.Module, noisy: Tensor, noise: NoiseSource, steps: int, start: float) -> Tensor:
        """Walk from `noisy` at time `start` to an image at time 0 in `steps` steps."""

    def add_noise(self, clean: Tensor, eps: Tensor, time: Tensor) -> Tensor:
        """x_t = alpha(t) x + sigma(t) eps, with one time per image."""
        alpha, sigma = self.alpha_sigma(time)
        return column(alpha) * clean + column(sigma) * eps

    def clipped(self, clean: Tensor) -> Tensor:
        """The estimate, kept within the range of images where the process asks for it."""
        return clean.clamp(-1, 1) if self.clip else clean


def ddim(
    process: Process, network: nn.Module, noisy: Tensor, noise: NoiseSource, times: Tensor, eta: float = 0.0
) -> Tensor:
    """Walk along falling `times`: without fresh noise (eta 0, DDIM) or with as much as DDPM's posterior (eta 1).

    Args:
        process: Gives alpha, sigma and the network's estimates.
        network: Called as network(noisy, time).
        noisy: (n, c, h, w) at time times[0].
        noise: Fresh noise, used where eta > 0.
        times: Falling, the last one 0.
        eta: 0 is deterministic, 1 is ancestral sampling.

    Returns:
        (n, c, h, w), the image.

    Source: Song, Meng, Ermon, Denoising diffusion implicit models, ICLR 2021 (arXiv 2010.02502), equations 12 and 16.
    """
    for now, after in itertools.pairwise(times):
        clean, eps = process.predict(network, noisy, now.expand(len(noisy)))
        (alpha, sigma), (alpha_after, sigma_after) = process.alpha_sigma(now), process.alpha_sigma(after)
        fresh = eta * (sigma_after / sigma) * (1 - (alpha / alpha_after) ** 2).clamp(min=0).sqrt()
        kept = (sigma_after**2 - fresh**2).clamp(min=0).sqrt()
        noisy = alpha_after * clean + kept * eps
        if eta > 0 and after > 0:
            noisy = noisy + fresh * noise.normal(*noisy.shape[1:])
    return noisy


class NoisePrediction(Process):
    """DDPM: a linear schedule of 1,000 noise steps; the network predicts the noise.

    Source: Ho, Jain, Abbeel, Denoising diffusion probabilistic models, NeurIPS 2020 (arXiv 2006.11239), equations 4,
        11 and 14; fewer steps at sampling as in Nichol and Dhariwal 2021 (arXiv 2102.09672), section 4.
    """

    def __init__(self, n_steps: int = 1000, eta: float = 1.0) -> None:
        self.n_steps, self.eta = n_steps, eta
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, n_steps, dtype=torch.float64), dim=0)
        self.signal = torch.cat([torch.ones(1, dtype=torch.float64), kept]).float()

    def alpha_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """alpha^2 = product of (1 - beta) up to this step, sigma^2 = 1 - alpha^2."""
        signal = self.signal.to(time.device)[(time * self.n_steps).round().long()]
        return signal.sqrt(), (1 - signal).sqrt()

    def predict(self, network: nn.Module, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Take the network's noise off; where the image had to be clipped, the noise follows."""
        alpha, sigma = (column(x) for x in self.alpha_sigma(time))
        clean = self.clipped((noisy - sigma * network(noisy, time)) / alpha)
        return clean, (noisy - alpha * clean) / sigma

    def loss(self, network: nn.Module, clean: Tensor, rng: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise at a random step."""
        time = (uniform(len(clean), rng) * self.n_steps).floor().add(1) / self.n_steps
        eps = normal_like(clean, rng)
        return F.mse_loss(network(self.add_noise(clean, eps, time), time), eps)

    def walk(self, network: nn.Module, noisy: Tensor, noise: NoiseSource, steps: int, start: float) -> Tensor:
        """Ancestral sampling over evenly spaced steps (eta 1), or DDIM (eta 0)."""
        times = (torch.linspace(start, 0, steps + 1, device=noisy.device) * self.n_steps).round() / self.n_steps
        return ddim(self, network, noisy, noise, times, self.eta)


class VelocityPrediction(Process):
    """Cosine schedule: alpha = cos(a), sigma = sin(a), a = pi t / 2; the network predicts v = alpha eps - sigma x.

    Neighbouring pixels of a large image are alike, so that averaging them takes noise off: what the image shows is
    decided at higher noise than in a small one. A `shift` above 1 moves the schedule there: tan(a) = shift tan(pi t/2).

    Args:
        clip: Whether estimates of the image are clipped to -1..1.
        shift: Factor on the ratio of noise to image at every time.

    Source: Nichol and Dhariwal 2021 (arXiv 2102.09672), equation 17, with offset 0; Salimans and Ho, Progressive
        distillation, ICLR 2022 (arXiv 2202.00512), section 4 and appendix D; the shift is that of Hoogeboom, Heek,
        Salimans, Simple diffusion, ICML 2023 (arXiv 2301.11093), equation 4.
    """

    def __init__(self, clip: bool = True, shift: float = 1.0) -> None:
        self.clip, self.shift = clip, shift

    def alpha_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """A point on the unit circle, from (1, 0) at time 0 to (0, 1) at time 1."""
        angle = 0.5 * math.pi * time
        angle = torch.atan2(self.shift * torch.sin(angle), torch.cos(angle))
        return torch.cos(angle), torch.sin(angle)

    def predict(self, network: nn.Module, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Turn (x_t, v) back: x = alpha x_t - sigma v, eps = sigma x_t + alpha v."""
        alpha, sigma = (column(x) for x in self.alpha_sigma(time))
        velocity = network(noisy, time)
        return self.clipped(alpha * noisy - sigma * velocity), sigma * noisy + alpha * velocity

    def loss(self, network: nn.Module, clean: Tensor, rng: torch.Generator) -> Tensor:
        """Mean squared error of the predicted velocity at a random time."""
        time, eps = uniform(len(clean), rng), normal_like(clean, rng)
        alpha, sigma = (column(x) for x in self.alpha_sigma(time))
        velocity = alpha * eps - sigma * clean
        return F.mse_loss(network(alpha * clean + sigma * eps, time), velocity)

    def walk(self, network: nn.Module, noisy: Tensor, noise: NoiseSource, steps: int, start: float) -> Tensor:
        """DDIM over evenly spaced times."""
        return ddim(self, network, noisy, noise, torch.linspace(start, 0, steps + 1, device=noisy.device))


class Preconditioned(Process):
    """EDM: noise of standard deviation 0.002 to 80 on an unscaled image; the network sees and predicts unit scales.

    Here `time` 0..1 follows the sampler's noise levels (equation 5 with rho = 7), rising from 0 to 80.

    Source: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion-based generative models,
        NeurIPS 2022 (arXiv 2206.00364), table 1 (precision terms), algorithm 1 (Heun); training noise levels centred
        at -0.4 as in Karras et al., CVPR 2024 (arXiv 2312.02696), table 1.
    """

    data_deviation, lowest, highest, rho = 0.5, 0.002, 80.0, 7.0

    def alpha_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha is 1; sigma^(1/7) rises evenly with time."""
        low, high = self.lowest ** (1 / self.rho), self.highest ** (1 / self.rho)
        sigma = (low + time * (high - low)) ** self.rho
        return torch.ones_like(time), torch.where(time > 0, sigma, torch.zeros_like(time))

    def denoise(self, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Tensor:
        """D(x) = c_skip x + c_out F(c_in x, ln(sigma) / 4), equation 7; `sigma` has shape (n,)."""
        s, d = column(sigma), self.data_deviation
        c_skip, c_out = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt()
        c_in = 1 / (s**2 + d**2).sqrt()
        prediction: Tensor = network(c_in * noisy, sigma.log() / 4)
        return c_skip * noisy + c_out * prediction

    def predict(self, network: nn.Module, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The denoised image, and what it left over in units of sigma."""
        _, sigma = self.alpha_sigma(time)
        clean = self.clipped(self.denoise(network, noisy, sigma))
        return clean, (noisy - clean) / column(sigma)

    def loss(self, network: nn.Module, clean: Tensor, rng: torch.Generator) -> Tensor:
        """Squared error of the denoised image at log-normal noise levels, weighted to unit size."""
        level = torch.randn(len(clean), generator=rng, device=rng.device)
        sigma = (1.2 * level - 0.4).exp()
        noisy = clean + column(sigma) * normal_like(clean, rng)
        weight = (sigma**2 + self.data_deviation**2) / (sigma * self.data_deviation) ** 2
        return (column(weight) * (self.denoise(network, noisy, sigma) - clean).square()).mean()

    def walk(self, network: nn.Module, noisy: Tensor, noise: NoiseSource, steps: int, start: float) -> Tensor:
        """Heun's method: an Euler step, corrected by the slope at its end (none at the last)."""
        times = torch.linspace(start, 0, steps + 1, device=noisy.device)
        for now, after in itertools.pairwise(times):
            step = self.alpha_sigma(after)[1] - self.alpha_sigma(now)[1]
            _, slope = self.predict(network, noisy, now.expand(len(noisy)))
            tried = noisy + step * slope
            if after > 0:
                _, slope_after = self.predict(network, tried, after.expand(len(noisy)))
                tried = noisy + step * (slope + slope_after) / 2
            noisy = tried
        return noisy


class RectifiedFlow(Process):
    """Straight lines from image to noise: x_t = (1 - t) x + t eps; the network predicts the slope eps - x.

    Training times crowd in the middle, and a `shift` above 1 moves them, and the steps of Euler's method, towards
    noise: t becomes shift t / (1 + (shift - 1) t).

    Source: Liu, Gong, Liu, Flow straight and fast, ICLR 2023 (arXiv 2209.03003), equation 1 and algorithm 1; times
        drawn as the logistic function of a normal number, and their shift, as in Esser et al. 2024 (arXiv 2403.03206),
        section 3.1 and equation 23.
    """

    def __init__(self, shift: float = 2.0) -> None:
        self.shift = shift

    def shifted(self, time: Tensor) -> Tensor:
        """Times 0..1, moved towards 1."""
        return self.shift * time / (1 + (self.shift - 1) * time)

    def alpha_sigma(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha = 1 - t, sigma = t."""
        return 1 - time, time

    def predict(self, network: nn.Module, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Follow the line to both of its ends."""
        slope = network(noisy, time)
        return self.clipped(noisy - column(time) * slope), noisy + column(1 - time) * slope

    def loss(self, network: nn.Module, clean: Tensor, rng: torch.Generator) -> Tensor:
        """Mean squared error of the predicted slope."""
        time = self.shifted(torch.randn(len(clean), generator=rng, device=rng.device).sigmoid())
        eps = normal_like(clean, rng)
        return F.mse_loss(network(self.add_noise(clean, eps, time), time), eps - clean)

    def walk(self, network: nn.Module, noisy: Tensor, noise: NoiseSource, steps: int, start: float) -> Tensor:
        """Euler's method on the learned slope, from `start`, in steps that are shifted as in training."""
        unshifted = start / (self.shift - (self.shift - 1) * start)
        times = self.shifted(torch.linspace(unshifted, 0, steps + 1, device=noisy.device))
        for now, after in itertools.pairwise(times):
            noisy = noisy + (after - now) * network(noisy, now.expand(len(noisy)))
        return noisy


class DiffusionGenerator(ImageGenerator):
    """A process and the network that walks it back.

    Args:
        network: Called as network(noisy, time) with times of shape (n,).
        process: The path.
        steps: Steps from noise to image.
        redraw_start: Time up to which a given image is noised before it is redrawn, 0..1.
    """

    def __init__(self, network: nn.Module, process: Process, steps: int, redraw_start: float) -> None:
        super().__init__()
        self.network, self.process = network, process
        self.steps, self.redraw_start = steps, redraw_start

    def draw(self, noise: NoiseSource) -> Tensor:
        """From pure noise at time 1 to an image."""
        time = torch.ones(1, device=noise.device)
        start = noise.normal(3, IMAGE_SIZE, IMAGE_SIZE) * self.process.alpha_sigma(time)[1]
        return self.process.walk(self.network, start, noise, self.steps, 1.0)

    def redraw(self, images: Tensor, noise: NoiseSource) -> Tensor:
        """Add noise up to `redraw_start`, then walk back.

        Source: Meng et al., SDEdit, ICLR 2022 (arXiv 2108.01073).
        """
        time = torch.full((len(images),), self.redraw_start, device=noise.device)
        noisy = self.process.add_noise(images, noise.normal(*images.shape[1:]), time)
        steps = max(2, round(self.steps * self.redraw_start))
        return self.process.walk(self.network, noisy, noise, steps, self.redraw_start)

    def loss(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Training loss on images in -1..1: a scalar."""
        return self.process.loss(self.network, images, rng)
