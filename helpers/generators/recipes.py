"""The twelve generators by name: what each is, how it is built, and how it is trained.

Networks and steps are small on purpose: each is trained from nothing in about ten minutes on one core. Samples show
what a family of architectures leaves behind in the pixels, not how well the family can draw.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from helpers.errors import NaturalTracesError
from helpers.generators.base import ImageGenerator
from helpers.generators.blocks import PixelUNet, UNet
from helpers.generators.diffusion import (
    DiffusionGenerator,
    NoisePrediction,
    Preconditioned,
    Process,
    RectifiedFlow,
    VelocityPrediction,
)
from helpers.generators.gans import (
    BilinearGenerator,
    Critic,
    NearestGenerator,
    ShuffleGenerator,
    StyleGenerator,
    TranslationGenerator,
    TransposedGenerator,
)
from helpers.generators.latent import Autoencoder, LatentDiffusionGenerator
from helpers.generators.roster import ROSTER
from helpers.generators.tasks import (
    AdversarialTask,
    DiffusionTask,
    GameRules,
    LatentDiffusionTask,
    TranslationTask,
    ZooTask,
)
from helpers.generators.transformer import DiffusionTransformer
from helpers.training import FitConfig


class GeneratorError(NaturalTracesError):
    """A generator that is not known, or not there."""


@dataclass(frozen=True)
class Recipe:
    """One member of the zoo.

    Attributes:
        name: Short name, also that of its files.
        title: Name for people.
        family: "gan" or "diffusion".
        enlarges: How it gets from a small picture to a large one.
        paper: What it follows.
        build: Makes the generator with fresh weights.
        task: Wraps a generator for training.
        config: Steps, batch size, seed and precision of its training.
    """

    name: str
    title: str
    family: str
    enlarges: str
    paper: str
    build: Callable[[], ImageGenerator]
    task: Callable[[Any], ZooTask]
    config: FitConfig = field(default_factory=lambda: FitConfig(steps=1, batch_size=1))


def _recipe(name: str, build: Callable[[], Any], task: Callable[[Any], ZooTask], config: FitConfig) -> Recipe:
    """Add to a member of the roster how it is built and trained."""
    member = ROSTER[name]
    return Recipe(name, member.title, member.family, member.enlarges, member.paper, build, task, config)


def _config(steps: int) -> FitConfig:
    return FitConfig(
        steps=steps, batch_size=16, precision="bf16-mixed", channels_last=True, checkpoint_every=250, log_every=25
    )


def _game(rules: GameRules, norm: str = "none") -> Callable[[Any], ZooTask]:
    return lambda generator: AdversarialTask(generator, Critic(norm=norm), rules)


def _pixel_diffusion(
    process: Callable[[], Process], upsample: str, steps: int, redraw_start: float
) -> Callable[[], ImageGenerator]:
    return lambda: DiffusionGenerator(PixelUNet(upsample=upsample), process(), steps, redraw_start)


_RECIPES = (
    _recipe(
        "dcgan",
        TransposedGenerator,
        _game(GameRules("non-saturating"), norm="spectral"),
        _config(4000),
    ),
    _recipe(
        "wgan_gp",
        NearestGenerator,
        _game(
            GameRules("wasserstein", betas=(0.0, 0.9), penalty="gradient", penalty_weight=10.0, critic_turns=2),
        ),
        _config(2500),
    ),
    _recipe(
        "lsgan",
        BilinearGenerator,
        _game(GameRules("least-squares"), norm="spectral"),
        _config(2500),
    ),
    _recipe(
        "style",
        StyleGenerator,
        _game(
            GameRules(
                "non-saturating",
                penalty="real",
                penalty_weight=0.2,
                penalty_every=8,
            ),
            norm="spectral",
        ),
        _config(2500),
    ),
    _recipe(
        "shuffle",
        ShuffleGenerator,
        _game(GameRules("hinge", betas=(0.0, 0.9)), norm="spectral"),
        _config(2500),
    ),
    _recipe(
        "translation",
        TranslationGenerator,
        lambda generator: TranslationTask(generator, Critic(channels=7, widths=(32, 64, 96), patches=True)),
        _config(1500),
    ),
    _recipe(
        "ddpm",
        _pixel_diffusion(NoisePrediction, "nearest", 50, 0.2),
        DiffusionTask,
        _config(2500),
    ),
    _recipe(
        "cosine",
        _pixel_diffusion(lambda: VelocityPrediction(shift=2.0), "shuffle", 30, 0.2),
        DiffusionTask,
        _config(2500),
    ),
    _recipe(
        "edm",
        _pixel_diffusion(Preconditioned, "blurred", 18, 0.35),
        DiffusionTask,
        _config(2500),
    ),
    _recipe(
        "flow",
        _pixel_diffusion(RectifiedFlow, "transposed", 30, 0.4),
        DiffusionTask,
        _config(2500),
    ),
    _recipe(
        "dit",
        lambda: DiffusionGenerator(DiffusionTransformer(), VelocityPrediction(shift=2.0), steps=40, redraw_start=0.2),
        DiffusionTask,
        _config(4000),
    ),
    _recipe(
        "latent",
        lambda: LatentDiffusionGenerator(
            Autoencoder(),
            UNet(channels=4, widths=(40, 48), blocks=(2, 1)),
            VelocityPrediction(clip=False),
            steps=40,
        ),
        lambda generator: LatentDiffusionTask(generator, autoencoder_steps=2000),
        _config(5000),
    ),
)

RECIPES = MappingProxyType({recipe.name: recipe for recipe in _RECIPES})


def recipe(name: str) -> Recipe:
    """Look a member of the zoo up.

    Args:
        name: One of `RECIPES`.

    Returns:
        Its recipe.

    Raises:
        GeneratorError: There is no such generator.
    """
    if name not in RECIPES:
        raise GeneratorError(f"{name}: no such generator (known: {', '.join(RECIPES)})")
    return RECIPES[name]


def build(name: str, seed: int = 0) -> ImageGenerator:
    """Make a generator with fresh weights that depend on the seed only.

    Args:
        name: One of `RECIPES`.
        seed: Seed of the weights; torch's global generator is left as it was.

    Returns:
        The generator, on the CPU.
    """
    return build_task(name, seed).generator


def build_task(name: str, seed: int = 0) -> ZooTask:
    """Make a generator and what it takes to train it, with fresh weights that depend on the seed only."""
    chosen = recipe(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return chosen.task(chosen.build())
