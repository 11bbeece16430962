"""The crops that the zoo learns from, and is compared with: one distribution for both.

A native 64 px crop of a photograph is mostly texture; a small picture of a face is recognisable. So a crop is taken
from the photograph made four (sometimes two) times smaller by averaging whole pixels, and half of the crops are
mirrored. All scenes have the same weight; two views of one scene share theirs.
Instrument pictures (retina, tissue, telescope) are left out: the zoo shows everyday scenes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.catalog import photographs
from helpers.data.images import read_image, to_uint8
from helpers.data.manifest import resolve

SCALES = {2: 0.25, 4: 0.75}
"""How many times smaller the photograph is made before it is cropped, and how often that happens."""


@dataclass(frozen=True)
class Photograph:
    """A photograph at the sizes that crops are taken from.

    Attributes:
        name: Name of the picture in the catalog.
        source: Scene that it shows; pictures of one scene share it.
        sizes: Scale -> uint8 (3, H, W).
    """

    name: str
    source: str
    sizes: dict[int, Tensor]


@dataclass(frozen=True)
class Crop:
    """A crop and where it comes from.

    Attributes:
        image: uint8, (3, 64, 64).
        name: Name of the photograph.
        source: Its scene.
        scale: 2 or 4.
        top: First row, in pixels of the reduced photograph.
        left: First column, likewise.
        mirrored: Whether left and right were swapped.
    """

    image: Tensor
    name: str
    source: str
    scale: int
    top: int
    left: int
    mirrored: bool


def area_downscale(img: Tensor, factor: int) -> Tensor:
    """Make an image smaller by averaging blocks of whole pixels.

    Args:
        img: uint8, (3, H, W).
        factor: Side of a block, at least 1. Rows and columns that do not fill a block are cut off.

    Returns:
        uint8, (3, H // factor, W // factor), rounded to the nearest.
    """
    height, width = img.shape[1] // factor, img.shape[2] // factor
    blocks = img[:, : height * factor, : width * factor].reshape(3, height, factor, width, factor)
    return to_uint8(blocks.float().mean(dim=(2, 4)))


def zoo_photographs(split: str) -> list[Photograph]:
    """Read the embedded everyday colour photographs of one split.

    Args:
        split: "train" is what the zoo learns from; "val" and "test" are never shown to it.

    Returns:
        Photographs in the catalog's order.
    """
    df = photographs()
    rows = df[(df["split"] == split) & (df["scene"] == "everyday")]
    scaled = []
    for name, source, path in zip(rows["name"], rows["source"], rows["path"], strict=True):
        img = read_image(resolve(path, None))
        scaled.append(Photograph(name, source, {scale: area_downscale(img, scale) for scale in SCALES}))
    return scaled


def draw_crop(pictures: list[Photograph], rng: np.random.Generator) -> Crop:
    """Draw one crop: scene, photograph of it, scale, place, mirrored or not.

    Args:
        pictures: At least one photograph.
        rng: Source of randomness.

    Returns:
        The crop.
    """
    scenes = sorted({picture.source for picture in pictures})
    scene = scenes[rng.integers(len(scenes))]
    of_scene = [picture for picture in pictures if picture.source == scene]
    picture = of_scene[rng.integers(len(of_scene))]
    scale = int(rng.choice(list(SCALES), p=list(SCALES.values())))
    img = picture.sizes[scale]
    top = int(rng.integers(img.shape[1] - IMAGE_SIZE + 1))
    left = int(rng.integers(img.shape[2] - IMAGE_SIZE + 1))
    mirrored = bool(rng.integers(2))
    image = img[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
    image = image.flip(2) if mirrored else image.clone()
    return Crop(image, picture.name, picture.source, scale, top, left, mirrored)


def draw_crops(pictures: list[Photograph], n: int, seed: int) -> list[Crop]:
    """Draw `n` crops; crop number i depends on (seed, i) only.

    Args:
        pictures: At least one photograph.
        n: How many.
        seed: Seed.

    Returns:
        The crops.
    """
    return [draw_crop(pictures, np.random.default_rng((seed, index))) for index in range(n)]


def stack(crops: list[Crop]) -> Tensor:
    """The pixels of some crops: uint8, (n, 3, 64, 64)."""
    return torch.stack([crop.image for crop in crops])


class CropDataset(Dataset[Tensor]):
    """An endless supply of crops, numbered: item i is the same crop in every run.

    Args:
        pictures: Photographs to crop.
        length: How many items it claims to have.
        seed: Seed of all of them.
    """

    def __init__(self, pictures: list[Photograph], length: int = 1_000_000, seed: int = 0) -> None:
        self.pictures, self.length, self.seed = pictures, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """uint8, (3, 64, 64)."""
        return draw_crop(self.pictures, np.random.default_rng((self.seed, index))).image


IMAGE_SIZE = 64
