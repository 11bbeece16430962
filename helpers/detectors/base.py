"""What every detector has in common: from images to scores, from validation images to a threshold, from memory to disk.

    fit(train, val) -> score(images) -> threshold and calibration (validation images only) -> save / load

A detector is a network whose `logit` says how fake a batch of equally large squares looks. An image of any size is
seen through one to eight native windows, never resized; its score is their mean.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from helpers.data.files import write_atomic
from helpers.data.image_set import ImageSet
from helpers.data.images import Image, read_image
from helpers.data.manifest import LABELS
from helpers.detectors.config import SMALLEST, DetectorConfig, DetectorError
from helpers.detectors.feature_range import FeatureRange
from helpers.detectors.predict import Prediction, predict
from helpers.evaluation.metrics import Conformal, PlattScaling, auc, fit_platt, threshold_of_best_accuracy
from helpers.training import save_weights
from helpers.training.processes import is_first

__all__ = [
    "Detector",
    "Prediction",
    "read_ahead",
    "windows",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

WEIGHTS, RANGE, CARD, RUN = "weights.safetensors", "range.safetensors", "card.json", "run.json"
CARD_VERSION = 2
"""Of what a card holds; another version is refused."""
BATCH = 16
"""Images that are read and cut before they are scored together."""
WINDOWS = 4
"""Windows that pass through the network at once: with more, their maps leave the processor's cache."""
GPU_BATCH, GPU_WINDOWS = 64, 64
"""The same on a GPU, which smaller batches leave idle."""


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Cut a batch into smaller ones."""
    return (images[start : start + size] for start in range(0, len(images), size))


def batch_sizes(device: torch.device) -> tuple[int, int]:
    """Say how many images are cut, and how many windows pass through a network, at once on a device."""
    return (BATCH, WINDOWS) if device.type == "cpu" else (GPU_BATCH, GPU_WINDOWS)


def windows(img: Image, size: int, most: int) -> list[Image]:
    """Cut native windows out of an image: all of it if it is small, else up to eight, spread over it.

    Args:
        img: uint8 (3, H, W).
        size: Side of a window in pixels; a shorter side of the image stays whole.
        most: 1 gives the middle alone; 2 or 3 the two on the falling diagonal, 4 to 7 one in each quarter, and 8 the
            middles of the four sides as well.

    Returns:
        Windows, uint8 (3, min(H, size), min(W, size)).

    >>> [w.shape for w in windows(torch.zeros(3, 64, 500, dtype=torch.uint8), 240, 4)]
    [torch.Size([3, 64, 240]), torch.Size([3, 64, 240])]
    """
    height, width = img.shape[-2:]
    tall, wide = min(size, height), min(size, width)
    shares: list[tuple[float, float]] = [(0.5, 0.5)]
    if most >= 2:
        shares = [(0.25, 0.25), (0.75, 0.75)]
    if most >= 4:
        shares += [(0.25, 0.75), (0.75, 0.25)]
    if most >= 8:
        shares += [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)]
    places = sorted({(round((height - tall) * down), round((width - wide) * right)) for down, right in shares})
    return [img[:, top : top + tall, left : left + wide] for top, left in places]


class Runtime(Protocol):
    """Another way to compute `logit`."""

    def fits(self, images: Tensor) -> bool:
        """Tell whether it can judge these windows, (n, 3, h, w)."""

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n,)."""


class Detector(nn.Module, ABC):
    """A network with a score, a threshold and a calibration.

    A kind of detector is a subclass with a `name`, a configuration class of its own called `Config`, and two methods:
    `fit_weights` learns, `logit` judges. `helpers.detectors.registry.register` makes it known by its name.

    Args:
        config: Settings.

    Attributes:
        name: Name of the kind.
        Config: Class of its settings.
        threshold: Score from which on an image is called fake; fixed on validation images.
        calibration: Score -> probability of being fake; fixed on validation images.
        history: What training saw: generators, sources, counts.
        conformal: Scores of held-out pictures, with which verdicts may be refused; None where none were kept.
        feature_range: Where the features of known pictures lie, see `describe`; None where that was not measured.
        runtime: Judges some windows in the place of `logit`, see `helpers.detectors.runtime`; None for none.
    """

    name: ClassVar[str] = ""
    Config: ClassVar[type[DetectorConfig]] = DetectorConfig

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.threshold, self.calibration = 0.0, PlattScaling(1.0, 0.0)
        self.history: dict[str, Any] = {}
        self.conformal: Conformal | None = None
        self.feature_range: FeatureRange | None = None
        self.runtime: Runtime | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**arguments)
        own = cls.__dict__.get("Config")
        if own is None or not cls.name:
            return
        if own.kind not in ("", cls.name) and "kind" in own.__dict__:
            raise TypeError(f"{cls.__qualname__}: {own.__qualname__} is the Config of {own.kind}; derive one from it")
        own.kind = cls.name

    @abstractmethod
    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255, uint8 or float -> (n,); higher means more fake. Differentiable where a network is."""

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> the vectors that the detector judges by, (n, d).

        Raises:
            DetectorError: This kind has none.
        """
        raise DetectorError(f"{self.name}: judges by no vectors that could be shown")

    def describe(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> general features by which a picture unlike all known ones is told, (n, d).

        Raises:
            DetectorError: This kind has none.
        """
        raise DetectorError(f"{self.name}: has no features that could tell what is unlike all known pictures")

    @torch.inference_mode()
    def describe_views(self, views: Iterable[Image]) -> Tensor:
        """Windows, each uint8 (3, h, w) -> what `describe` says of each, float (n, d), on the CPU."""
        return torch.cat([self.describe(view[None].to(self.device)).float().cpu() for view in views])

    @abstractmethod
    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Train on labelled images.

        Args:
            train: Images of the train split.
            out: Folder for checkpoints and logs.
        """

    def fit(self, train: ImageSet, val: ImageSet, out: Path) -> "Detector":
        """Train, then fix threshold and calibration on validation images.

        Args:
            train: Images to learn from.
            val: Images to choose by; never test images.
            out: Folder for checkpoints and logs.

        Returns:
            The same detector, ready to score.

        Raises:
            DetectorError: A label is missing, or the folder holds a run with other settings or images.
        """
        for name, part in (("training", train), ("validation", val)):
            if missing := set(LABELS) - set(part.manifest["label"]):
                raise DetectorError(f"the {name} images hold none that is {' or '.join(sorted(missing))}")
        if is_first():
            self.claim(train, out)
        self.fit_weights(train, out)
        self.eval()
        if not is_first():  # of the processes that torchrun has started, one judges and writes
            return self
        self.note_history(train, val, self.calibrate(val))
        return self

    def claim(self, train: ImageSet, out: Path) -> None:
        """Note in a folder what is trained there, since a run that is found there is continued.

        Args:
            train: Images to learn from.
            out: Folder for checkpoints and logs.

        Raises:
            DetectorError: The folder holds a run with other settings or images.
        """
        settings = {name: value for name, value in self.config.values().items() if name not in self.config.not_trained}
        rows = train.manifest[["label", "generator", "source"]].astype(str).agg("\t".join, axis=1)
        contents = (f"{train.content(number)}\t{row}" for number, row in enumerate(rows))
        digest = hashlib.sha256("\n".join(contents).encode("utf-8", "surrogateescape")).hexdigest()
        wanted = {"detector": self.name, "config": settings, "images": digest}
        path = out / RUN
        if not path.is_file():
            write_atomic(path, (json.dumps(wanted, indent=2) + "\n").encode())
        elif (claimed := json.loads(path.read_text(encoding="utf-8"))) != wanted:
            before, now = (_flat(one) for one in (claimed, wanted))
            differ = [name for name, value in now.items() if before.get(name) != value]
            raise DetectorError(f"{out}: holds a run with other {', '.join(differ)}: choose another folder")

    def note_history(self, train: ImageSet, val: ImageSet, scores: NDArray[np.float64]) -> float:
        """Note what training saw, and how well the validation images are ranked; return their AUC."""
        known, val_auc = train.manifest, auc(val.labels, scores)
        self.history = {
            "generators": sorted(set(known["generator"]) - {""}),
            "sources": sorted(set(known["source"])),
            "real": int((known["label"] == "real").sum()),
            "fake": int((known["label"] == "fake").sum()),
            "validation_images": len(val),
            "validation_auc": round(val_auc, 4),
            **({"licences": licences_of(known)} if "licence" in known else {}),
            **self.first_weights(),
        }
        return val_auc

    def first_weights(self) -> dict[str, str]:
        """Say for the card where weights came from that training started from, under which licence."""
        return {}

    def calibrate(self, val: ImageSet) -> NDArray[np.float64]:
        """Fix threshold and calibration on validation images; return their scores.

        Weights are rounded first to the half precision that `save` keeps, so that the threshold fits what is stored.
        """
        self._round()
        scores = self.score(val.images())
        if not np.isfinite(scores).all():
            raise DetectorError(f"{self.name}: scores of validation images are not finite: the training diverged")
        self.threshold = threshold_of_best_accuracy(val.labels, scores)
        self.calibration = fit_platt(val.labels, scores)
        return scores

    @torch.no_grad()
    def _round(self) -> None:
        """Round weights and buffers to half precision; values beyond it stay, and `save` will refuse them."""
        for value in self.state_dict().values():
            if value.is_floating_point():
                rounded = value.half().to(value.dtype)
                value.copy_(torch.where(rounded.isfinite(), rounded, value))

    def score(self, images: Iterable[Image]) -> NDArray[np.float64]:
        """Score images of any sizes.

        Args:
            images: Each uint8 (3, H, W), both sides at least 32.

        Returns:
            (N,); higher means more fake.

        Raises:
            DetectorError: An image is too small.
        """
        return self.score_cut(self.views(img) for img in images)

    def score_files(
        self, paths: Iterable[Path], change: Callable[[Image], Image] | None = None, *, threads: int = 2
    ) -> NDArray[np.float64]:
        """Score image files: threads read and cut ahead while the network works, as Pillow decodes without the lock.

        Args:
            paths: The files.
            change: What happens to each image before it is scored, such as a re-encoding.
            threads: How many.

        Returns:
            (N,), as `score` gives of the images.

        Raises:
            DetectorError: An image is too small.
            ImageError: A file cannot be read.
        """

        def cut(path: Path) -> list[Image]:
            img = read_image(path)
            try:
                # Copies, so that the large image is not kept.
                return [view.clone() for view in self.views(change(img) if change else img)]
            except DetectorError as error:
                raise DetectorError(f"{path}: {error}") from None

        return self.score_cut(read_ahead(cut, paths, threads, 2 * BATCH))

    @torch.inference_mode()
    def score_cut(self, cut_images: Iterable[list[Image]]) -> NDArray[np.float64]:
        """Score images of which windows have been cut: one list of (3, h, w) for each; (N,), as `score` does."""
        self.eval()
        device = self.device
        images, at_once = batch_sizes(device)
        scores: list[float] = []
        stream = iter(cut_images)
        while batch := list(islice(stream, images)):
            cut = [(number, view) for number, views in enumerate(batch) for view in views]
            sums = np.zeros((len(batch), 2))
            for shape in {view.shape for _, view in cut}:
                numbers = [number for number, view in cut if view.shape == shape]
                stack = torch.stack([view for _, view in cut if view.shape == shape]).to(device)
                stack = stack.contiguous(memory_format=torch.channels_last)  # 1.6 times as fast on a CPU
                judge = self.runtime if self.runtime is not None and self.runtime.fits(stack) else self.logit
                values = torch.cat([judge(part) for part in batches(stack, at_once)]).double().cpu().numpy()
                np.add.at(sums, numbers, np.stack([values, np.ones(len(values))], axis=1))
            scores += (sums[:, 0] / sums[:, 1]).tolist()
        return np.array(scores)

    def predict(
        self,
        inputs: Any,  # noqa: ANN401
        *,
        batch: int | None = None,
        workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Say of each image whether it is a photograph or generated; see `helpers.detectors.predict.predict`."""
        return predict(self, inputs, batch=batch, workers=workers)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def views(self, img: Image) -> list[Image]:
        """Cut the windows of an image through which it is judged; raises `DetectorError` where it is too small."""
        if not (isinstance(img, Tensor) and img.dtype == torch.uint8 and img.ndim == 3 and img.shape[0] == 3):
            what = f"{img.dtype} {tuple(img.shape)}" if isinstance(img, Tensor) else type(img).__name__
            raise DetectorError(f"an image must be a uint8 tensor (3, H, W), not {what}; `predict` converts others")
        if min(img.shape[-2:]) < SMALLEST:
            size = f"{img.shape[-1]} x {img.shape[-2]}"
            raise DetectorError(f"an image of {size} pixels is too small: {SMALLEST} are needed")
        return windows(img, self.config.window, self.config.windows)

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn scores into calibrated probabilities of being fake (for as many fakes as reals)."""
        return self.calibration.apply(scores)

    def for_inference(self) -> "Detector":
        """Return a detector with the same scores and without what only training needs."""
        return self

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights (half precision), card, and the range of known features where it was measured.

        Args:
            folder: Where to; it is made.
            notes: Further entries of the card.
        """
        card = {
            "version": CARD_VERSION,
            "detector": self.name,
            "config": self.config.without_files().values(),  # where files lay is nobody else's
            "threshold": self.threshold,
            "calibration": asdict(self.calibration),
            "training": self.history,
            **({"conformal": self.conformal.to_dict()} if self.conformal else {}),
            "parameters": sum(parameter.numel() for parameter in self.parameters()),
            **(notes or {}),
        }
        save_weights(self, folder / WEIGHTS, metadata={"detector": self.name}, half=True)
        if self.feature_range:
            self.feature_range.save(folder / RANGE)
        else:
            (folder / RANGE).unlink(missing_ok=True)  # that of other weights
        write_atomic(folder / CARD, (json.dumps(card, indent=2) + "\n").encode())


def licences_of(manifest: pd.DataFrame) -> dict[str, int]:
    """Count the images under each licence that a manifest names, for the card."""
    counts = manifest["licence"].astype(str).replace("", "not stated").value_counts()
    return {str(name): int(count) for name, count in sorted(counts.items())}


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings and the other marks of a run side by side."""
    return {**run.get("config", {}), **{name: run.get(name) for name in ("detector", "images")}}


def read_ahead(work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """Do work in threads, in order, up to `ahead` items before its use."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for waiting in pending:
                waiting.cancel()
