"""Six generators that learned against a critic, one for each common way to enlarge a small picture."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from helpers.data.crops import IMAGE_SIZE
from helpers.generators.base import ImageGenerator, NoiseSource
from helpers.generators.blocks import SelfAttention, Upsample, blur


class LatentGenerator(ImageGenerator):
    """A generator that maps one vector of normal numbers to one image.

    Args:
        latent_size: Length of the vector.
    """

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.latent_size = latent_size

    def draw(self, noise: NoiseSource) -> Tensor:
        """One vector per image, one pass through the network."""
        return self(noise.normal(self.latent_size))  # type: ignore[no-any-return]


class Unflatten(nn.Module):
    """(n, channels * size^2) -> (n, channels, size, size)."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.channels, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        """Lay a vector out as a small picture."""
        return x.reshape(len(x), self.channels, self.size, self.size)


class TransposedGenerator(LatentGenerator):
    """DCGAN: four transposed convolutions with batch normalisation, 4 x 4 to 64 x 64.

    Source: Radford, Metz, Chintala, Unsupervised representation learning with deep convolutional generative
        adversarial networks, ICLR 2016 (arXiv 1511.06434), section 3 and figure 1.
    """

    def __init__(self, latent_size: int = 48, widths: tuple[int, ...] = (96, 80, 56, 32)) -> None:
        super().__init__(latent_size)
        layers: list[nn.Module] = [nn.Linear(latent_size, 16 * widths[0]), Unflatten(widths[0], 4)]
        layers += [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for width, following in itertools.pairwise(widths):
            layers += [Upsample(width, following, "transposed"), nn.BatchNorm2d(following), nn.ReLU()]
        self.layers = nn.Sequential(*layers, Upsample(widths[-1], 3, "transposed"), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_size) -> (n, 3, 64, 64)."""
        return self.layers(z)  # type: ignore[no-any-return]


class ResidualUp(nn.Module):
    """A residual block that doubles the size by repeating pixels before it convolves."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.up = Upsample(in_channels, out_channels, "nearest")
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out, 2h, 2w)."""
        y = self.up(F.relu(self.norm_1(x)))
        y = self.conv(F.relu(self.norm_2(y)))
        return y + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")  # type: ignore[no-any-return]


class NearestGenerator(LatentGenerator):
    """WGAN-GP: residual blocks, each enlarging by nearest neighbour and then convolving.

    Source: Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017 (arXiv 1704.00028), appendix F.
    """

    def __init__(self, latent_size: int = 48, widths: tuple[int, ...] = (64, 56, 48, 24, 12)) -> None:
        super().__init__(latent_size)
        self.first = nn.Sequential(nn.Linear(latent_size, 16 * widths[0]), Unflatten(widths[0], 4))
        self.blocks = nn.Sequential(*(ResidualUp(a, b) for a, b in itertools.pairwise(widths)))
        self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], 3, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_size) -> (n, 3, 64, 64)."""
        return torch.tanh(self.last(self.blocks(self.first(z))))


class BilinearGenerator(LatentGenerator):
    """LSGAN: bilinear enlargement and two convolutions per size.

    The least-squares paper enlarges by transposed convolution; the bilinear enlargement is that of BEGAN-like and
    progressive generators, taken here so that the zoo holds one.

    Source: Mao et al., Least squares generative adversarial networks, ICCV 2017 (arXiv 1611.04076); enlargement as in
        Karras et al., Progressive growing of GANs, ICLR 2018 (arXiv 1710.10196).
    """

    def __init__(self, latent_size: int = 48, widths: tuple[int, ...] = (72, 64, 48, 32, 12)) -> None:
        super().__init__(latent_size)
        layers: list[nn.Module] = [nn.Linear(latent_size, 16 * widths[0]), Unflatten(widths[0], 4)]
        layers += [nn.BatchNorm2d(widths[0]), nn.LeakyReLU(0.2)]
        for width, following in itertools.pairwise(widths):
            layers += [Upsample(width, following, "bilinear"), nn.BatchNorm2d(following), nn.LeakyReLU(0.2)]
            if following > widths[-1]:
                layers += [nn.Conv2d(following, following, 3, padding=1), nn.BatchNorm2d(following), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_size) -> (n, 3, 64, 64)."""
        return self.layers(z)  # type: ignore[no-any-return]


class StyledConvolution(nn.Module):
    """A convolution whose kernel is scaled by a style vector and brought back to unit gain, then a bend.

    Source: Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020 (arXiv 1912.04958),
        equations 1 and 3.
    """

    def __init__(self, in_channels: int, out_channels: int, style_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3) / math.sqrt(9 * in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1))
        self.style = nn.Linear(style_size, in_channels)
        nn.init.normal_(self.style.weight, std=1 / math.sqrt(style_size))
        nn.init.ones_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(n, in, h, w) and (n, style_size) -> (n, out, h, w)."""
        scale = self.style(style)
        energy = (self.weight.square().sum(dim=(2, 3))[None] * scale.square()[:, None]).sum(dim=2)
        y = F.conv2d(x * scale[:, :, None, None], self.weight, padding=1)
        y = y * torch.rsqrt(energy + 1e-6)[:, :, None, None]
        return F.leaky_relu(y + self.bias, 0.2) * math.sqrt(2)


class StyleGenerator(LatentGenerator):
    """Style-modulated convolutions, enlarged by nearest neighbour and a blur; each size adds to the image.

    Departures that make so small a model learn quickly, and keep it from drawing one picture only: the 4 x 4 start
    follows from the style instead of being the same for all images, both are batch-normalised, and no noise is added
    within (StyleGAN3 does without it too, Karras et al. 2021, arXiv 2106.12423).

    Source: Karras et al. 2020 (arXiv 1912.04958), figure 7 (skip generator); blurred upsampling as in Karras et al.,
        A style-based generator architecture, CVPR 2019 (arXiv 1812.04948), and Zhang 2019 (arXiv 1904.11486).
    """

    def __init__(self, latent_size: int = 64, widths: tuple[int, ...] = (64, 64, 48, 32, 16)) -> None:
        super().__init__(latent_size)
        first, second = nn.Linear(latent_size, latent_size), nn.Linear(latent_size, latent_size)
        for layer in (first, second):
            nn.init.kaiming_normal_(layer.weight, 0.2)
        varied = nn.BatchNorm1d(latent_size, affine=False)
        self.mapping = nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), varied)
        start = nn.Linear(latent_size, 16 * widths[0])
        self.start = nn.Sequential(start, Unflatten(widths[0], 4), nn.BatchNorm2d(widths[0]), nn.LeakyReLU(0.2))
        pairs = zip((widths[0], *widths[:-1]), widths, strict=True)
        self.convolutions = nn.ModuleList(StyledConvolution(a, b, latent_size) for a, b in pairs)
        self.to_rgb = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths)

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_size) -> (n, 3, 64, 64)."""
        style = self.mapping(F.normalize(z, dim=1) * math.sqrt(self.latent_size))
        x = self.start(style)
        image = torch.zeros(len(z), 3, 2, 2, device=z.device)
        for level, (convolution, to_rgb) in enumerate(zip(self.convolutions, self.to_rgb, strict=True)):
            if level > 0:
                x = blur(F.interpolate(x, scale_factor=2, mode="nearest"))
            x = convolution(x, style)
            image = blur(F.interpolate(image, scale_factor=2, mode="nearest")) + to_rgb(x)
        return image


class ShuffleGenerator(LatentGenerator):
    """Sub-pixel shuffle at every enlargement, and one layer of self-attention at 16 x 16.

    Source: Zhang et al., Self-attention generative adversarial networks, ICML 2019 (arXiv 1805.08318); sub-pixel
        shuffle of Shi et al., CVPR 2016 (arXiv 1609.05158) in place of its nearest-neighbour enlargement.
    """

    def __init__(self, latent_size: int = 48, widths: tuple[int, ...] = (64, 40, 32, 24, 12)) -> None:
        super().__init__(latent_size)
        layers: list[nn.Module] = [nn.Linear(latent_size, 16 * widths[0]), Unflatten(widths[0], 4)]
        layers += [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for level, (width, following) in enumerate(itertools.pairwise(widths)):
            layers += [Upsample(width, following, "shuffle"), nn.BatchNorm2d(following), nn.ReLU()]
            if level == 1:
                layers.append(SelfAttention(following))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(n, latent_size) -> (n, 3, 64, 64)."""
        return self.layers(z)  # type: ignore[no-any-return]


def sketch(images: Tensor) -> Tensor:
    """What the image-to-image generator starts from: a 1-bit edge drawing and 4 x 4 blobs of colour.

    Args:
        images: (n, 3, 64, 64), -1..1.

    Returns:
        (n, 4, 64, 64): edges 0 or 1, then the colours of a 4 x 4 grid, -1..1 in 16 levels, enlarged bilinearly.
    """
    with torch.autocast(images.device.type, enabled=False):  # the same sketch, whatever precision training uses
        return compose_sketch(edge_drawing(images), colour_grid(images))


def edge_drawing(images: Tensor) -> Tensor:
    """The tenth of the pixels where the smoothed brightness changes most: bool, (n, 1, 64, 64)."""
    smooth = blur(blur(images.mean(dim=1, keepdim=True)))
    down, right = smooth.diff(dim=2, append=smooth[:, :, -1:]), smooth.diff(dim=3, append=smooth[..., -1:])
    change = down.square() + right.square()
    limit = change.flatten(1).quantile(0.9, dim=1).clamp(min=1e-3)
    return change > limit[:, None, None, None]


def colour_grid(images: Tensor) -> Tensor:
    """Mean colours on a 4 x 4 grid, rounded to 16 levels: uint8 0..15, (n, 3, 4, 4)."""
    return ((F.avg_pool2d(images, IMAGE_SIZE // 4) + 1) * 7.5).round().clamp(0, 15).to(torch.uint8)


def compose_sketch(edges: Tensor, colours: Tensor) -> Tensor:
    """Edge drawing and colour grid -> the four input channels of the image-to-image generator."""
    blobs = F.interpolate(colours.float() / 7.5 - 1, size=IMAGE_SIZE, mode="bilinear", align_corners=False)
    return torch.cat([edges.float(), blobs], dim=1)


class TranslationGenerator(ImageGenerator):
    """pix2pix: a U-Net that turns a sketch (edges and a few colours) into a photograph.

    New images start from a bank of sketches of training crops that travels with the weights: an image-to-image model
    has no pictures of its own. Noise comes in as an extra channel instead of by dropout.

    Args:
        widths: Channels at 64, 32, 16, 8 pixels.
        bank_size: Number of sketches that travel along.

    Source: Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017
        (arXiv 1611.07004), section 3.2.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64), bank_size: int = 256) -> None:
        super().__init__()
        self.register_buffer("bank_edges", torch.zeros(bank_size, 1, IMAGE_SIZE, IMAGE_SIZE // 8, dtype=torch.uint8))
        self.register_buffer("bank_colours", torch.zeros(bank_size, 3, 4, 4, dtype=torch.uint8))
        self.bank_edges: Tensor
        self.bank_colours: Tensor
        self.stem = nn.Conv2d(5, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_step(nn.Conv2d(a, b, 4, stride=2, padding=1), b) for a, b in pairs)
        self.up = nn.ModuleList(
            _step(nn.ConvTranspose2d(b if b == widths[-1] else 2 * b, a, 4, stride=2, padding=1), a) for a, b in pairs
        )
        self.last = nn.Conv2d(2 * widths[0], 3, 3, padding=1)

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        """(n, 4, 64, 64) sketch and (n, 1, 64, 64) noise -> (n, 3, 64, 64)."""
        x = F.leaky_relu(self.stem(torch.cat([condition, noise], dim=1)), 0.2)
        skips = []
        for step in self.down:
            skips.append(x)
            x = step(x)
        for step in reversed(self.up):
            x = torch.cat([step(x), skips.pop()], dim=1)
        return torch.tanh(self.last(x))

    def fill_bank(self, images: Tensor) -> None:
        """Keep the sketches of training crops, one bit per edge pixel: float -1..1, (bank_size, 3, 64, 64)."""
        bits = edge_drawing(images).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE // 8, 8).to(torch.uint8)
        self.bank_edges.copy_((bits << torch.arange(8, dtype=torch.uint8)).sum(dim=4))
        self.bank_colours.copy_(colour_grid(images))

    def draw(self, noise: NoiseSource) -> Tensor:
        """A sketch from the bank for each image, then one pass."""
        chosen = noise.integers(len(self.bank_edges))
        places = torch.arange(8, dtype=torch.uint8, device=chosen.device)
        edges = (self.bank_edges[chosen][..., None] >> places & 1).flatten(3)
        return self.colour_in(compose_sketch(edges, self.bank_colours[chosen]), noise)

    def redraw(self, images: Tensor, noise: NoiseSource) -> Tensor:
        """Reduce the image to its sketch, and colour that in again."""
        return self.colour_in(sketch(images), noise)

    def colour_in(self, condition: Tensor, noise: NoiseSource) -> Tensor:
        """Sketch -> image, with one noise map per image."""
        return self(condition, noise.normal(1, IMAGE_SIZE, IMAGE_SIZE))  # type: ignore[no-any-return]


def _step(convolution: nn.Module, width: int) -> nn.Sequential:
    """A convolution that halves or doubles the size, instance normalisation, leaky rectifier."""
    return nn.Sequential(convolution, nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(0.2))


class Critic(nn.Module):
    """Strided convolutions from pixels to one score per image (or per patch).

    Args:
        channels: Channels of its input: 3, or more where it also sees a condition.
        widths: Channels after each halving.
        norm: "none", "batch" or "spectral" (the largest singular value of each layer is brought to 1).
        patches: Score every place of the last map instead of the whole image.

    Source: Radford et al. 2016 (arXiv 1511.06434); Miyato et al., Spectral normalization, ICLR 2018 (arXiv
        1802.05957); PatchGAN of Isola et al. 2017 (arXiv 1611.07004); minibatch deviation of Karras et al. 2018
        (arXiv 1710.10196), section 3.
    """

    def __init__(
        self, channels: int = 3, widths: tuple[int, ...] = (32, 64, 96, 128), norm: str = "none", patches: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (width, following) in enumerate(zip((channels, *widths[:-1]), widths, strict=True)):
            convolution: nn.Module = nn.Conv2d(width, following, 4, stride=2, padding=1)
            layers.append(spectral_norm(convolution) if norm == "spectral" else convolution)
            if norm == "batch" and index > 0:
                layers.append(nn.BatchNorm2d(following))
            layers.append(nn.LeakyReLU(0.2))
        self.features = nn.Sequential(*layers)
        side = IMAGE_SIZE // 2 ** len(widths)
        self.patches = patches
        self.score: nn.Module = nn.Conv2d(widths[-1], 1, 3, padding=1)
        if not patches:
            self.score = nn.Linear((widths[-1] + 1) * side * side, 1)
        if norm == "spectral":
            self.score = spectral_norm(self.score)

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, 64, 64) -> (n,) scores, higher is more like a photograph; (n, h * w) for patches."""
        x = self.features(images)
        if self.patches:
            return self.score(x).flatten(1)  # type: ignore[no-any-return]
        deviation = (x.var(dim=0, correction=0) + 1e-6).sqrt().mean().expand(len(x), 1, *x.shape[2:])
        return self.score(torch.cat([x, deviation], dim=1).flatten(1)).squeeze(1)  # type: ignore[no-any-return]
