"""Collections that give themselves away: by their files, or by what happened to their pixels before."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.data.images import Image, decode, encode_jpeg, encode_png, luminance, random_crop
from helpers.pixels.resynthesis import PatchModel, resynthesise

__all__ = ["careless_files", "history_files", "jpeg_grid_evidence", "write_files"]

BLOCK = 8
"""Side of a JPEG block in pixels."""


def careless_files(
    photographs: Mapping[str, Image], model: PatchModel, *, count: int = 12, components: int = 24, seed: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Collect real and fake images as careless collectors do: the content is matched, the files are not.

    Photographs come as the web serves them, crops of any size from 96 to 200 pixels saved as JPEG of any quality from
    75 to 95. The copies come as a generator writes them, all 128 x 128, saved as PNG.

    Args:
        photographs: Image by the name of its scene; each side at least 200 pixels.
        model: Patch model that paints the copies.
        count: Files of each label per photograph.
        components: See `resynthesise`.
        seed: Seed of places, sizes and qualities.

    Yields:
        Path below the collection's root, and the file's bytes: `real/<name>/<n>.jpg`, `fake/patches/<name>/<n>.png`.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for name, img in photographs.items():
        copy = resynthesise(img, model, components)
        for number in range(count):
            height, width = (int(side) for side in rng.integers(96, 201, 2))
            view = random_crop(img, max(height, width), generator)[:, :height, :width]
            yield f"real/{name}/{number:02d}.jpg", encode_jpeg(view, int(rng.integers(75, 96)))
            yield f"fake/patches/{name}/{number:02d}.png", encode_png(random_crop(copy, 128, generator))


def history_files(
    photographs: Mapping[str, Image], *, quality: int = 40, count: int = 12, side: int = 160, seed: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Collect two classes that differ in their past only: both are photographs, one has been a poor JPEG before.

    All files are PNG of one size. Those called real were cut from the photograph after it had been saved as JPEG;
    those called fake were cut from the photograph as it is. Nothing is generated.

    Args:
        photographs: Image by the name of its scene; each side at least `side` pixels.
        quality: Quality of the earlier JPEG.
        count: Files of each label per photograph.
        side: Side of the files in pixels.
        seed: Seed of places.

    Yields:
        Path below the collection's root, and the file's bytes: `real/<name>/<n>.png`, `fake/nothing/<name>/<n>.png`.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, img in photographs.items():
        saved = decode(encode_jpeg(img, quality))
        for number in range(count):
            yield f"real/{name}/{number:02d}.png", encode_png(random_crop(saved, side, generator))
            yield f"fake/nothing/{name}/{number:02d}.png", encode_png(random_crop(img, side, generator))


def jpeg_grid_evidence(view: Image) -> float:
    """Measure how strongly a view shows the block grid of an earlier JPEG, off the grid of its last one.

    Where two blocks meet, the step between neighbouring pixels is often larger than the steps beside it. For each of
    the eight possible offsets of a grid we take the share of such peaks; an earlier grid makes one offset stand out.
    The offset of the last encoding, which starts at the view's corner, is left out.

    Args:
        view: uint8 (3, H, W), encoded last with its grid at the corner.

    Returns:
        Largest share minus the median share, summed over rows and columns, 0 or more; higher for an earlier grid.
    """
    luma = luminance(view)
    return sum(_stands_out(plane) for plane in (luma, luma.T))


def _stands_out(plane: Tensor) -> float:
    step = plane.diff(dim=1).abs()
    peaks = ((step[:, 1:-1] > step[:, :-2]) & (step[:, 1:-1] > step[:, 2:])).float().mean(0)
    # Entry c of `peaks` is the step between columns c + 1 and c + 2; at c = 6 the last encoding's blocks meet.
    shares = torch.stack([peaks[offset::BLOCK].mean() for offset in range(BLOCK) if offset != BLOCK - 2])
    return float(shares.max() - shares.median())


def write_files(root: str | Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """Write files into a folder.

    Args:
        root: The folder; it is made.
        files: Path below the folder with forward slashes, and bytes.

    Returns:
        The folder.
    """
    root = Path(root)
    for name, data in files:
        path = root.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root
