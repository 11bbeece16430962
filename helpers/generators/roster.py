"""The twelve generators of the zoo by name: what each is and what it follows. Importing this module costs nothing."""

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ROSTER", "Member"]


@dataclass(frozen=True)
class Member:
    """One member of the zoo, as a listing shows it.

    Attributes:
        name: Short name, also that of its files.
        title: Name for people.
        family: "gan" or "diffusion".
        enlarges: How it gets from a small picture to a large one.
        paper: What it follows.
    """

    name: str
    title: str
    family: str
    enlarges: str
    paper: str


_MEMBERS = (
    Member(
        "dcgan",
        "DCGAN",
        "gan",
        "transposed convolution",
        "Radford, Metz, Chintala 2016, arXiv 1511.06434",
    ),
    Member(
        "wgan_gp",
        "WGAN-GP",
        "gan",
        "nearest neighbour, convolution",
        "Gulrajani et al. 2017, arXiv 1704.00028",
    ),
    Member(
        "lsgan",
        "LSGAN",
        "gan",
        "bilinear, convolution",
        "Mao et al. 2017, arXiv 1611.04076",
    ),
    Member(
        "style",
        "Style-modulated GAN",
        "gan",
        "nearest neighbour and blur, modulated convolution",
        "Karras et al. 2020, arXiv 1912.04958",
    ),
    Member(
        "shuffle",
        "Sub-pixel GAN with self-attention",
        "gan",
        "sub-pixel shuffle",
        "Zhang et al. 2019, arXiv 1805.08318; Shi et al. 2016, arXiv 1609.05158",
    ),
    Member(
        "translation",
        "Image-to-image GAN",
        "gan",
        "transposed convolution with skips, from a sketch",
        "Isola et al. 2017, arXiv 1611.07004",
    ),
    Member(
        "ddpm",
        "DDPM",
        "diffusion",
        "U-Net, nearest neighbour, convolution",
        "Ho, Jain, Abbeel 2020, arXiv 2006.11239",
    ),
    Member(
        "cosine",
        "Cosine schedule, velocity prediction",
        "diffusion",
        "U-Net, sub-pixel shuffle",
        "Nichol, Dhariwal 2021, arXiv 2102.09672; Salimans, Ho 2022, arXiv 2202.00512",
    ),
    Member(
        "edm",
        "EDM",
        "diffusion",
        "U-Net, nearest neighbour and blur, convolution",
        "Karras et al. 2022, arXiv 2206.00364",
    ),
    Member(
        "flow",
        "Rectified flow",
        "diffusion",
        "U-Net, transposed convolution",
        "Liu, Gong, Liu 2023, arXiv 2209.03003",
    ),
    Member(
        "dit",
        "Diffusion transformer",
        "diffusion",
        "patches of 8 x 8 pixels, linear",
        "Peebles, Xie 2023, arXiv 2212.09748",
    ),
    Member(
        "latent",
        "Latent diffusion",
        "diffusion",
        "decoder, nearest neighbour, convolution",
        "Rombach et al. 2022, arXiv 2112.10752",
    ),
)

ROSTER = MappingProxyType({member.name: member for member in _MEMBERS})
