"""Building blocks that several generators share: upsampling, residual blocks, attention, the small U-Net."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLERS = ("nearest", "bilinear", "blurred", "shuffle", "transposed")


def blur(x: Tensor) -> Tensor:
    """Low-pass each channel by the binomial kernel [1, 2, 1] / 4 in both directions, mirrored edges kept constant."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device) / 4
    kernel = torch.outer(kernel, kernel).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


class Upsample(nn.Module):
    """Double height and width, and change the number of channels by one learned 3 x 3 (or 4 x 4) kernel.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kind: "nearest" or "bilinear" (enlarge, then convolve), "blurred" (nearest, [1 2 1] blur, then convolve),
            "shuffle" (convolve to four times the channels, then lay them out as 2 x 2 pixels), or "transposed"
            (insert zeros, then convolve: the transposed convolution).

    Source: Odena, Dumoulin, Olah, Deconvolution and checkerboard artifacts, Distill 2016, doi 10.23915/distill.00003;
        Shi et al., Real-time single image super-resolution ..., CVPR 2016 (arXiv 1609.05158).
    """

    def __init__(self, in_channels: int, out_channels: int, kind: str) -> None:
        super().__init__()
        if kind not in UPSAMPLERS:
            raise ValueError(f"unknown upsampler {kind!r}, expected one of {', '.join(UPSAMPLERS)}")
        self.kind = kind
        self.convolution: nn.Module
        if kind == "transposed":
            self.convolution = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)
        else:
            width = 4 * out_channels if kind == "shuffle" else out_channels
            self.convolution = nn.Conv2d(in_channels, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, 2h, 2w)."""
        if self.kind == "transposed":
            return self.convolution(x)  # type: ignore[no-any-return]
        if self.kind == "shuffle":
            return F.pixel_shuffle(self.convolution(x), 2)
        return self.convolution(enlarge(x, self.kind))  # type: ignore[no-any-return]


def enlarge(x: Tensor, kind: str) -> Tensor:
    """Double height and width without any learned weight: "nearest", "bilinear" or "blurred"."""
    if kind == "bilinear":
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    larger = F.interpolate(x, scale_factor=2, mode="nearest")
    return blur(larger) if kind == "blurred" else larger


def sinusoidal_embedding(time: Tensor, size: int) -> Tensor:
    """Sines and cosines of a number at frequencies from 1 to 1/10,000: (n,) -> (n, size).

    Source: Vaswani et al., Attention is all you need, 2017 (arXiv 1706.03762), section 3.5.
    """
    frequencies = torch.exp(-math.log(10_000) * torch.arange(size // 2, device=time.device) / (size // 2))
    angles = 1000.0 * time.float()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """Diffusion time (any real number, mostly 0..1) -> a vector that the blocks take as a condition."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.network = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

    def forward(self, time: Tensor) -> Tensor:
        """(n,) -> (n, size)."""
        return self.network(sinusoidal_embedding(time, self.size))  # type: ignore[no-any-return]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with eight channels to a group."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class ResidualBlock(nn.Module):
    """x + convolve(convolve(x)), with group normalisation, and the condition as scale and shift.

    Source: He et al. 2016 (arXiv 1512.03385); the conditioning of Dhariwal and Nichol 2021 (arXiv 2105.05233).
    """

    def __init__(self, in_channels: int, out_channels: int, condition_size: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = group_norm(in_channels), group_norm(out_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.condition = nn.Linear(condition_size, 2 * out_channels)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, in, h, w) and (n, condition_size) -> (n, out, h, w)."""
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_1(F.silu(self.norm_1(x)))
        y = self.conv_2(F.silu(self.norm_2(y) * (1 + scale) + shift))
        return self.shortcut(x) + y  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Every position looks at every other one; the result is added to the input.

    Source: Zhang et al., Self-attention generative adversarial networks, ICML 2019 (arXiv 1805.08318).
    """

    def __init__(self, channels: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        n, c, h, w = x.shape
        mixed = self.query_key_value(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w)
        query, key, value = mixed.transpose(-1, -2).unbind(1)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(seen.transpose(-1, -2).reshape(n, c, h, w))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """A small U-Net: every level has residual blocks, the deepest one attention, and skips join the two ways.

    Args:
        channels: Channels in and out.
        widths: Channels at full size, at half, at a quarter, ...
        blocks: Residual blocks per size on the way down, and as many on the way up.
        upsample: One of `UPSAMPLERS`.
        condition_size: Length of the time vector.

    Source: Ronneberger et al. 2015 (arXiv 1505.04597); Ho et al. 2020 (arXiv 2006.11239), appendix B.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (40, 48),
        blocks: Sequence[int] = (1, 1),
        upsample: str = "nearest",
        condition_size: int = 64,
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(condition_size)
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for width, deeper in itertools.pairwise(widths):
            self.down.append(nn.Conv2d(width, deeper, 3, stride=2, padding=1))
            self.up.append(Upsample(deeper, width, upsample))
            self.merge.append(nn.Conv2d(2 * width, width, 1))
        for width, count in zip(widths, blocks, strict=True):
            self.down_blocks.append(_stack(width, count, condition_size))
            self.up_blocks.append(_stack(width, count, condition_size))
        self.middle_attention = SelfAttention(widths[-1])
        self.middle = ResidualBlock(widths[-1], widths[-1], condition_size)
        last = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.head = nn.Sequential(group_norm(widths[0]), nn.SiLU(), last)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(n, c, h, w) and (n,) -> (n, c, h, w)."""
        return self.head(self.body(self.stem(x), time))  # type: ignore[no-any-return]

    def body(self, x: Tensor, time: Tensor) -> Tensor:
        """All but the first and the last convolution: (n, w0, h, w) and (n,) -> (n, w0, h, w)."""
        condition, skips = self.time(time), []
        for level in range(len(self.down)):
            x = _run(self.down_blocks[level], x, condition)
            skips.append(x)
            x = self.down[level](x)
        x = _run(self.down_blocks[-1], x, condition)
        x = self.middle(self.middle_attention(x), condition)
        x = _run(self.up_blocks[-1], x, condition)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([self.up[level](x), skips[level]], dim=1))
            x = _run(self.up_blocks[level], x, condition)
        return x


class PixelUNet(UNet):
    """A U-Net for 64 x 64 pixels that does most of its work at 16 x 16 and 8 x 8, where a small computer can afford it.

    Patches of 4 x 4 pixels become vectors. Two upsamplers bring the result back to pixels, where it scales and shifts
    what a convolution sees in the noisy image: what is grain and what is detail depends on the place. A share of the
    noisy image, which follows from the time alone, is added to the answer.

    Args:
        widths: Channels at 16 x 16 and at 8 x 8.
        blocks: Residual blocks at each, down and up.
        upsample: One of `UPSAMPLERS`, for all three enlargements.
        fine_widths: Channels at 32 x 32 and at 64 x 64.

    Source: Hoogeboom, Heek, Salimans, Simple diffusion, ICML 2023 (arXiv 2301.11093), section 3.2, for the idea of
        working at low resolution.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 80),
        blocks: Sequence[int] = (1, 0),
        upsample: str = "nearest",
        fine_widths: tuple[int, int] = (24, 12),
    ) -> None:
        super().__init__(3, widths, blocks, upsample)
        coarse, fine = fine_widths
        self.stem = nn.Conv2d(3, widths[0], 4, stride=4)
        self.enlarge_1 = nn.Sequential(group_norm(widths[0]), nn.SiLU(), Upsample(widths[0], coarse, upsample))
        self.enlarge_2 = nn.Sequential(nn.SiLU(), Upsample(coarse, 2 * fine, upsample))
        self.local = nn.Conv2d(3, fine, 3, padding=1)
        self.gain = nn.Linear(self.time.size, fine)
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(fine, 3, 3, padding=1))
        self.share = nn.Linear(self.time.size, 3)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(n, 3, 64, 64) and (n,) -> (n, 3, 64, 64)."""
        condition = self.time(time)
        scale, shift = self.enlarge_2(self.enlarge_1(self.body(self.stem(x), time))).chunk(2, dim=1)
        local = self.local(x) * (1 + self.gain(condition)[:, :, None, None])
        answer = self.head(local * (1 + scale) + shift)
        return answer + self.share(condition)[:, :, None, None] * x  # type: ignore[no-any-return]


def _run(blocks: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    """Residual blocks one after the other."""
    for block in blocks.children():
        x = block(x, condition)
    return x


def _stack(width: int, count: int, condition_size: int) -> nn.ModuleList:
    """Residual blocks of one width."""
    return nn.ModuleList(ResidualBlock(width, width, condition_size) for _ in range(count))
