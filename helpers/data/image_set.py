"""The rows of a manifest with their pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.images import Image, read_image
from helpers.data.manifest import LABELS, resolve
from helpers.errors import NaturalTracesError

__all__ = ["ImageSet", "TrainingDataError"]


class TrainingDataError(NaturalTracesError):
    """A set that nothing can be learnt from."""


@dataclass
class ImageSet:
    """The rows of a manifest with their pixels, each file read once.

    Attributes:
        manifest: Rows.
        root: Folder of relative paths.
    """

    manifest: pd.DataFrame
    root: Path | None
    _pixels: dict[int, Image] = field(default_factory=dict, repr=False)

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

    def image(self, row: int) -> Image:
        """Read the image of one row: uint8 (3, H, W)."""
        if row not in self._pixels:
            self._pixels[row] = read_image(resolve(str(self.manifest["path"].iloc[row]), self.root))
        return self._pixels[row]

    def subset(self, rows: np.ndarray) -> "ImageSet":
        """Keep some rows, by their numbers; what was read already is not read again."""
        pixels = {new: self._pixels[old] for new, old in enumerate(rows.tolist()) if old in self._pixels}
        return ImageSet(self.manifest.iloc[rows].reset_index(drop=True), self.root, pixels)

    @property
    def labels(self) -> np.ndarray:
        """0 real, 1 fake: int64 (N,)."""
        return self.manifest["label"].map(LABELS.index).to_numpy(np.int64)

    def groups(self, label: str, column: str = "source") -> list[np.ndarray]:
        """List the rows of each group of a label; a group is one value of `column` (and, of fakes, one generator)."""
        chosen = (self.manifest["label"] == label).to_numpy()
        keys = self.manifest["generator"].astype(str) + "\0" + self.manifest[column].astype(str)
        return [np.flatnonzero(chosen & (keys == key).to_numpy()) for key in sorted(keys[chosen].unique())]
