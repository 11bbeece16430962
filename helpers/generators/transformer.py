"""A diffusion transformer: the image is cut into patches, and the patches look at each other."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.data.crops import IMAGE_SIZE
from helpers.generators.blocks import TimeEmbedding, sinusoidal_embedding


class TransformerBlock(nn.Module):
    """Attention and a two-layer network, each scaled, shifted and gated by the time vector.

    Within the two-layer network each patch also sees its eight neighbours (a depthwise convolution, as in SANA, Xie et
    al. 2024, arXiv 2410.10629, section 2.2): so small a model learns from few images that neighbours belong together.

    The map from the time vector to the six modulation vectors is shared by all blocks, which each add their own table,
    as in PixArt-alpha (Chen et al. 2023, arXiv 2310.00426, section 2.3): two thirds of the weights are saved.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_2 = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wider, self.narrower = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.neighbours = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width)
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(n, tokens, width) and (n, 6, width) -> (n, tokens, width)."""
        terms = (modulation + self.table)[:, :, None].unbind(1)
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = terms
        x = x + gate_1 * self.attend(self.norm_1(x) * (1 + scale_1) + shift_1)
        y = self.wider(self.norm_2(x) * (1 + scale_2) + shift_2).transpose(1, 2)
        side = math.isqrt(y.shape[2])
        y = y + self.neighbours(y.unflatten(2, (side, side))).flatten(2)
        return x + gate_2 * self.narrower(F.gelu(y.transpose(1, 2), approximate="tanh"))  # type: ignore[no-any-return]

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head self-attention: (n, tokens, width) -> (n, tokens, width)."""
        n, tokens, width = x.shape
        mixed = self.query_key_value(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        return self.out(seen.transpose(1, 2).reshape(n, tokens, width))  # type: ignore[no-any-return]


class DiffusionTransformer(nn.Module):
    """Patches in, patches out; sines and cosines of row and column tell a patch where it is.

    A patch of 8 x 8 pixels has 192 numbers and its vector has 80, so the vector can carry neither noise nor finest
    grain through. Hence a patch also says, for each of its four quarters, how to scale and shift what a convolution
    sees in the noisy image there; and a share of the noisy image, which follows from the time alone, is added.

    Args:
        patch: Side of a patch in pixels.
        width: Length of a patch's vector.
        depth: Number of blocks.
        heads: Attention heads per block.

    Source: Peebles and Xie, Scalable diffusion models with transformers, ICCV 2023 (arXiv 2212.09748), section 3.2.
    """

    def __init__(self, patch: int = 8, width: int = 80, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.grid = IMAGE_SIZE // patch
        self.embed = nn.Linear(3 * patch * patch, width)
        places = torch.arange(self.grid, dtype=torch.float32) / 1000
        axis = sinusoidal_embedding(places, width // 2)
        rows, columns = axis.repeat_interleave(self.grid, dim=0), axis.repeat(self.grid, 1)
        self.register_buffer("position", torch.cat([rows, columns], dim=1)[None], persistent=False)
        self.position: Tensor
        self.time = TimeEmbedding(width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 3 * patch * patch)
        self.local = nn.Conv2d(3, 12, 3, padding=1)
        self.gain = nn.Linear(width, 12)
        self.gates = nn.Linear(width, 4 * 24)
        self.head = nn.Conv2d(12 + 3, 3, 3, padding=1)
        self.share = nn.Linear(width, 3)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(n, 3, 64, 64) and (n,) -> (n, 3, 64, 64)."""
        tokens = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        tokens = self.embed(tokens) + self.position
        condition = self.time(time)
        modulation = self.modulation(condition).unflatten(1, (6, -1))
        for block in self.blocks:
            tokens = block(tokens, modulation)
        tokens = self.norm(tokens).transpose(1, 2).unflatten(2, (self.grid, self.grid)).movedim(1, 3)
        pixels = F.pixel_shuffle(self.out(tokens).movedim(3, 1), self.patch)
        gates = F.pixel_shuffle(self.gates(tokens).movedim(3, 1), 2)
        scale, shift = F.interpolate(gates, size=x.shape[-1], mode="bilinear").chunk(2, dim=1)
        local = self.local(x) * (1 + self.gain(condition)[:, :, None, None])
        answer = self.head(torch.cat([pixels, F.silu(local * (1 + scale) + shift)], dim=1))
        return answer + self.share(condition)[:, :, None, None] * x  # type: ignore[no-any-return]
