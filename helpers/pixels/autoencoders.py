"""Redraw a photograph by the small autoencoder of a real generator: the same content, with a generator's marks.

`madebyollin/taesd`, `taesd3` and `taef1` (on the Hub and GitHub, MIT licence) stand in for the autoencoders of Stable
Diffusion 1, Stable Diffusion 3 and FLUX.1. A file of weights holds a sequence of layers, named by their positions; this
module builds the sequence that such a file is of. The kept library's version is `diffusers.AutoencoderTiny`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from helpers.data.images import Image
from helpers.errors import NaturalTracesError

__all__ = ["NAMES", "AutoencoderError", "TinyAutoencoder", "load_autoencoder"]

NAMES = ("taesd", "taesd3", "taef1")
"""Autoencoders whose files are known; each is a pair NAME_encoder.safetensors, NAME_decoder.safetensors."""
WIDTH = 64
BLOCKS = 3
"""Halvings of the sides; each has as many residual blocks."""
STRIDE = 2**BLOCKS
"""A side must be a multiple of this; `redraw` mirrors what is missing."""


class AutoencoderError(NaturalTracesError):
    """Weights that are missing, or that are not of such an autoencoder."""


class _Residual(nn.Module):
    """Three convolutions, added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.conv(maps) + maps)


class _SoftClamp(nn.Module):
    """Keep latent values within -3..3."""

    def forward(self, latent: Tensor) -> Tensor:
        return torch.tanh(latent / 3) * 3


def _residuals(count: int) -> list[nn.Module]:
    return [_Residual() for _ in range(count)]


def _encoder(latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), _Residual()]
    for _ in range(BLOCKS):
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False), *_residuals(BLOCKS)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, latent, 3, padding=1))


def _decoder(latent: int) -> nn.Sequential:
    layers: list[nn.Module] = [_SoftClamp(), nn.Conv2d(latent, WIDTH, 3, padding=1), nn.ReLU()]
    for _ in range(BLOCKS):
        layers += [*_residuals(BLOCKS), nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, _Residual(), nn.Conv2d(WIDTH, 3, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """Encoder and decoder of eight pixels a side to one latent vector.

    Args:
        latent: Channels of the latent image: 4 for Stable Diffusion 1, 16 for the other two.
    """

    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        self.encoder, self.decoder = _encoder(latent), _decoder(latent)

    @torch.inference_mode()
    def redraw(self, img: Image, *, half: bool = False) -> Image:
        """Encode and decode a picture.

        Args:
            img: uint8 (3, H, W), sides at least 8.
            half: Compute all but the last layer in bfloat16: four times as fast on a processor that has instructions
                for it, and half a grey level away on average; the last layer stays exact, so that no value is rounded
                to a coarse grid.

        Returns:
            uint8 (3, H, W): the same content, drawn by the decoder.
        """
        height, width = img.shape[-2:]
        values = img[None].float() / 255
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        values = nn.functional.pad(values, padding, mode="reflect").contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            maps = self.decoder[:-1](self.encoder(values))
        drawn: Tensor = self.decoder[-1](maps.float()).clamp(0, 1)[0, :, :height, :width]
        return (drawn * 255).round().to(torch.uint8).contiguous()


def load_autoencoder(folder: Path, name: str) -> TinyAutoencoder:
    """Read an autoencoder from its two files.

    Args:
        folder: Holds NAME_encoder.safetensors and NAME_decoder.safetensors.
        name: Such as "taesd".

    Returns:
        The autoencoder, ready to redraw.

    Raises:
        AutoencoderError: A file is missing, or is not of such an autoencoder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    parts = {}
    for part in ("encoder", "decoder"):
        path = folder / f"{name}_{part}.safetensors"
        try:
            parts[part] = {key: value.float() for key, value in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise AutoencoderError(f"{path.name}: cannot be read: {error}") from None
    first = parts["decoder"].get("1.weight", torch.empty(0, 0))
    network = TinyAutoencoder(latent=first.shape[1])
    try:
        network.encoder.load_state_dict(parts["encoder"])
        network.decoder.load_state_dict(parts["decoder"])
    except RuntimeError:
        raise AutoencoderError(f"{name}: the files in {folder.name} are not of a tiny autoencoder") from None
    return network.eval().to(memory_format=torch.channels_last)
