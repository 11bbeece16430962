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
    Recipe(
        "dcgan",
        "DCGAN",
        "gan",
        "transposed convolution",
        "Radford, Metz, Chintala 2016, arXiv 1511.06434",
        TransposedGenerator,
        _game(GameRules("non-saturating"), norm="spectral"),
        _config(4000),
    ),
    Recipe(
        "wgan_gp",
        "WGAN-GP",
        "gan",
        "nearest neighbour, convolution",
        "Gulrajani et al. 2017, arXiv 1704.00028",
        NearestGenerator,
        _game(
            GameRules("wasserstein", betas=(0.0, 0.9), penalty="gradient", penalty_weight=10.0, critic_turns=2),
        ),
        _config(2500),
    ),
    Recipe(
        "lsgan",
        "LSGAN",
        "gan",
        "bilinear, convolution",
        "Mao et al. 2017, arXiv 1611.04076",
        BilinearGenerator,
        _game(GameRules("least-squares"), norm="spectral"),
        _config(2500),
    ),
    Recipe(
        "style",
        "Style-modulated GAN",
        "gan",
        "nearest neighbour and blur, modulated convolution",
        "Karras et al. 2020, arXiv 1912.04958",
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
    Recipe(
        "shuffle",
        "Sub-pixel GAN with self-attention",
        "gan",
        "sub-pixel shuffle",
        "Zhang et al. 2019, arXiv 1805.08318; Shi et al. 2016, arXiv 1609.05158",
        ShuffleGenerator,
        _game(GameRules("hinge", betas=(0.0, 0.9)), norm="spectral"),
        _config(2500),
    ),
    Recipe(
        "translation",
        "Image-to-image GAN",
        "gan",
        "transposed convolution with skips, from a sketch",
        "Isola et al. 2017, arXiv 1611.07004",
        TranslationGenerator,
        lambda generator: TranslationTask(generator, Critic(channels=7, widths=(32, 64, 96), patches=True)),
        _config(1500),
    ),
    Recipe(
        "ddpm",
        "DDPM",
        "diffusion",
        "U-Net, nearest neighbour, convolution",
        "Ho, Jain, Abbeel 2020, arXiv 2006.11239",
        _pixel_diffusion(NoisePrediction, "nearest", 50, 0.2),
        DiffusionTask,
        _config(2500),
    ),
    Recipe(
        "cosine",
        "Cosine schedule, velocity prediction",
        "diffusion",
        "U-Net, sub-pixel shuffle",
        "Nichol, Dhariwal 2021, arXiv 2102.09672; Salimans, Ho 2022, arXiv 2202.00512",
        _pixel_diffusion(lambda: VelocityPrediction(shift=2.0), "shuffle", 30, 0.2),
        DiffusionTask,
        _config(2500),
    ),
    Recipe(
        "edm",
        "EDM",
        "diffusion",
        "U-Net, nearest neighbour and blur, convolution",
        "Karras et al. 2022, arXiv 2206.00364",
        _pixel_diffusion(Preconditioned, "blurred", 18, 0.35),
        DiffusionTask,
        _config(2500),
    ),
    Recipe(
        "flow",
        "Rectified flow",
        "diffusion",
        "U-Net, transposed convolution",
        "Liu, Gong, Liu 2023, arXiv 2209.03003",
        _pixel_diffusion(RectifiedFlow, "transposed", 30, 0.4),
        DiffusionTask,
        _config(2500),
    ),
    Recipe(
        "dit",
        "Diffusion transformer",
        "diffusion",
        "patches of 8 x 8 pixels, linear",
        "Peebles, Xie 2023, arXiv 2212.09748",
        lambda: DiffusionGenerator(DiffusionTransformer(), VelocityPrediction(shift=2.0), steps=40, redraw_start=0.2),
        DiffusionTask,
        _config(4000),
    ),
    Recipe(
        "latent",
        "Latent diffusion",
        "diffusion",
        "decoder, nearest neighbour, convolution",
        "Rombach et al. 2022, arXiv 2112.10752",
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
