"""How the zoo learns: the game against a critic, and the removal of noise."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.data.crops import IMAGE_SIZE
from helpers.generators.base import ImageGenerator, to_signed
from helpers.generators.diffusion import DiffusionGenerator
from helpers.generators.gans import LatentGenerator, TranslationGenerator, sketch
from helpers.generators.latent import LatentDiffusionGenerator
from helpers.training import Task
from helpers.training.schedule import update_average


def _non_saturating(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _least_squares(real: Tensor, fake: Tensor) -> Tensor:
    return (real - 1).square().mean() + fake.square().mean()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


CRITIC_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "non-saturating": _non_saturating,
    "least-squares": _least_squares,
    "hinge": _hinge,
    "wasserstein": _wasserstein,
}
"""What the critic minimises, from its scores of photographs and of fakes.

Sources: Goodfellow et al. 2014 (arXiv 1406.2661); Mao et al. 2017 (arXiv 1611.04076); Lim and Ye 2017 (arXiv
1705.02894); Arjovsky et al. 2017 (arXiv 1701.07875).
"""

GENERATOR_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "non-saturating": lambda fake: F.softplus(-fake).mean(),
    "least-squares": lambda fake: (fake - 1).square().mean(),
    "hinge": lambda fake: -fake.mean(),
    "wasserstein": lambda fake: -fake.mean(),
}
"""What the generator minimises, from the critic's scores of its fakes."""


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Squared distance from 1 of the critic's slope, between photographs and fakes.

    Args:
        critic: Images -> scores.
        real: (n, 3, h, w).
        fake: (n, 3, h, w).
        rng: Chooses the points between the two.

    Returns:
        Scalar.

    Source: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device)
    between = torch.lerp(fake, real, share).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    length = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (length - 1).square().mean()


def real_slope_penalty(critic: nn.Module, real: Tensor) -> Tensor:
    """Half the squared slope of the critic at photographs (R1).

    Args:
        critic: Images -> scores.
        real: (n, 3, h, w).

    Returns:
        Scalar.

    Source: Mescheder, Geiger, Nowozin, Which training methods for GANs do actually converge?, ICML 2018
        (arXiv 1801.04406), equation 9.
    """
    real = real.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(dim=1).mean() / 2


@dataclass(frozen=True)
class GameRules:
    """How a generator and its critic play.

    Attributes:
        loss: Key of `CRITIC_LOSSES`.
        critic_rate: Learning rate of the critic.
        generator_rate: Learning rate of the generator.
        betas: Averaging constants of Adam.
        penalty: "none", "gradient" (WGAN-GP) or "real" (R1).
        penalty_weight: Its weight.
        penalty_every: It is computed at every so-many-th step, with its weight times that.
        critic_turns: Critic turns per generator turn.
        average_decay: Decay of the generator's running average, which is what ships.
    """

    loss: str
    critic_rate: float = 4e-4
    generator_rate: float = 4e-4
    betas: tuple[float, float] = (0.5, 0.99)
    penalty: str = "none"
    penalty_weight: float = 0.0
    penalty_every: int = 1
    critic_turns: int = 1
    average_decay: float = 0.995


class ZooTask(Task):
    """What all trainings of the zoo share: a model, and the running average of its weights, which is what ships."""

    generator: ImageGenerator
    average: ImageGenerator
    average_decay = 0.998

    def __init__(self, generator: ImageGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.average = copy.deepcopy(generator).requires_grad_(False)

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Rise over the first 100 steps, stay, fall in a straight line over the last two fifths."""
        return min(1.0, (step + 1) / 100, max(0.02, (steps - step) / (0.4 * steps)))

    def after_step(self, step: int) -> None:
        """Move the running average; it follows faster in the beginning."""
        update_average(self.average, self.generator, min(self.average_decay, (1 + step) / (10 + step)))


class AdversarialTask(ZooTask):
    """A generator against a critic.

    Args:
        generator: Latent vectors -> images.
        critic: Images -> scores.
        rules: How they play.
    """

    splittable = False
    generator: LatentGenerator

    def __init__(self, generator: LatentGenerator, critic: nn.Module, rules: GameRules) -> None:
        super().__init__(generator)
        self.critic, self.rules = critic, rules
        self.average_decay = rules.average_decay
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))
        self.steps_done: Tensor

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both."""
        betas = self.rules.betas
        return {
            "critic": torch.optim.Adam(self.critic.parameters(), self.rules.critic_rate, betas),
            "generator": torch.optim.Adam(self.generator.parameters(), self.rules.generator_rate, betas),
        }

    def turns(self, step: int) -> tuple[str, ...]:
        """The critic plays every step, the generator every `critic_turns`-th."""
        return ("critic", "generator") if (step + 1) % self.rules.critic_turns == 0 else ("critic",)

    def after_step(self, step: int) -> None:
        """Count, and move the average."""
        self.steps_done += 1
        super().after_step(step)

    def losses(self, turn: str, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """One move of one player."""
        real = to_signed(batch)
        z = torch.randn(len(real), self.generator.latent_size, generator=generator, device=real.device)
        if turn == "generator":
            return {"loss": GENERATOR_LOSSES[self.rules.loss](self.critic(self.generator(z)))}
        with torch.no_grad():
            fake = self.generator(z).float()
        return self.critic_losses(real, fake, generator)

    def critic_losses(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """The critic's loss, and its penalty where the rules ask for one at this step."""
        rules = self.rules
        losses = {"loss": CRITIC_LOSSES[rules.loss](self.critic(real), self.critic(fake))}
        if rules.penalty != "none" and int(self.steps_done) % rules.penalty_every == 0:
            gradient = rules.penalty == "gradient"
            penalty = (
                gradient_penalty(self.critic, real, fake, rng) if gradient else real_slope_penalty(self.critic, real)
            )
            losses["penalty"] = penalty
            losses["loss"] = losses["loss"] + rules.penalty_weight * rules.penalty_every * penalty
        return losses


class TranslationTask(ZooTask):
    """pix2pix: colour a sketch in so that the pixels are near the photograph and a patch critic takes it for one.

    Args:
        generator: Sketch and noise -> image.
        critic: Sketch and image -> a score for each patch.
        pixel_weight: Weight of the absolute pixel error.
    """

    splittable = False
    average_decay = 0.995
    generator: TranslationGenerator

    def __init__(self, generator: TranslationGenerator, critic: nn.Module, pixel_weight: float = 10.0) -> None:
        super().__init__(generator)
        self.critic, self.pixel_weight = critic, pixel_weight

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both, as in the paper."""
        return {
            "critic": torch.optim.Adam(self.critic.parameters(), 4e-4, (0.5, 0.99)),
            "generator": torch.optim.Adam(self.generator.parameters(), 8e-4, (0.5, 0.99)),
        }

    def turns(self, step: int) -> tuple[str, ...]:
        """Both play at every step."""
        return ("critic", "generator")

    def losses(self, turn: str, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """One move of one player."""
        real = to_signed(batch)
        condition = sketch(real)
        noise = torch.randn(len(real), 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator, device=real.device)
        if turn == "generator":
            fake = self.generator(condition, noise)
            pixels = (fake - real).abs().mean()
            fooled = _least_squares_generator(self.critic(torch.cat([condition, fake], dim=1)))
            return {"loss": fooled + self.pixel_weight * pixels, "pixels": pixels}
        with torch.no_grad():
            fake = self.generator(condition, noise)
        pairs = (self.critic(torch.cat([condition, images], dim=1)) for images in (real, fake))
        return {"loss": _least_squares(*pairs)}


def _least_squares_generator(fake: Tensor) -> Tensor:
    return GENERATOR_LOSSES["least-squares"](fake)


class DiffusionTask(ZooTask):
    """Learn to take noise off photographs.

    Args:
        generator: Network and process.
        rate: Learning rate.
    """

    generator: DiffusionGenerator

    def __init__(self, generator: DiffusionGenerator, rate: float = 2e-3) -> None:
        super().__init__(generator)
        self.rate = rate

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW with the usual constants."""
        return {"main": torch.optim.AdamW(self.generator.parameters(), self.rate, (0.9, 0.99), weight_decay=0.0)}

    def losses(self, turn: str, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The process's own loss."""
        return {"loss": self.generator.loss(to_signed(batch), generator)}


class LatentDiffusionTask(ZooTask):
    """First the autoencoder, then, with it held fixed, the diffusion of its latents.

    Args:
        generator: Autoencoder, network and process.
        autoencoder_steps: When the first part ends.
        rate: Learning rate of both.
    """

    generator: LatentDiffusionGenerator

    def __init__(self, generator: LatentDiffusionGenerator, autoencoder_steps: int, rate: float = 1e-3) -> None:
        super().__init__(generator)
        self.autoencoder_steps, self.rate = autoencoder_steps, rate

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One for each part."""
        parts = {"autoencoder": self.generator.autoencoder, "diffusion": self.generator.network}
        return {
            name: torch.optim.AdamW(part.parameters(), self.rate, (0.9, 0.99), weight_decay=0.0)
            for name, part in parts.items()
        }

    def turns(self, step: int) -> tuple[str, ...]:
        """The part that learns at this step."""
        return ("autoencoder",) if step < self.autoencoder_steps else ("diffusion",)

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """The usual rise and fall, for each part within its own steps."""
        if step < self.autoencoder_steps:
            return super().learning_rate_factor(step, self.autoencoder_steps)
        return super().learning_rate_factor(step - self.autoencoder_steps, steps - self.autoencoder_steps)

    def losses(self, turn: str, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction, or removal of noise from latents."""
        images = to_signed(batch)
        if turn == "autoencoder":
            return {"loss": self.generator.autoencoder.reconstruction_loss(images, generator)}
        return {"loss": self.generator.loss(images, generator)}
