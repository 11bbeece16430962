"""Natural-trace forensics on features of real images: transfer learning in the paper's sense, on a laptop.

The network starts from what photographs taught it (`helpers.detectors.features`). Its lower part stays fixed; a copy of
the upper part is tuned in two stages, on a pool of maps (`helpers.detectors.pool`):

    stage 1, photographs alone: their crops attract, a real decoder's copies of them repel -> natural traces
    stage 2, with generators:   soft contrast to the traces, repulsion of fakes, and a classifying head

Beside it stands a logistic regression on the features as they were. The score is the mean of both views, each
standardised on training photographs: the tuned part knows what it was shown, the fixed one carries over further.

An independent reconstruction of the idea of Liang et al., AAAI 2025 (doi 10.1609/aaai.v39i25.34826).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from helpers.data.catalog.weights import weights_folder
from helpers.data.image_set import ImageSet
from helpers.data.places import cache_dir
from helpers.data.seeds import item_generator
from helpers.detectors.base import Detector, batches
from helpers.detectors.config import DetectorError, LoopConfig, Share
from helpers.detectors.features import FeatureNet, UpperFeatures, imagenet_weights
from helpers.detectors.linear import LinearScore
from helpers.detectors.networks import Backbone
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceMapping, TraceTerms
from helpers.detectors.ntf.stage1_losses import prototypes, proximity
from helpers.detectors.ntf.stage2 import SoftTransfer, Student, TransferTerms
from helpers.detectors.pool import BalancedMaps, CropPlan, MapPool, PhotographMaps, Redrawer, build_pool
from helpers.pixels.autoencoders import NAMES
from helpers.training import fit

__all__ = ["SCORES", "PretrainedConfig", "PretrainedTraceDetector", "training_pool"]

Score = Literal["head", "proximity", "tuned", "linear", "stage1", "all"]
SCORES: tuple[Score, ...] = get_args(Score)
"""What it judges by: the classifying head; the distance from the natural traces after stage 2; the mean of these two;
the logistic regression on fixed features; the distance after stage 1, which saw no generated picture; the mean of
tuned and linear."""

_WEIGHTS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "head": {0: 1.0},
        "proximity": {1: 1.0},
        "tuned": {0: 0.5, 1: 0.5},
        "linear": {2: 1.0},
        "stage1": {3: 1.0},
        "all": {0: 0.25, 1: 0.25, 2: 0.5},
    }
)
"""Name of a score -> column of `parts` and its weight."""
BANK_TEMPERATURE = 0.1
STANDARD_CROPS = 1024
"""Crops of training photographs on which the parts are standardised, and of which the natural traces are made."""


class PretrainedConfig(LoopConfig):
    """Settings of `PretrainedTraceDetector`.

    Attributes:
        weights: Where the network's first weights come from: "package", "hub", or a file.
        decoders: Folder with weights of the autoencoders, or "autoencoders" where `natural-traces data get
            autoencoders` has fetched them; "" for none.
        autoencoders: Those that redraw training photographs.
        half_copies: Redraw in bfloat16: four times as fast where the processor has instructions for it.
        copies: Share of the generated half of a batch that is copies of photographs.
        crops: Crops of each image in the pool.
        pool_seed: Seed of the pool, which trainings with other seeds share.
        strength: Of the logistic regression, scikit-learn's C.
        embedding: Length of the embeddings.
        prototypes: Size of the bank of natural traces.
        mapping_steps: Steps of stage 1, in batches of a quarter as many photographs, with four views each.
        terms: Weights of stage 1.
        transfer: Weights and temperatures of stage 2.
        score: One of `SCORES`.
        teacher: Keep the encoder of stage 1, which the score "stage1" asks.
    """

    not_trained: ClassVar[frozenset[str]] = LoopConfig.not_trained | {"score", "teacher", "decoders", "weights"}

    size: int = Field(default=128, ge=32, multiple_of=4)
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=64, ge=2)
    weights: str = "package"
    decoders: str = ""
    autoencoders: tuple[str, ...] = ("taesd", "taef1")
    half_copies: bool = False
    copies: Share = 0.25
    crops: int = Field(default=4, ge=1)
    pool_seed: int = Field(default=0, ge=0)
    strength: float = Field(default=0.003, gt=0)
    embedding: int = Field(default=64, ge=2)
    prototypes: int = Field(default=16, ge=1)
    mapping_steps: int = Field(default=300, ge=0)
    terms: TraceTerms = TraceTerms()
    transfer: TransferTerms = TransferTerms()
    score: Score = "all"
    teacher: bool = False

    @field_validator("autoencoders")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(NAMES):
            raise ValueError(f"should hold some of {', '.join(NAMES)}")
        return value

    def without_files(self) -> Self:
        """Leave out where the first weights came from."""
        return self.changed(weights="", decoders="")

    @property
    def plan(self) -> CropPlan:
        """How the pool's crops are cut."""
        half = max(1, self.crops // 2)
        return CropPlan(self.size, own=self.crops, copies=half, broken=half, seed=self.pool_seed)


def training_pool(train: ImageSet, config: PretrainedConfig, *, progress: Any = None) -> MapPool:  # noqa: ANN401
    """Make the pool of a training set, in the cache folder; what is there already is not made again.

    Args:
        train: Training images.
        config: Says which crops, and where weights lie.
        progress: Told how many crops are done, and of how many.

    Returns:
        The pool.
    """
    weights = imagenet_weights(config.weights)
    lower = FeatureNet(weights).lower.eval().to(memory_format=torch.channels_last)
    mark = hashlib.sha256(b"".join(value.numpy().tobytes() for value in lower.state_dict().values())).hexdigest()[:16]
    place = cache_dir() / "pools"
    redraw = None
    if config.decoders:
        redraw = Redrawer(
            weights_folder(config.decoders), config.autoencoders, place / "copies", half=config.half_copies
        )
    told = progress or (lambda done, of: None)
    return build_pool(train, lower, config.plan, place, redraw=redraw, mark=mark, progress=told)


class _Scale(nn.Module):
    """Standardise features by what training crops had."""

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """(n, width) -> (n, width)."""
        return (features - self.mean) / self.spread


def _upper_backbone(weights: Mapping[str, Tensor] | None) -> Backbone:
    """A backbone on maps: the upper part, then standardised features."""
    upper = FeatureNet(weights).upper
    return Backbone(nn.Identity(), nn.Sequential(upper, _Scale(UpperFeatures.width)), UpperFeatures.width)


class PretrainedTraceDetector(Detector):
    """Both stages on the upper part of a network that learnt from photographs, and a linear model beside it.

    Args:
        config: Settings. With `mapping_steps = 0` and without contrast and repulsion it is its own control: the same
            network, data and steps, trained by cross-entropy.
    """

    name: ClassVar[str] = "ntf_pretrained"
    config: PretrainedConfig
    bank: Tensor
    centre: Tensor
    spread: Tensor

    class Config(PretrainedConfig):
        """Settings of `PretrainedTraceDetector`."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        weights = imagenet_weights(config.weights) if config.weights else None
        net = FeatureNet(weights)
        self.lower, self.fixed = net.lower, net.upper
        self.linear = LinearScore(UpperFeatures.width)
        self.student = Student(_upper_backbone(weights), config.embedding)
        if config.teacher:
            self.teacher = TraceEncoder(_upper_backbone(weights), config.embedding)
        elif config.score == "stage1":
            raise DetectorError("the score stage1 asks the teacher: set teacher to true")
        self.register_buffer("bank", torch.zeros(config.prototypes, config.embedding))
        self.register_buffer("centre", torch.zeros(4))
        self.register_buffer("spread", torch.ones(4))

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Make or read the pool, then run everything on it."""
        self.fit_pool(training_pool(train, self.config), out)

    def fit_pool(self, pool: MapPool, out: Path, allowed: NDArray[np.bool_] | None = None) -> None:
        """Train on a pool.

        Args:
            pool: Maps of training crops.
            out: Folder for checkpoints and logs.
            allowed: One flag for each row of the pool's manifest; all when None. A hold-out leaves rows out.
        """
        config = self.config
        crops = BalancedMaps(pool, config.seed, config.copies, allowed)
        self._fit_linear(BalancedMaps(pool, config.seed + 1, config.copies, allowed, length=LINEAR_CROPS))
        photographs = self._photographs(pool, allowed)
        teacher = TraceEncoder(self.student.backbone, config.embedding)
        teacher = self._fit_stage1(teacher, pool, out / "stage1", allowed)
        with torch.no_grad():
            traces = torch.cat([teacher.traces(part) for part in batches(photographs, 64)]).clone()
        self.bank = prototypes(traces, config.prototypes, item_generator(config.seed, 0, 0))
        student = Student(_upper_backbone(None), config.embedding)
        student.start_from(teacher)
        task = SoftTransfer(student, teacher, self.bank, config.transfer, learning_rate=config.learning_rate)
        trained: Any = fit(task, crops, config.fit_config(config.steps), out / "stage2").task
        self.student.load_state_dict(trained.average.state_dict())
        if config.teacher:
            self.teacher.load_state_dict(teacher.state_dict())
        self.cpu().eval()
        self._standardise(photographs, teacher.cpu().eval())

    @torch.no_grad()
    def _fit_linear(self, crops: BalancedMaps) -> None:
        """Fit the logistic regression on fixed features, and the scale of the tuned ones, to crops of the pool."""
        self.eval()
        items = [crops[index] for index in range(len(crops))]
        features = torch.cat([self.fixed(torch.stack([item["image"] for item in part])) for part in _parts(items, 64)])
        labels = np.array([int(item["label"]) for item in items], np.int64)
        self.linear.fit(features.clone(), labels, self.config.strength)
        scale = self.student.backbone.body[1]  # type: ignore[index]
        scale.mean, scale.spread = features.mean(dim=0).clone(), features.std(dim=0).clone() + 1e-4

    def _photographs(self, pool: MapPool, allowed: NDArray[np.bool_] | None) -> Tensor:
        """Take maps of training photographs, one crop each as far as that goes: float (n, 24, h, w)."""
        own = pool.of("own", "real", allowed)
        generator = item_generator(self.config.seed, 1, 0)
        chosen = own[torch.randperm(len(own), generator=generator)[:STANDARD_CROPS].numpy()]
        return pool.maps[chosen].float()

    def first_weights(self) -> dict[str, str]:
        """Name backbone and decoders."""
        backbone = (
            "EfficientNet-Lite0 trained on ImageNet-1k, Apache-2.0; photographs of ImageNet, "
            "those of a test set too, may be among what it learnt from"
        )
        decoders = f"{', '.join(self.config.autoencoders)} (MIT), whose copies of photographs training saw"
        return {"backbone": backbone, **({"decoders": decoders} if self.config.decoders else {})}

    def _fit_stage1(
        self, teacher: TraceEncoder, pool: MapPool, out: Path, allowed: NDArray[np.bool_] | None
    ) -> TraceEncoder:
        """Run stage 1 on photographs alone. Without steps the teacher stays as it was: features of real images."""
        import copy

        config, teacher = self.config, copy.deepcopy(teacher)
        if config.mapping_steps:
            views = PhotographMaps(pool, config.seed, allowed=allowed)
            settings = config.fit_config(config.mapping_steps, max(config.batch_size // 4, 4))
            trained: Any = fit(TraceMapping(teacher, config.terms, config.learning_rate), views, settings, out).task
            teacher.load_state_dict(trained.encoder.state_dict())
        return teacher.cpu().eval()

    @torch.no_grad()
    def _standardise(self, maps: Tensor, teacher: TraceEncoder) -> None:
        """Centre and scale the parts by their values on crops of training photographs."""
        parts = torch.cat([self._parts(part, teacher) for part in batches(maps, 64)])
        self.centre, self.spread = parts.mean(dim=0).clone(), parts.std(dim=0).clone() + 1e-3

    def _parts(self, maps: Tensor, teacher: TraceEncoder | None, *, linear: bool = True) -> Tensor:
        """Maps (n, 24, h, w) -> head, distance after stage 2, linear model, distance after stage 1: (n, 4).

        The last two are 0 where they are not asked for.
        """
        embedding, head = self.student(maps)
        far = -proximity(embedding, self.bank, BANK_TEMPERATURE)
        fixed = self.linear(self.fixed(maps)) if linear else torch.zeros_like(head)
        before = -proximity(teacher.traces(maps), self.bank, BANK_TEMPERATURE) if teacher else torch.zeros_like(head)
        return torch.stack([head.float(), far, fixed, before], dim=1)

    def member_scores(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> each part of the score, standardised, (n, 4)."""
        return self._standard(self._parts(self.lower(images), self.teacher if self.config.teacher else None))

    def _standard(self, parts: Tensor) -> Tensor:
        standard: Tensor = (parts - self.centre) / self.spread
        return standard

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,), higher means more fake; parts that the score does not ask are left out."""
        asked, teacher = _WEIGHTS[self.config.score], self.teacher if self.config.score == "stage1" else None
        return combine(self._standard(self._parts(self.lower(images), teacher, linear=2 in asked)), self.config.score)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> unit-norm embeddings, (n, d)."""
        embedding: Tensor = self.student(self.lower(images))[0]
        return embedding

    def describe(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> features of real images, as they were before any training here, (n, 512)."""
        features: Tensor = self.fixed(self.lower(images))
        return features

    def for_inference(self) -> Detector:
        """Leave the encoder of stage 1 out, where the score does not ask it."""
        if not self.config.teacher or self.config.score == "stage1":
            return self
        kept = type(self)(self.config.without_files().changed(teacher=False))
        kept.load_state_dict({name: value for name, value in self.state_dict().items() if "teacher." not in name})
        kept.threshold, kept.calibration, kept.history = self.threshold, self.calibration, self.history
        return kept.eval()


LINEAR_CROPS = 8192
"""Crops that the logistic regression is fitted to."""


def combine(parts: Tensor, score: Score) -> Tensor:
    """Average standardised parts: (n, 4) -> (n,)."""
    weights = parts.new_tensor([_WEIGHTS[score].get(column, 0.0) for column in range(parts.shape[1])])
    return parts @ weights


def _parts(items: list[Any], size: int) -> Any:  # noqa: ANN401
    return (items[start : start + size] for start in range(0, len(items), size))
