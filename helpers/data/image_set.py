"""The rows of a manifest with their pixels."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.images import Image, read_bytes, read_image
from helpers.data.manifest import LABELS, resolve
from helpers.data.parquet import SUFFIX
from helpers.errors import NaturalTracesError

__all__ = ["KEPT_BYTES", "ImageSet", "Pictures", "PixelCache", "TrainingDataError"]

KEPT_BYTES = 2**31
"""Decoded images that a set keeps at most: two gibibytes, some thousand pictures of half a megapixel."""


class TrainingDataError(NaturalTracesError):
    """A set that nothing can be learnt from."""


class PixelCache:
    """The images that were used last, up to a number of bytes; what is older is decoded again when it is needed.

    Args:
        limit: Bytes of pixels that are kept at most.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit, self.bytes = limit, 0
        self._images: OrderedDict[Hashable, Image] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Start empty in another process."""
        return {"limit": self.limit, "bytes": 0, "_images": OrderedDict()}

    def get(self, key: Hashable, make: Callable[[], Image]) -> Image:
        """Return an image that is kept, or make it and keep it, and drop the oldest until all fit."""
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key]
        img = make()
        self._images[key] = img
        self.bytes += img.nbytes
        while self.bytes > self.limit:
            self.bytes -= self._images.popitem(last=False)[1].nbytes
        return img


@dataclass
class ImageSet:
    """The rows of a manifest with their pixels: files are decoded when they are needed, and some stay in memory.

    Attributes:
        manifest: Rows.
        root: Folder of relative paths.
        cache: Decoded files; shared by all subsets.
    """

    manifest: pd.DataFrame
    root: Path | None
    _pixels: dict[int, Image] = field(default_factory=dict, repr=False)
    cache: PixelCache = field(default_factory=PixelCache, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.manifest)

    @classmethod
    def of(cls, images: Sequence[Image], manifest: pd.DataFrame) -> "ImageSet":
        """Make a set of images that are in memory already.

        Args:
            images: Each uint8 (3, H, W).
            manifest: One row per image; at least label, generator, family and source.

        Returns:
            The set; its rows get a path if they have none.
        """
        rows = manifest.reset_index(drop=True)
        if "path" not in rows:
            rows = rows.assign(path=[f"memory/{row:05d}" for row in range(len(rows))])
        return cls(rows, None, dict(enumerate(images)))

    def images(self) -> Iterator[Image]:
        """Read all images in the order of the rows."""
        return (self.image(row) for row in range(len(self)))

    def path(self, row: int) -> Path:
        """Find the file of one row."""
        return resolve(str(self.manifest["path"].iloc[row]), self.root)

    def image(self, row: int) -> Image:
        """Return the image of one row: uint8 (3, H, W)."""
        if row in self._pixels:
            return self._pixels[row]
        path = self.path(row)
        return self.cache.get(path, lambda: read_image(path))

    def content(self, row: int) -> str:
        """Compute the SHA-256 of one row's file, or of the pixels and shape of an image in memory."""
        if row in self._pixels:
            img = self._pixels[row]
            return hashlib.sha256(repr(tuple(img.shape)).encode() + img.numpy().tobytes()).hexdigest()
        return hashlib.sha256(read_bytes(self.path(row))).hexdigest()

    def subset(self, rows: np.ndarray) -> "ImageSet":
        """Keep some rows, by their numbers; decoded files stay shared."""
        pixels = {new: self._pixels[old] for new, old in enumerate(rows.tolist()) if old in self._pixels}
        return ImageSet(self.manifest.iloc[rows].reset_index(drop=True), self.root, pixels, self.cache)

    def blocks(self) -> list[np.ndarray]:
        """List the rows that lie together: those of each Parquet file, or all where images are files of their own."""
        inside = self.manifest["path"].astype(str).str.extract(rf"^(.*?{re.escape(SUFFIX)})/")[0]
        if self._pixels or inside.isna().any():
            return [np.arange(len(self))]
        return [np.flatnonzero((inside == name).to_numpy()) for name in sorted(inside.unique())]

    @property
    def labels(self) -> np.ndarray:
        """0 real, 1 fake: int64 (N,)."""
        return self.manifest["label"].map(LABELS.index).to_numpy(np.int64)

    def groups(self, label: str, column: str = "source") -> list[np.ndarray]:
        """List the rows of each group of a label; a group is one value of `column` (and, of fakes, one generator)."""
        chosen = (self.manifest["label"] == label).to_numpy()
        keys = self.manifest["generator"].astype(str) + "\0" + self.manifest[column].astype(str)
        return [np.flatnonzero(chosen & (keys == key).to_numpy()) for key in sorted(keys[chosen].unique())]


class Pictures(Sequence[Image]):
    """The images of a set as a sequence, decoded when they are asked for.

    Args:
        images: The set.
    """

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        """Return one image, or those of a slice."""
        rows = range(len(self))[index]
        return [self.images.image(row) for row in rows] if isinstance(rows, range) else self.images.image(rows)
