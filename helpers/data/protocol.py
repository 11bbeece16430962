"""Manifest to torch: native-resolution crops that all take the same last steps, whatever their label.

The matched protocol: cut a crop out of the image as it is (never a resize), then encode it as JPEG with a quality and a
chroma subsampling drawn from one distribution that does not know the label. After that, format, size and tables are the
same for real and fake, and a detector that tells them apart has to look at the pixels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.images import (
    SUBSAMPLINGS,
    Image,
    ImageError,
    decode,
    encode_jpeg,
    encode_png,
    random_crop,
    read_bytes,
)
from helpers.data.manifest import LABELS, ManifestError, resolve
from helpers.data.seeds import keyed_generator

__all__ = [
    "Item",
    "ManifestDataset",
    "Protocol",
    "matched_bytes",
    "matched_view",
]


@dataclass(frozen=True)
class Protocol:
    """The last steps that every image takes before a detector sees it.

    Attributes:
        crop: Side of the square crop in pixels.
        qualities: Lowest and highest JPEG quality, both included; all between are equally likely.
        subsamplings: Chroma subsamplings, equally likely.
        reencode: Whether to encode as JPEG at all; without it the crop keeps its pixels (and the history of its file).
    """

    crop: int = 64
    qualities: tuple[int, int] = (80, 96)
    subsamplings: tuple[str, ...] = ("4:2:0", "4:4:4")
    reencode: bool = True

    def __post_init__(self) -> None:
        low, high = self.qualities
        if self.crop < 1 or not 1 <= low <= high <= 100:
            raise ImageError("protocol", f"needs crop >= 1 and qualities within 1..100, got {self.crop}, {low}..{high}")
        if not self.subsamplings or not set(self.subsamplings) <= set(SUBSAMPLINGS):
            raise ImageError("protocol", f"subsamplings must be of {', '.join(SUBSAMPLINGS)}, got {self.subsamplings}")


class Item(TypedDict):
    """One example: image uint8 (3, crop, crop), label int64 (0 real, 1 fake), index of the example in the data set."""

    image: Tensor
    label: Tensor
    index: int


def matched_bytes(img: Image, protocol: Protocol, generator: torch.Generator) -> bytes:
    """Take the last steps as far as the file: crop, then encode with label-blind settings.

    Args:
        img: uint8 (3, H, W), both sides at least `protocol.crop`.
        protocol: The steps.
        generator: Source of randomness. Always four numbers are drawn (place, quality, subsampling), the same ones
            whatever the pixels hold.

    Returns:
        JPEG bytes, or PNG bytes without `protocol.reencode`.

    Raises:
        ImageError: The image is smaller than the crop.
    """
    view = random_crop(img, protocol.crop, generator)
    low, high = protocol.qualities
    quality = int(torch.randint(low, high + 1, (), generator=generator))
    subsampling = protocol.subsamplings[int(torch.randint(len(protocol.subsamplings), (), generator=generator))]
    return encode_jpeg(view, quality, subsampling) if protocol.reencode else encode_png(view)


def matched_view(img: Image, protocol: Protocol, generator: torch.Generator) -> Image:
    """Take the last steps: native crop, then JPEG with settings drawn from the label-blind distribution.

    Args:
        img: uint8 (3, H, W), both sides at least `protocol.crop`.
        protocol: The steps.
        generator: Source of randomness.

    Returns:
        uint8 (3, crop, crop).

    Raises:
        ImageError: The image is smaller than the crop.
    """
    return decode(matched_bytes(img, protocol, generator))


class ManifestDataset(Dataset[Item]):
    """The images of a manifest under the matched protocol.

    An example is a function of seed, epoch, the image's path and the number of the crop alone: the order of rows and of
    access, the number of DataLoader workers and the label play no part. Example `i` is crop `i % crops_per_image` of
    row `i // crops_per_image` of the manifest.

    Args:
        manifest: Table as in `helpers.data.manifest`; rows in the order of the examples.
        root: Folder of its relative paths; None where all paths point into packages.
        protocol: Last steps of every image.
        seed: Seed of crops and encoder settings, not negative.
        crops_per_image: Examples per image and epoch.
        cache: Keep decoded images in memory (per worker); for small data sets with many crops.

    Raises:
        ImageError: On access: a file is missing, damaged, or smaller than the crop; the message names it.
        ManifestError: An argument is out of range, or a path cannot be resolved.
    """

    def __init__(
        self,
        manifest: pd.DataFrame,
        root: str | Path | None,
        protocol: Protocol | None = None,
        seed: int = 0,
        *,
        crops_per_image: int = 1,
        cache: bool = False,
    ) -> None:
        if crops_per_image < 1 or seed < 0:
            raise ManifestError(f"needs crops_per_image >= 1 and seed >= 0, got {crops_per_image} and {seed}")
        self.protocol = Protocol() if protocol is None else protocol
        self.seed, self.crops_per_image, self.cache = seed, crops_per_image, cache
        self.files = [(str(path), resolve(str(path), root)) for path in manifest["path"]]
        self.labels = torch.tensor([LABELS.index(label) for label in manifest["label"]], dtype=torch.int64)
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # persistent workers see it change
        self._decoded: dict[int, Image] = {}

    @property
    def epoch(self) -> int:
        """Pass over the data; set it before each pass to draw other crops and settings."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        if value < 0:
            raise ManifestError(f"epoch must not be negative, got {value}")
        self._epoch.fill_(value)

    def __len__(self) -> int:
        return len(self.files) * self.crops_per_image

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, number = divmod(index, self.crops_per_image)
        generator = keyed_generator(self.seed, self.epoch, self.files[row][0], number)
        try:
            view = matched_view(self._image(row), self.protocol, generator)
        except ImageError as error:
            raise ImageError(self.files[row][0], error.reason) from None
        return {"image": view, "label": self.labels[row], "index": index}

    def _image(self, row: int) -> Image:
        """Decode one image, or take it from the cache."""
        if row in self._decoded:
            return self._decoded[row]
        name, path = self.files[row]
        img = decode(read_bytes(path), name)
        if self.cache:
            self._decoded[row] = img
        return img
