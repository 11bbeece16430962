"""What every detector has in common: from images to scores, from validation images to a threshold, from memory to disk.

    fit(train, val) -> score(images) -> threshold and calibration (validation images only) -> save / load

A detector is a network whose `logit` says how fake a batch of equally large squares looks. An image of any size is
seen through one to four native windows, never resized; its score is their mean.

Taught in: notebooks 04 and 06.
"""

import hashlib
import importlib
import json
import tomllib
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from helpers.errors import NaturalTracesError
from helpers.fit import FitConfig, load_weights, save_weights, write_atomic
from helpers.images import Image, read_image
from helpers.manifest import LABELS
from helpers.metrics import TemperatureScaling, auc, fit_temperature, threshold_of_best_accuracy
from helpers.soft_transfer import TransferTerms
from helpers.trace_mapping import TraceTerms
from helpers.training_data import Augmentation, ImageSet
from helpers.views import BREAKERS

__all__ = [
    "DETECTORS",
    "Detector",
    "DetectorConfig",
    "DetectorError",
    "load_detector",
    "make_detector",
    "read_config",
    "windows",
]

SCORES = ("head", "proximity", "both", "stage1", "subspace", "all")
"""What `ntf` judges by: the classifying head; the distance from the natural traces after stage 2; the mean of these
two; the distance after stage 1 alone; the distance from the linear model of photographs; the mean of all four."""
WEIGHTS, CARD, RUN = "weights.safetensors", "card.json", "run.json"
BATCH = 16
"""Images that are read and cut before they are scored together."""
WINDOWS = 4
"""Windows that pass through the network at once: with more, their maps leave the processor's cache."""
SMALLEST = 32
"""Shortest side of an image that can be scored, in pixels."""


class DetectorError(NaturalTracesError):
    """A detector that is not known, not trained, or not where it should be."""


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that decides what a detector becomes, apart from the images.

    Attributes:
        detector: One of `DETECTORS`.
        backbone: "tracenet", "cooccurrence" or a timm name.
        view: What the backbone sees, of `helpers.networks.VIEWS`.
        backbone_weights: Safetensors file for a timm backbone, or "".
        embedding: Length of the embeddings.
        size: Side of a training crop in pixels.
        jpeg: Chance that a training crop is encoded once more, label-blind.
        qualities: Lowest and highest quality of that encoding.
        camera: Chance that a training crop is developed once more before, label-blind, see `helpers.camera`.
        window: Side of a scoring window in pixels.
        windows: Most windows of one image; two see a large image twice as fast as four.
        steps: Steps of the supervised stage.
        mapping_steps: Steps of stage 1.
        batch_size: Crops per step; in stage 1 a quarter as many photographs, with four views each.
        learning_rate: At its highest.
        seed: Seed of weights, crops and order.
        terms: Weights of stage 1, see `helpers.trace_mapping.TraceTerms`.
        breakers: Ways to break traces in stage 1; empty for all.
        prototypes: Size of the bank of natural traces.
        subspace: Directions of the linear model of photographs; 0 leaves it out.
        pool: Training crops that are described once and used again and again; 0 draws fresh crops. In stage 1 a third
            as many draws, with four views each.
        transfer: Weights and temperatures of stage 2, see `helpers.soft_transfer.TransferTerms`.
        score: One of `SCORES`.
        teacher: Keep the encoder of stage 1, which the scores "stage1", "subspace" and "all" ask, and training needs.
        num_workers: Processes that load data.
        members: Configurations of a committee's members.
    """

    detector: str = "ntf"
    backbone: str = "tracenet"
    view: str = "bank"
    backbone_weights: str = ""
    embedding: int = 64
    size: int = 96
    jpeg: float = 0.5
    qualities: tuple[int, int] = (65, 96)
    camera: float = 0.0
    window: int = 240
    windows: int = 2
    steps: int = 1500
    mapping_steps: int = 500
    batch_size: int = 48
    learning_rate: float = 2e-3
    seed: int = 0
    terms: Mapping[str, float] = field(default_factory=dict)
    breakers: tuple[str, ...] = ()
    prototypes: int = 16
    subspace: int = 0
    pool: int = 0
    transfer: Mapping[str, Any] = field(default_factory=dict)
    score: str = "both"
    teacher: bool = True
    num_workers: int = 0
    members: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        _check_types(self)
        least = {"embedding": 2, "prototypes": 1, "steps": 1, "batch_size": 2, "size": 16, "window": SMALLEST}
        for name in ("mapping_steps", "subspace", "pool", "num_workers", "seed", *least):
            if getattr(self, name) < least.get(name, 0):
                raise DetectorError(f"{name} must be at least {least.get(name, 0)}, not {getattr(self, name)}")
        rules = {
            "size must be even": self.size % 2 == 0,  # ways to break traces work on blocks of 2 x 2 pixels
            "windows must be 1 to 4": 1 <= self.windows <= 4,
            "jpeg must be 0 to 1": 0 <= self.jpeg <= 1,
            "camera must be 0 to 1": 0 <= self.camera <= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "qualities must be two of 1 to 100, the lower first": len(self.qualities) == 2
            and all(isinstance(quality, int) for quality in self.qualities)
            and 1 <= self.qualities[0] <= self.qualities[1] <= 100,
            f"breakers must be of {', '.join(BREAKERS)}": set(self.breakers) <= set(BREAKERS),
            f"score must be one of {', '.join(SCORES)}": self.score in SCORES,
            "score subspace needs a subspace": self.score != "subspace" or self.subspace > 0,
        }
        for rule, holds in rules.items():
            if not holds:
                raise DetectorError(f"{rule}, not {getattr(self, rule.split()[0])}")
        try:
            TraceTerms(**self.terms), TransferTerms(**self.transfer)
        except TypeError as error:  # it names the entry
            raise DetectorError(f"terms or transfer: {str(error).partition('() ')[2]}") from None

    @property
    def augmentation(self) -> Augmentation:
        """How training crops are cut and encoded."""
        return Augmentation(self.size, self.jpeg, self.qualities, self.camera)

    def fit_config(self, steps: int, batch_size: int | None = None) -> FitConfig:
        """Settings of one run of the loop."""
        return FitConfig(
            steps=steps,
            batch_size=batch_size or self.batch_size,
            seed=self.seed,
            num_workers=self.num_workers,
            channels_last=True,
            checkpoint_every=250,
            log_every=25,
        )


def _check_types(config: DetectorConfig) -> None:
    """Compare each entry with the type of its default; whole numbers pass for floating-point ones."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        if entry.default is MISSING:
            wanted: type | tuple[type, ...] = Mapping
        else:
            wanted = (int, float) if isinstance(entry.default, float) else type(entry.default)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(entry.default, bool):
            raise DetectorError(f"{entry.name} cannot be {value!r}")


def read_config(path: Path, **changes: Any) -> DetectorConfig:  # noqa: ANN401
    """Read a configuration.

    Args:
        path: TOML file with entries of `DetectorConfig`.
        changes: Entries that replace those of the file.

    Returns:
        The configuration.

    Raises:
        DetectorError: The file is missing, is no TOML, or has an unknown or impossible entry.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DetectorError(f"{path.name}: cannot be read: {error}") from None
    return replace(config_from(values, path.name), **changes)


def config_from(values: Mapping[str, Any], name: str = "configuration") -> DetectorConfig:
    """Make a configuration from plain values; lists become tuples."""
    unknown = set(values) - {entry.name for entry in fields(DetectorConfig)}
    if unknown:
        raise DetectorError(f"{name}: unknown entries {', '.join(sorted(unknown))}")
    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return DetectorConfig(**plain)


def batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Cut a batch into smaller ones."""
    return (images[start : start + size] for start in range(0, len(images), size))


def windows(img: Image, size: int, most: int) -> list[Image]:
    """Cut native windows out of an image: all of it if it is small, else up to four between its middle and its corners.

    Args:
        img: uint8 (3, H, W).
        size: Side of a window in pixels; a shorter side of the image stays whole.
        most: 4; of fewer, 2 or 3 give the two on the falling diagonal, and 1 the middle alone.

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
    places = sorted({(round((height - tall) * down), round((width - wide) * right)) for down, right in shares})
    return [img[:, top : top + tall, left : left + wide] for top, left in places]


class Detector(nn.Module):
    """A network with a score, a threshold and a calibration.

    Args:
        config: Settings.

    Attributes:
        threshold: Score from which on an image is called fake; fixed on validation images.
        calibration: Score -> probability of being fake; fixed on validation images.
        history: What training saw: generators, sources, counts.
    """

    name: ClassVar[str] = ""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.threshold, self.calibration = 0.0, TemperatureScaling(1.0, 0.0)
        self.history: dict[str, Any] = {}

    @abstractmethod
    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255, uint8 or float -> (n,); higher means more fake. Differentiable where a network is."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> the vectors that the detector judges by, (n, d)."""

    @abstractmethod
    def learn(self, train: ImageSet, out: Path) -> None:
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
        self._claim(train, out)
        self.learn(train, out)
        self.eval()
        self.note_history(train, val, self.settle(val))
        return self

    def _claim(self, train: ImageSet, out: Path) -> None:
        """Note in the folder what is trained there, since a run that is found there is continued."""
        apart = ("window", "windows", "score", "num_workers")  # what training does not depend on
        settings = {name: value for name, value in asdict(self.config).items() if name not in apart}
        names = train.manifest[["path", "label"]].astype(str).agg("\t".join, axis=1)
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        wanted = json.loads(json.dumps({"config": settings, "images": digest}))
        path = out / RUN
        if not path.is_file():
            write_atomic(path, (json.dumps(wanted, indent=2) + "\n").encode())
        elif (found := json.loads(path.read_text(encoding="utf-8"))) != wanted:
            before, now = ({**one.get("config", {}), "images": one.get("images")} for one in (found, wanted))
            differ = [name for name, value in now.items() if before.get(name) != value]
            raise DetectorError(f"{out}: holds a run with other {', '.join(differ)}: choose another folder")

    def note_history(self, train: ImageSet, val: ImageSet, scores: NDArray[np.float64]) -> float:
        """Note what training saw, and how well the validation images are ranked; return their AUC."""
        known, found = train.manifest, auc(val.labels, scores)
        self.history = {
            "generators": sorted(set(known["generator"]) - {""}),
            "sources": sorted(set(known["source"])),
            "real": int((known["label"] == "real").sum()),
            "fake": int((known["label"] == "fake").sum()),
            "validation_images": len(val),
            "validation_auc": round(found, 4),
        }
        return found

    def settle(self, val: ImageSet) -> NDArray[np.float64]:
        """Fix threshold and calibration on validation images; return their scores.

        Weights are rounded first to the half precision that `save` keeps, so that the threshold fits what is stored.
        """
        self._round()
        scores = self.score(val.images())
        self.threshold = threshold_of_best_accuracy(val.labels, scores)
        self.calibration = fit_temperature(val.labels, scores)
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
        return self.score_cut(self._windows(img) for img in images)

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
                return [view.clone() for view in self._windows(change(img) if change else img)]
            except DetectorError as error:
                raise DetectorError(f"{path}: {error}") from None

        return self.score_cut(_ahead(cut, paths, threads))

    @torch.inference_mode()
    def score_cut(self, cut_images: Iterable[list[Image]]) -> NDArray[np.float64]:
        """Score images of which windows have been cut: one list of (3, h, w) for each; (N,), as `score` does."""
        self.eval()
        device = next(chain(self.parameters(), self.buffers()), torch.empty(0)).device
        scores: list[float] = []
        stream = iter(cut_images)
        while batch := list(islice(stream, BATCH)):
            cut = [(number, view) for number, views in enumerate(batch) for view in views]
            found = np.zeros((len(batch), 2))
            for shape in {view.shape for _, view in cut}:
                numbers = [number for number, view in cut if view.shape == shape]
                stack = torch.stack([view for _, view in cut if view.shape == shape]).to(device)
                stack = stack.contiguous(memory_format=torch.channels_last)  # 1.6 times as fast on a CPU
                values = torch.cat([self.logit(part) for part in batches(stack, WINDOWS)]).double().cpu().numpy()
                np.add.at(found, numbers, np.stack([values, np.ones(len(values))], axis=1))
            scores += (found[:, 0] / found[:, 1]).tolist()
        return np.array(scores)

    def _windows(self, img: Image) -> list[Image]:
        if min(img.shape[-2:]) < SMALLEST:
            size = f"{img.shape[-1]} x {img.shape[-2]}"
            raise DetectorError(f"an image of {size} pixels is too small: {SMALLEST} are needed")
        return windows(img, self.config.window, self.config.windows)

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn scores into calibrated probabilities of being fake (for as many fakes as reals)."""
        return self.calibration.apply(scores)

    def lean(self) -> "Detector":
        """Return a detector with the same scores and without what only training needs."""
        return self

    def save(self, folder: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights (half precision) and card.

        Args:
            folder: Where to; it is made.
            notes: Further entries of the card.
        """
        card = {
            "detector": self.name,
            "config": asdict(self.config),
            "threshold": self.threshold,
            "calibration": asdict(self.calibration),
            "training": self.history,
            "parameters": sum(parameter.numel() for parameter in self.parameters()),
            **(notes or {}),
        }
        save_weights(self, folder / WEIGHTS, metadata={"detector": self.name}, half=True)
        write_atomic(folder / CARD, (json.dumps(card, indent=2) + "\n").encode())


def _ahead(work: Callable[[Path], list[Image]], paths: Iterable[Path], threads: int) -> Iterator[list[Image]]:
    """Do work in threads, in order, up to two batches ahead of its use."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[list[Image]]] = deque()
        for path in paths:
            pending.append(pool.submit(work, path))
            if len(pending) > 2 * BATCH:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


DETECTORS: dict[str, type[Detector]] = {}
"""Every detector by its name; filled by `helpers.ntf` and `helpers.baselines`."""


def register(kind: type[Detector]) -> type[Detector]:
    """Add a class of detectors under its name."""
    DETECTORS[kind.name] = kind
    return kind


def make_detector(config: DetectorConfig) -> Detector:
    """Make an untrained detector whose fresh weights depend on the seed alone.

    Raises:
        DetectorError: There is no such detector.
    """
    for module in ("ntf", "baselines", "committee"):  # they register themselves
        importlib.import_module(f"helpers.{module}")

    if config.detector not in DETECTORS:
        raise DetectorError(f"{config.detector}: no such detector (known: {', '.join(sorted(DETECTORS))})")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DETECTORS[config.detector](config)


def weights_hash(folder: Path) -> str:
    """Compute the SHA-256 of stored weights, by which a record knows its detector."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def load_detector(folder: Path) -> Detector:
    """Read a detector that `save` wrote.

    Args:
        folder: Holds weights and card.

    Returns:
        The detector, ready to score.

    Raises:
        DetectorError: There is no readable card.
        StorageError: The weights are unsound.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config = config_from(card["config"], CARD)
        # All weights lie in the folder; the file that a frozen backbone came from need not be here.
        detector = make_detector(replace(config, backbone_weights=""))
        detector.config = config
        detector.threshold = float(card["threshold"])
        detector.calibration = TemperatureScaling(**card["calibration"])
        detector.history = dict(card["training"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{folder}: holds no detector: {error}") from None
    load_weights(detector, folder / WEIGHTS)
    return detector.eval()
