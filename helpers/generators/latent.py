"""Latent diffusion: an autoencoder learns a small picture of the picture, and a diffusion model makes those."""

import torch
from torch import Tensor, nn

from helpers.generators.base import ImageGenerator, NoiseSource
from helpers.generators.blocks import Upsample, group_norm
from helpers.generators.diffusion import Process


class PlainResidual(nn.Module):
    """x + convolve(convolve(x)) with group normalisation and no condition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        return x + self.layers(x)  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """64 x 64 x 3 pixels <-> 16 x 16 x 4 numbers.

    Source: Rombach et al., High-resolution image synthesis with latent diffusion models, CVPR 2022 (arXiv 2112.10752),
        section 3.1, with the weak Kullback-Leibler term replaced by noise on the latent of fixed size.
    """

    def __init__(self, latent_channels: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=2, padding=1),
            PlainResidual(16),
            nn.Conv2d(16, 32, 4, stride=2, padding=1),
            PlainResidual(32),
            nn.Conv2d(32, latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, 48, 3, padding=1),
            PlainResidual(48),
            Upsample(48, 24, "nearest"),
            PlainResidual(24),
            Upsample(24, 12, "nearest"),
            nn.SiLU(),
            nn.Conv2d(12, 3, 3, padding=1),
        )

    def encode(self, images: Tensor) -> Tensor:
        """(n, 3, 64, 64) -> (n, 4, 16, 16), softly bounded to -3..3."""
        return 3.0 * torch.tanh(self.encoder(images) / 3.0)

    def decode(self, latents: Tensor) -> Tensor:
        """(n, 4, 16, 16) -> (n, 3, 64, 64)."""
        return self.decoder(latents)  # type: ignore[no-any-return]

    def reconstruction_loss(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Absolute error of pixels and of neighbour differences (keeps edges), with slightly noisy latents."""
        latents = self.encode(images)
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        error = self.decode(latents + 0.05 * noise) - images
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        spread = latents.square().mean(dim=(0, 2, 3)) - 1.0
        return error.abs().mean() + edges + 0.01 * spread.square().mean()


class LatentDiffusionGenerator(ImageGenerator):
    """A diffusion model in the latent space of an autoencoder of its own.

    Args:
        autoencoder: Pixels <-> latents.
        network: Called as network(noisy latents, time).
        process: The path.
        steps: Steps from noise to latents.
    """

    latent_shape = (4, 16, 16)

    def __init__(self, autoencoder: Autoencoder, network: nn.Module, process: Process, steps: int) -> None:
        super().__init__()
        self.autoencoder, self.network = autoencoder, network
        self.process, self.steps = process, steps

    def draw(self, noise: NoiseSource) -> Tensor:
        """Latents from noise, then pixels from latents."""
        start = noise.normal(*self.latent_shape)
        return self.autoencoder.decode(self.process.walk(self.network, start, noise, self.steps, 1.0))

    def redraw(self, images: Tensor, noise: NoiseSource) -> Tensor:
        """Encode and decode: the content stays, the pixels are the decoder's."""
        return self.autoencoder.decode(self.autoencoder.encode(images))

    def loss(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Training loss of the diffusion part; the autoencoder is held fixed."""
        with torch.no_grad():
            latents = self.autoencoder.encode(images)
        return self.process.loss(self.network, latents, rng)
