"""What every generator of the zoo has in common: one `sample(n, seed)`, repeatable bit for bit."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from helpers.data.images import to_uint8

CHUNK = 16
"""Images are always made sixteen at a time: a sum may be ordered differently in a batch of another size."""


class NoiseSource:
    """One random stream per image, so that an image depends on its own number and on nothing else.

    Args:
        seed: The seed of the whole set.
        indices: The number of each image within the set.
        device: Where the noise is needed. It is always drawn on the CPU, so that every device sees the same.
    """

    def __init__(self, seed: int, indices: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        states = [np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] for index in indices]
        self.streams = [torch.Generator().manual_seed(int(state)) for state in states]

    def __len__(self) -> int:
        return len(self.streams)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal noise, float32, shape `(images, *shape)`."""
        return torch.stack([torch.randn(shape, generator=stream) for stream in self.streams]).to(self.device)

    def integers(self, high: int) -> Tensor:
        """One whole number from 0 to high - 1 per image, int64, shape (images,)."""
        draws = [torch.randint(high, (1,), generator=stream) for stream in self.streams]
        return torch.cat(draws).to(self.device)


class ImageGenerator(nn.Module, ABC):
    """A network that makes images: subclasses say how by `draw`, and, if they can, by `redraw`."""

    @abstractmethod
    def draw(self, noise: NoiseSource) -> Tensor:
        """Make one image per stream of `noise`: float, shape (len(noise), 3, 64, 64), about -1..1."""

    def redraw(self, images: Tensor, noise: NoiseSource) -> Tensor:
        """Draw given images again: float -1..1 in, float about -1..1 out, shape (len(noise), 3, 64, 64)."""
        raise NotImplementedError(f"{type(self).__name__} cannot redraw a given image")

    @property
    def can_redraw(self) -> bool:
        """Whether `resynthesise` works for this generator."""
        return type(self).redraw is not ImageGenerator.redraw

    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def sample(self, n: int, seed: int) -> Tensor:
        """Make `n` images.

        Args:
            n: Number of images, at least 1.
            seed: Seed; image number i depends on (seed, i) only, so `sample(3, s)` opens `sample(100, s)`.

        Returns:
            uint8, shape (n, 3, 64, 64), RGB, on the CPU.
        """
        with evaluating(self), torch.inference_mode():
            parts = [from_signed(self.draw(NoiseSource(seed, chunk, self.device()))) for chunk in _chunks(n)]
        return torch.cat(parts)[:n]

    def resynthesise(self, crops: Tensor, seed: int) -> Tensor:
        """Draw given crops again: same content, but every pixel now comes from this generator.

        Args:
            crops: uint8, shape (n, 3, 64, 64), RGB.
            seed: Seed of whatever noise the method adds.

        Returns:
            uint8, shape (n, 3, 64, 64), RGB, on the CPU.
        """
        parts = []
        with evaluating(self), torch.inference_mode():
            for chunk in _chunks(len(crops)):
                images = to_signed(crops[[min(index, len(crops) - 1) for index in chunk]]).to(self.device())
                parts.append(from_signed(self.redraw(images, NoiseSource(seed, chunk, self.device()))))
        return torch.cat(parts)[: len(crops)]


def _chunks(n: int) -> Iterator[range]:
    """Ranges of sixteen numbers that cover 0..n-1; the last one runs over the end."""
    if n < 1:
        raise ValueError(f"at least one image must be asked for, not {n}")
    for start in range(0, n, CHUNK):
        yield range(start, start + CHUNK)


class evaluating:
    """Switch a module to evaluation mode for a block, and back to what it was afterwards."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.was_training = module.training

    def __enter__(self) -> nn.Module:
        return self.module.eval()

    def __exit__(self, *exception: object) -> None:
        self.module.train(self.was_training)


def to_signed(images: Tensor) -> Tensor:
    """Bytes 0..255 -> float32 -1..1, the range in which generators work."""
    return images.float() / 127.5 - 1.0


def from_signed(images: Tensor) -> Tensor:
    """Float about -1..1 -> bytes 0..255 on the CPU, rounded to the nearest, clipped."""
    return to_uint8((images.float() + 1.0) * 127.5).cpu()


def parameter_count(module: nn.Module) -> int:
    """Number of trainable values in a module."""
    return sum(parameter.numel() for parameter in module.parameters())
