"""Scores of the rows of a manifest, kept so that nothing is scored twice.

A kept score belongs to the bytes of a file and to everything else that it is a function of: the weights, every setting,
the code of the detector, what is done to the image before, and the libraries that decode and compute. Threshold and
calibration are applied to it afterwards, so they are no part of it. Every file is read and hashed even where its score
is known; what a hit saves is decoding and the network.
"""

import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tqdm import tqdm

from helpers.data.files import StorageError, write_atomic
from helpers.data.images import Image, ImageError, decode, encode_jpeg
from helpers.data.manifest import ManifestError, read_checked, resolve
from helpers.data.places import cache_dir
from helpers.detectors.base import BATCH, Detector, read_ahead
from helpers.detectors.config import DetectorError
from helpers.detectors.registry import load_detector, weights_hash
from helpers.training.processes import launch, launched
from helpers.training.task import fabric_place

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["SCORING_VERSION", "ScoreCache", "cached_table", "score_key", "score_table"]

SCORING_VERSION = 1
"""Of the code between a file's bytes and its score; a change of any score needs the next number."""
PART = 256
"""Images after which finished scores are noted."""


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def score_key(detector: Detector, weights: str, jpeg: int) -> dict[str, Any]:
    """Gather everything that a score depends on besides the file's bytes.

    Args:
        detector: A trained detector.
        weights: SHA-256 of its weights.
        jpeg: Quality of the re-encoding before, or 0.

    Returns:
        Plain values; two runs with equal ones give equal scores.
    """
    source = inspect.getsourcefile(type(detector))
    return {
        "version": SCORING_VERSION,
        "detector": detector.name,
        "weights": weights,
        "config": detector.config.values(),
        "code": hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else "",
        "jpeg": jpeg,
        "device": detector.device.type,
        "libraries": {name: version(name) for name in ("torch", "torchvision", "pillow", "numpy")},
    }


@dataclass
class ScoreCache:
    """Known scores of one detector on disk: SHA-256 of a file -> score.

    Attributes:
        path: Its file.
        key: What all its scores depend on, as `score_key` gives it.
        known: The scores.
    """

    path: Path
    key: dict[str, Any]
    known: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, key: dict[str, Any], say: Callable[[str], None] = _warn) -> "ScoreCache":
        """Read what is known under a key; a damaged or foreign file is said and taken for empty."""
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        cache = cls(cache_dir() / "scores" / f"{name}.json", key)
        try:
            text = cache.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cache
        except (OSError, ValueError) as error:
            say(f"{cache.path}: kept scores cannot be read ({error}): scoring anew")
            return cache
        try:
            cache.known = cache._sound(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"{cache.path}: kept scores are damaged ({error}): scoring anew")
        return cache

    def _sound(self, document: Any) -> dict[str, float]:  # noqa: ANN401
        """Check what a file holds, and return its scores."""
        if document["key"] != self.key:
            raise ValueError("they belong to other settings")
        if document["digest"] != _digest(document["scores"]):
            raise ValueError("they are not what was written")
        return {name: float(value) for name, value in document["scores"].items()}

    def write(self) -> None:
        """Keep the scores, whole or not at all; where nothing can be written, they are not kept."""
        document = {"key": self.key, "digest": _digest(self.known), "scores": self.known}
        with suppress(StorageError):
            write_atomic(self.path, json.dumps(document).encode())


def _digest(scores: dict[str, float]) -> str:
    return hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()


@dataclass
class _Scorer:
    """Scores rows of which the score is not known yet."""

    detector: Detector
    root: Path | None
    known: dict[str, float]
    change: Callable[[Image], Image] | None

    def prepared(self, row: tuple[str, str]) -> tuple[str, list[Image] | None]:
        """Read a file, check its hash, and cut its windows unless its score is known."""
        name, digest = row
        data = read_checked(name, digest, self.root)
        if digest in self.known:
            return digest, None
        path = resolve(name, self.root)
        img = decode(data, str(path))
        try:
            views = self.detector.views(self.change(img) if self.change else img)
        except DetectorError as error:
            raise DetectorError(f"{path}: {error}") from None
        return digest, [view.clone() for view in views]  # copies, so that the large image is not kept

    def digests(self, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
        """Score rows part by part; yield the hash under which each one's score is known then."""
        stream = read_ahead(self.prepared, rows, 2, 2 * BATCH)
        while part := list(islice(stream, PART)):
            fresh = {digest: views for digest, views in part if views is not None}
            scores = self.detector.score_cut(fresh.values())
            self.known.update(zip(fresh, scores.tolist(), strict=True))
            yield from (digest for digest, _ in part)


def score_table(
    detector: Detector,
    df: pd.DataFrame,
    root: Path | None,
    *,
    change: Callable[[Image], Image] | None = None,
    known: dict[str, float] | None = None,
) -> pd.DataFrame:
    """Score every row of a manifest.

    Args:
        detector: A trained detector.
        df: Manifest rows.
        root: Folder of relative paths.
        change: What happens to each image before it is scored, such as a re-encoding.
        known: SHA-256 of a file -> its score, where there is one already; new ones are added.

    Returns:
        The rows with `score` and `probability`.

    Raises:
        ManifestError: A file differs from its `sha256`.
        ImageError: A file cannot be read.
        DetectorError: An image is too small.
    """
    known = {} if known is None else known
    rows = tqdm(zip(df["path"], df["sha256"], strict=True), unit="image", total=len(df), disable=None, leave=False)
    digests = list(_Scorer(detector, root, known, change).digests(iter(rows)))
    table = df.assign(score=[known[digest] for digest in digests])
    return table.assign(probability=detector.probability(table["score"].to_numpy()))


def cached_table(
    folder: Path,
    df: pd.DataFrame,
    root: Path | None,
    jpeg: int,
    *,
    cache: bool = True,
    device: str | None = None,
    processes: tuple[int, int] = (1, 1),
    say: Callable[[str], None] = _warn,
) -> pd.DataFrame:
    """Score a manifest's rows by the detector in a folder; what was scored before is taken from the cache folder.

    Of several processes each scores its share: the first takes rows 0, n, 2n and so on, the second 1, n + 1, ...

    Args:
        folder: Of the detector.
        df: Manifest rows.
        root: Folder of relative paths.
        jpeg: Quality at which everything is encoded once more before; 0: not.
        cache: Whether scores are taken from and kept in the cache folder.
        device: Where the network runs; the processor when None.
        processes: Of each machine, each on its own device, and machines; more than one of these by torchrun.
        say: Is told when kept scores are damaged.

    Returns:
        The rows with `score` and `probability`; under torchrun on every process.

    Raises:
        ManifestError: A file differs from its `sha256`.
        ImageError: A file cannot be read.
        DetectorError: An image is too small.
    """
    if max(processes) > 1:
        scores = _scored_by_all(folder, df, root, jpeg, cache, device or "cpu", processes)
        table = df.assign(score=[scores[row] for row in range(len(df))])  # a lost row is a KeyError
        return table.assign(probability=load_detector(folder).probability(table["score"].to_numpy()))
    detector = load_detector(folder)
    detector = detector if device is None else detector.to(device)
    kept = ScoreCache.open(score_key(detector, weights_hash(folder), jpeg), say) if cache else None
    known = kept.known if kept else {}
    before = len(known)
    try:
        return score_table(detector, df, root, change=_stored_as(jpeg), known=known)
    finally:
        if kept and len(known) > before:  # also after an error or Ctrl-C: what is finished is not lost
            kept.write()


def _stored_as(jpeg: int) -> Callable[[Image], Image] | None:
    """Make what encodes an image once more; nothing for quality 0."""
    return (lambda img: decode(encode_jpeg(img, jpeg))) if jpeg else None


# Several processes


class ScoringError(DetectorError):
    """A process that scored its share was lost."""


def _scored_by_all(
    folder: Path, df: pd.DataFrame, root: Path | None, jpeg: int, cache: bool, device: str, processes: tuple[int, int]
) -> dict[int, float]:
    """Score every row on one of several processes: number of the row -> score."""
    from lightning.fabric import Fabric  # seconds to import

    devices, nodes = processes
    strategy = "ddp" if launched() else "ddp_spawn"
    accelerator, places = fabric_place(device, devices)
    fabric = Fabric(accelerator=accelerator, devices=places, num_nodes=nodes, strategy=strategy)
    rows = list(zip(df["path"], df["sha256"], strict=True))
    kept = "what is scored lies in the cache folder" if cache else "nothing is kept without the cache"
    kinds = (ManifestError, ImageError, DetectorError)
    scores: dict[int, float] = launch(
        fabric, _score_share, (folder, rows, root, jpeg, cache), kinds=kinds, lost=ScoringError,
        what="scoring process", kept=kept,
    )  # fmt: skip
    return scores


def _score_share(
    fabric: "Fabric", folder: Path, rows: list[tuple[str, str]], root: Path | None, jpeg: int, cache: bool
) -> dict[int, float]:
    """Score the rows of this process part by part; after each part all processes tell each other what they know.

    Every row has one owner, whatever the caches of the machines hold. The first process keeps the scores of all.
    """
    rank, ranks = fabric.global_rank, fabric.world_size
    detector = load_detector(folder).to(fabric.device)
    kept = ScoreCache.open(score_key(detector, weights_hash(folder), jpeg)) if cache else None
    scorer = _Scorer(detector, root, kept.known if kept else {}, _stored_as(jpeg))
    scores: dict[int, float] = {}
    with tqdm(total=len(rows), unit="image", disable=None if fabric.is_global_zero else True, leave=False) as bar:
        for start in range(0, len(rows), PART * ranks):
            own, before = range(start + rank, min(start + PART * ranks, len(rows)), ranks), len(scorer.known)
            digests = scorer.digests(rows[number] for number in own)
            found = [(number, digest, scorer.known[digest]) for number, digest in zip(own, digests, strict=True)]
            for number, digest, score in _told_to_all(found):
                scores[number] = scorer.known[digest] = score
                bar.update()
            if kept and fabric.is_global_zero and len(scorer.known) > before:
                kept.write()
    return scores


def _told_to_all(found: list[tuple[int, str, float]]) -> list[tuple[int, str, float]]:
    """Join what all processes have found."""
    parts: list[list[tuple[int, str, float]]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, found)
    return [one for part in parts for one in part]
