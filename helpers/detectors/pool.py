"""A pool of training crops, seen through the fixed part of a network once, and used by every training from then on.

    training images -> copies by real decoders -> crops with a history -> maps of the fixed part, kept on disk

Each image gives several crops with histories of their own. A photograph also gives crops of its copies, which a real
generator's decoder has redrawn (aligned with it in content), and crops whose traces were broken by hand. The maps are
computed once; stage 1, stage 2, their control, every seed and every fold of a hold-out then train on the same maps.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.files import write_atomic
from helpers.data.image_set import ImageSet, TrainingDataError
from helpers.data.images import Image, encode_png, read_image
from helpers.data.manifest import LABELS
from helpers.data.seeds import derive_seed, item_generator
from helpers.pixels.autoencoders import TinyAutoencoder, load_autoencoder
from helpers.pixels.histories import MARGIN, Histories, apply_history
from helpers.pixels.views import break_traces, keep_traces

__all__ = ["KINDS", "BalancedMaps", "CropPlan", "MapPool", "PhotographMaps", "Redrawer", "ShardedMaps", "build_pool"]

KINDS = ("own", "copy", "broken")
"""What a crop was cut from: the image itself, a decoder's copy of it, or a view whose traces were broken by hand."""
SHARD = 1024
"""Crops in one file of a pool."""
BATCH = 32


@dataclass(frozen=True)
class CropPlan:
    """How many crops of which kind an image gives.

    Attributes:
        side: Side of a crop in pixels, a multiple of four.
        own: Crops of each image.
        copies: Crops of the copies of each photograph; 0 without decoders.
        broken: Crops of each photograph with traces broken by hand.
        breakers: Ways to break traces by hand.
        seed: Seed of all crops, of its own, so that trainings with other seeds share a pool.
        histories: Shares of each history.
    """

    side: int = 128
    own: int = 4
    copies: int = 2
    broken: int = 2
    breakers: tuple[str, ...] = ("resample", "blur", "median", "denoise", "repaint", "periodic")
    seed: int = 0
    histories: Histories = field(default_factory=Histories)

    def entries(self, labels: Sequence[str], decoders: bool) -> list[tuple[int, str, int]]:
        """List (row, kind, number) of every crop, so that the order does not depend on what was done before."""
        crops = []
        for row, label in enumerate(labels):
            counts = {"own": self.own}
            if label == LABELS[0]:
                counts |= {"copy": self.copies if decoders else 0, "broken": self.broken}
            crops += [(row, kind, number) for kind, count in counts.items() for number in range(count)]
        return crops


class Redrawer:
    """Copies of photographs by decoders of real generators, each drawn once and kept on disk.

    Args:
        folder: Holds the weights of the autoencoders.
        names: Autoencoders; each photograph has a copy by one of them, chosen by its content.
        cache: Folder for the copies, lossless.
        half: Compute in bfloat16, see `TinyAutoencoder.redraw`.
    """

    def __init__(self, folder: Path, names: Sequence[str], cache: Path, *, half: bool = False) -> None:
        self.names, self.half = tuple(names), half
        self.cache = cache / ("half" if half else "full")
        self.networks: dict[str, TinyAutoencoder] = {name: load_autoencoder(folder, name) for name in self.names}

    def __call__(self, img: Image) -> Image:
        """Redraw a photograph: uint8 (3, H, W) -> uint8 (3, H, W)."""
        digest = hashlib.sha256(f"{tuple(img.shape)}".encode() + img.numpy().tobytes()).hexdigest()
        name = self.names[int(digest[-8:], 16) % len(self.names)]
        path = self.cache / name / f"{digest[:32]}.png"
        if path.is_file():
            return read_image(path)
        drawn = self.networks[name].redraw(img, half=self.half)
        write_atomic(path, encode_png(drawn))
        return drawn


def draw_crop(
    img: Image, kind: str, number: int, row: int, plan: CropPlan, redraw: Callable[[Image], Image] | None
) -> Image:
    """Draw one crop of a pool.

    Args:
        img: The image, uint8 (3, H, W).
        kind: One of `KINDS`.
        number: Which crop of this kind.
        row: Row of the image.
        plan: How crops are cut.
        redraw: Makes copies.

    Returns:
        uint8 (3, side, side).
    """
    generator = item_generator(derive_seed(plan.seed, kind), number, row)
    if kind == "copy":
        assert redraw is not None
        img = redraw(img)
    if kind == "broken":
        side = min(plan.side + MARGIN, *img.shape[-2:]) // 2 * 2
        img = break_traces(_square(img, side, generator), generator, plan.breakers)
    return keep_traces(apply_history(img, plan.side, plan.histories, generator), generator)


def _square(img: Image, side: int, generator: torch.Generator) -> Image:
    top = int(torch.randint(img.shape[-2] - side + 1, (), generator=generator))
    left = int(torch.randint(img.shape[-1] - side + 1, (), generator=generator))
    return img[:, top : top + side, left : left + side]


class ShardedMaps:
    """Maps in several files, mapped into memory: the system reads what is asked for, and forgets it when it must.

    Args:
        files: NumPy files, each float16 (n, channels, h, w); all but the last have `SHARD` entries.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    @cached_property
    def parts(self) -> list[NDArray[np.float16]]:
        """The arrays, opened once in each process."""
        return [np.load(path, mmap_mode="r") for path in self.files]

    def __getstate__(self) -> dict[str, Any]:
        """Send names to other processes, not what is in the files."""
        return {"files": self.files}

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of them together."""
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, chosen: int | NDArray[np.int64]) -> Tensor:
        """Read one map, or several: float16 (channels, h, w), or (n, channels, h, w)."""
        if np.ndim(chosen) == 0:
            file, place = divmod(int(chosen), SHARD)
            return torch.from_numpy(self.parts[file][place].copy())
        maps = np.empty((len(np.asarray(chosen)), *self.shape[1:]), np.float16)
        for number, entry in enumerate(np.asarray(chosen).tolist()):
            maps[number] = self.parts[entry // SHARD][entry % SHARD]
        return torch.from_numpy(maps)


@dataclass
class MapPool:
    """Maps of many crops, with what each was cut from.

    Attributes:
        maps: float16 (N, channels, h, w); read from the disk when they are asked for, see `ShardedMaps`.
        rows: Row of the image, int64 (N,).
        kinds: Index in `KINDS`, int64 (N,).
        manifest: Rows of the training images.
    """

    maps: "Tensor | ShardedMaps"
    rows: NDArray[np.int64]
    kinds: NDArray[np.int64]
    manifest: Any

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, kind: str, label: str | None = None, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Find the entries of a kind, of a label, and of allowed rows.

        Args:
            kind: One of `KINDS`.
            label: "real" or "fake"; any when None.
            allowed: One flag for each row of the manifest; all when None.

        Returns:
            Entry numbers, ascending.
        """
        chosen = self.kinds == KINDS.index(kind)
        if label is not None:
            chosen &= (self.manifest["label"] == label).to_numpy()[self.rows]
        if allowed is not None:
            chosen &= allowed[self.rows]
        return np.flatnonzero(chosen)


def _identity(images: ImageSet, plan: CropPlan, decoders: Sequence[str], mark: str) -> str:
    """Name a pool by everything that it depends on."""
    known = images.manifest["sha256"] if "sha256" in images.manifest else images.manifest["path"]
    text = json.dumps([list(known.astype(str)), list(images.manifest["label"]), repr(plan), list(decoders), mark])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_pool(
    images: ImageSet,
    lower: Callable[[Tensor], Tensor],
    plan: CropPlan,
    folder: Path,
    *,
    redraw: Redrawer | None = None,
    mark: str = "",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> MapPool:
    """Make a pool, or go on with one that was begun, or read one that is there.

    Args:
        images: Training images.
        lower: The fixed part: uint8 (n, 3, side, side) -> (n, channels, h, w).
        plan: How crops are cut.
        folder: Where pools are kept, each in a folder of its own.
        redraw: Makes copies; without it there are none.
        mark: Names the fixed part's weights.
        progress: Told how many crops are done.

    Returns:
        The pool.
    """
    entries = plan.entries(list(images.manifest["label"]), redraw is not None)
    place = folder / _identity(images, plan, redraw.names if redraw else (), mark)
    files = []
    for start in range(0, len(entries), SHARD):
        path = place / f"{start // SHARD:05d}.npy"
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # of several processes, one makes it
            if not path.is_file():
                part = _maps(images, lower, plan, entries[start : start + SHARD], redraw)
                write_atomic(path, _as_bytes(part))
        files.append(path)
        progress(min(start + SHARD, len(entries)), len(entries))
    rows, kinds, _ = zip(*entries, strict=True)
    numbers = np.array([KINDS.index(kind) for kind in kinds], np.int64)
    return MapPool(ShardedMaps(files), np.array(rows, np.int64), numbers, images.manifest)


def _as_bytes(values: NDArray[Any]) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _maps(
    images: ImageSet,
    lower: Callable[[Tensor], Tensor],
    plan: CropPlan,
    entries: Sequence[tuple[int, str, int]],
    redraw: Redrawer | None,
) -> NDArray[np.float16]:
    """Cut crops and look at them through the fixed part: float16 (n, channels, h, w)."""
    parts = []
    for start in range(0, len(entries), BATCH):
        crops = [
            draw_crop(images.image(row), kind, number, row, plan, redraw)
            for row, kind, number in entries[start : start + BATCH]
        ]
        stack = torch.stack(crops).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            parts.append(lower(stack).half().contiguous().numpy())
    return np.concatenate(parts)


def _root_shares(groups: Sequence[str]) -> NDArray[np.float64]:
    """Give every entry a chance so that a group's chance goes with the root of its size; they sum to 1."""
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[inverse])
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


class _Drawing:
    """Entries to draw from, a group as often as the root of its size says."""

    def __init__(self, pool: MapPool, entries: NDArray[np.int64]) -> None:
        about = pool.manifest.iloc[pool.rows[entries]]
        groups = about["generator"].astype(str) + "\0" + about["source"].astype(str)
        self.entries, self.upper = entries, np.cumsum(_root_shares(list(groups))) if len(entries) else np.zeros(0)

    def __len__(self) -> int:
        return len(self.entries)

    def draw(self, generator: torch.Generator) -> int:
        place = int(np.searchsorted(self.upper, float(torch.rand((), generator=generator, dtype=torch.float64))))
        return int(self.entries[min(place, len(self.entries) - 1)])


class BalancedMaps(Dataset[dict[str, Any]]):
    """Maps of photographs and of generated pictures in turn, with their label.

    Args:
        pool: The pool.
        seed: Seed of the choice.
        copies: Share of the generated half that is copies of photographs, 0..1; 0 where the pool has none.
        allowed: One flag for each row of the manifest; all when None.
        length: Examples in an epoch; the choice is fresh in each.

    Raises:
        TrainingDataError: A label is missing.
    """

    def __init__(
        self,
        pool: MapPool,
        seed: int = 0,
        copies: float = 0.25,
        allowed: NDArray[np.bool_] | None = None,
        length: int = 4096,
    ) -> None:
        self.pool, self.seed, self.length, self.epoch = pool, seed, length, 0
        self.real = _Drawing(pool, pool.of("own", LABELS[0], allowed))
        self.fake = _Drawing(pool, pool.of("own", LABELS[1], allowed))
        self.copy = _Drawing(pool, pool.of("copy", None, allowed))
        self.copies = copies if len(self.copy) else 0.0
        if not len(self.real) or not len(self.fake):
            raise TrainingDataError("both real and fake images are needed")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = item_generator(self.seed, self.epoch, index)
        label = index % 2
        drawing = self.fake if label else self.real
        if label and float(torch.rand((), generator=generator)) < self.copies:
            drawing = self.copy
        entry = drawing.draw(generator)
        return {"image": self.pool.maps[entry].float(), "label": label, "row": int(self.pool.rows[entry])}


class PhotographMaps(Dataset[dict[str, Tensor]]):
    """For stage 1: maps of two crops of one photograph, and of two whose traces are broken; no fake is seen here.

    Args:
        pool: The pool.
        seed: Seed of the choice.
        copies: Chance that a broken view is a decoder's copy, not one broken by hand, where there are both.
        allowed: One flag for each row of the manifest; all when None.
        length: Examples in an epoch.

    Raises:
        TrainingDataError: There are fewer than two photographs.
    """

    def __init__(
        self,
        pool: MapPool,
        seed: int = 0,
        copies: float = 0.75,
        allowed: NDArray[np.bool_] | None = None,
        length: int = 4096,
    ) -> None:
        self.pool, self.seed, self.copies, self.length, self.epoch = pool, seed, copies, length, 0
        own = pool.of("own", LABELS[0], allowed)
        self.photographs = _Drawing(pool, own)
        if len(set(pool.rows[own].tolist())) < 2:
            raise TrainingDataError("at least two photographs are needed")
        self.entries = {kind: _by_row(pool, kind) for kind in KINDS}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = item_generator(self.seed, self.epoch, index)
        row = int(self.pool.rows[self.photographs.draw(generator)])
        first, second = (self.entries["own"][row][place] for place in self._two("own", row, generator))
        broken = [self._broken(row, generator) for _ in range(2)]
        maps = self.pool.maps
        return {
            "first": maps[first].float(),
            "second": maps[second].float(),
            "broken": torch.stack([maps[entry].float() for entry in broken]),
            "row": torch.tensor(row),
        }

    def _two(self, kind: str, row: int, generator: torch.Generator) -> Iterator[int]:
        count = len(self.entries[kind][row])
        order = torch.randperm(count, generator=generator).tolist()
        return iter((order * 2)[:2])

    def _broken(self, row: int, generator: torch.Generator) -> int:
        by_decoder, by_hand = self.entries["copy"].get(row, []), self.entries["broken"].get(row, [])
        chosen = by_decoder if float(torch.rand((), generator=generator)) < self.copies else by_hand
        chosen = chosen or by_decoder or by_hand
        return chosen[int(torch.randint(len(chosen), (), generator=generator))]


def _by_row(pool: MapPool, kind: str) -> dict[int, list[int]]:
    """Row of the manifest -> its entries of a kind."""
    places: dict[int, list[int]] = {}
    for entry in pool.of(kind).tolist():
        places.setdefault(int(pool.rows[entry]), []).append(entry)
    return places
