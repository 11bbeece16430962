"""What the detectors learn from: labelled crops in balance, and for stage 1 several views of each photograph.

Every example is a function of (seed, epoch, index) alone, as `helpers.training` asks for. Classes alternate; within a
class every group (a photo source, or a generator with its source) is equally likely, however many images it has. Crops
are native pixels; neither development nor the encoding at the end knows the label.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.image_set import ImageSet, TrainingDataError
from helpers.data.images import Image, random_crop
from helpers.data.manifest import LABELS
from helpers.data.protocol import Protocol
from helpers.data.seeds import item_generator, shuffled
from helpers.pixels.develop import develop
from helpers.pixels.views import BREAKERS, break_traces, encode_blind, keep_traces

__all__ = [
    "Augmentation",
    "BalancedCrops",
    "Described",
    "PhotographViews",
]


@dataclass(frozen=True)
class Augmentation:
    """How a training crop is cut, developed and encoded, whatever its label.

    Attributes:
        size: Side of a crop in pixels.
        jpeg: Chance that it is encoded once more, 0..1.
        qualities: Lowest and highest JPEG quality of that encoding.
        camera: Chance that it is developed once more, 0..1, see `helpers.pixels.develop`; 0 draws
            no number.
    """

    size: int = 96
    jpeg: float = 0.5
    qualities: tuple[int, int] = (65, 96)
    camera: float = 0.0

    def view(self, img: Image, generator: torch.Generator) -> Image:
        """Cut a crop, mirror and turn it, and develop it: any picture -> uint8 (3, size, size)."""
        crop = keep_traces(random_crop(img, self.size, generator), generator)
        if self.camera and float(torch.rand((), generator=generator)) < self.camera:
            return develop(crop, generator)
        return crop

    def finish(self, img: Image, generator: torch.Generator) -> Image:
        """Take the last, label-blind step."""
        protocol = Protocol(crop=self.size, qualities=self.qualities, subsamplings=("4:2:0", "4:4:4"))
        return encode_blind(img, protocol, self.jpeg, generator)


def _drawn(groups: list[np.ndarray], generator: torch.Generator) -> int:
    """Draw a group, then a row of it."""
    rows = groups[int(torch.randint(len(groups), (), generator=generator))]
    return int(rows[int(torch.randint(len(rows), (), generator=generator))])


def _group_column(images: ImageSet) -> str:
    """Balance over sources where these are collections; where each image is a source, over generators alone."""
    return "source" if images.manifest["source"].nunique() <= max(2, len(images) // 20) else "label"


class _Blocks:
    """Rows to draw from, block by block where images lie in shards, so that each shard is read once an epoch.

    Args:
        images: The set.
        groups: Groups of rows, for each label.
        seed: Of the order of blocks.
        length: Examples in an epoch.
    """

    def __init__(self, images: ImageSet, groups: list[list[np.ndarray]], seed: int, length: int) -> None:
        self.seed, self.blocks, self.groups = seed, images.blocks(), groups
        self.several = len(self.blocks) > 1
        self.length = max(length, len(images)) if self.several else length
        if self.several:
            self.inside = [[_within(label, block) or label for label in groups] for block in self.blocks]

    def at(self, epoch: int, index: int) -> list[list[np.ndarray]]:
        """Groups for one example, for each label; all of them where a block holds no image of a label."""
        if not self.several:
            return self.groups
        order = shuffled(len(self.blocks), self.seed, "blocks", epoch)
        return self.inside[order[index * len(self.blocks) // self.length]]


def _within(groups: list[np.ndarray], block: np.ndarray) -> list[np.ndarray]:
    parts = (np.intersect1d(rows, block, assume_unique=True) for rows in groups)
    return [part for part in parts if len(part)]


class BalancedCrops(Dataset[dict[str, Any]]):
    """Crops of real and fake images in turn, with their label.

    Images that lie in shards are drawn from one shard after the other, in an order that follows from seed and epoch.

    Args:
        images: Both labels must occur.
        augmentation: How crops are cut and encoded.
        seed: Seed of all choices.
        length: Examples in an epoch; the choice is fresh in each.

    Raises:
        TrainingDataError: A label is missing.
    """

    def __init__(self, images: ImageSet, augmentation: Augmentation, seed: int = 0, length: int = 4096) -> None:
        self.images, self.augmentation, self.seed = images, augmentation, seed
        column = _group_column(images)
        self.groups = [images.groups(label, column) for label in LABELS]
        if not all(self.groups):
            raise TrainingDataError("both real and fake images are needed")
        self.blocks = _Blocks(images, self.groups, seed, length)
        self.length, self.in_order, self.epoch = self.blocks.length, self.blocks.several, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = item_generator(self.seed, self.epoch, index)
        label = index % 2
        row = _drawn(self.blocks.at(self.epoch, index)[label], generator)
        view = self.augmentation.view(self.images.image(row), generator)
        return {"image": self.augmentation.finish(view, generator), "label": label, "row": row}


class PhotographViews(Dataset[dict[str, Tensor]]):
    """For stage 1: two kept views of one photograph and two broken ones, all with the same kind of last step.

    Args:
        images: Only its real rows are used: no fake is ever seen here.
        augmentation: How crops are cut and encoded.
        seed: Seed of all choices.
        length: Examples in an epoch.
        kinds: Ways to break traces, of `helpers.pixels.views.BREAKERS`.

    Raises:
        TrainingDataError: There are fewer than two photographs.
    """

    def __init__(
        self,
        images: ImageSet,
        augmentation: Augmentation,
        seed: int = 0,
        length: int = 4096,
        kinds: tuple[str, ...] = tuple(BREAKERS),
    ) -> None:
        self.images, self.augmentation, self.seed, self.kinds = images, augmentation, seed, kinds
        self.groups = images.groups(LABELS[0], _group_column(images))
        if sum(len(rows) for rows in self.groups) < 2:
            raise TrainingDataError("at least two photographs are needed")
        self.blocks = _Blocks(images, [self.groups], seed, length)
        self.length, self.in_order, self.epoch = self.blocks.length, self.blocks.several, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = item_generator(self.seed, self.epoch, index)
        (groups,) = self.blocks.at(self.epoch, index)
        row = _drawn(groups, generator)
        kept = [self.augmentation.view(self.images.image(row), generator) for _ in range(2)]
        # The content of a broken view is that of a kept one, so that content cannot tell them apart.
        broken = [break_traces(view, generator, self.kinds) for view in kept]
        first, second, third, fourth = (self.augmentation.finish(view, generator) for view in (*kept, *broken))
        return {"first": first, "second": second, "broken": torch.stack([third, fourth]), "row": torch.tensor(row)}


class Described(Dataset[dict[str, Tensor]]):
    """A pool of examples whose images have been turned into vectors once, so that an epoch costs no image work.

    Args:
        dataset: Examples are dictionaries; every entry that is an image, uint8 (..., 3, H, W), is described.
        describe: Images uint8 (n, 3, H, W) -> float (n, d).
        count: Examples to take.
    """

    def __init__(self, dataset: Dataset[Any], describe: Callable[[Tensor], Tensor], count: int) -> None:
        rows = [_described(dataset[index], describe) for index in range(count)]
        self.columns: dict[str, Tensor] = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {key: values[index] for key, values in self.columns.items()}


def _described(example: dict[str, Any], describe: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Turn the images of one example into vectors; numbers become tensors."""
    described = {}
    for key, value in example.items():
        tensor = torch.as_tensor(value)
        if tensor.ndim >= 3:
            tensor = describe(tensor.reshape(-1, *tensor.shape[-3:])).reshape(*tensor.shape[:-3], -1)
        described[key] = tensor
    return described
