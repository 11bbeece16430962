"""Natural-trace forensics, reconstructed: stage 1 maps the traces, stage 2 transfers them, the score joins two views.

The frozen encoder of stage 1 stays part of the detector, as its teacher and for comparison (score "stage1").
The classifying head knows the generators that it has seen. The proximity to the natural traces asks how much an image
resembles photographs: after stage 2, after stage 1, and by a linear model of photographs, the last two without ever
having seen a fake. All are standardised on training crops (each minus its mean over reals, divided by its spread
there) and averaged with equal weights. That the parts that know photographs alone belong into the score was decided on
training and validation images: with a training generator held out, they ranked it better than the head did.

An independent reconstruction of Liang et al., AAAI 2025 (doi 10.1609/aaai.v39i25.34826).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.image_set import ImageSet
from helpers.detectors.base import Detector
from helpers.detectors.config import DetectorError, NetworkConfig
from helpers.detectors.crops import BalancedCrops, Described, PhotographViews
from helpers.detectors.linear import TraceSubspace, Whitening
from helpers.detectors.networks import Backbone, CooccurrenceView, backbone_of, fit_whitening
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceTerms, map_traces, natural_traces
from helpers.detectors.ntf.stage1_losses import proximity
from helpers.detectors.ntf.stage2 import SoftTransfer, Student, TransferTerms
from helpers.pixels.views import BREAKERS
from helpers.statistics.cooccurrence import WIDTH
from helpers.training import fit

__all__ = [
    "SCORES",
    "NaturalTraceConfig",
    "NaturalTraceDetector",
    "Pools",
    "Stage1Config",
    "fit_stage1",
    "make_pools",
    "training_crops",
]

Score = Literal["head", "proximity", "both", "stage1", "subspace", "all"]
SCORES: tuple[Score, ...] = get_args(Score)
"""What `ntf` judges by: the classifying head; the distance from the natural traces after stage 2; the mean of these
two; the distance after stage 1 alone; the distance from the linear model of photographs; the mean of all four."""

BANK_TEMPERATURE = 0.1
_COLUMNS: Mapping[str, Sequence[int]] = MappingProxyType(
    {"head": (0,), "proximity": (1,), "both": (0, 1), "stage1": (2,), "subspace": (3,)}
)
"""Name of a score -> columns of `parts` that it averages; any other name means all."""
_STUDENTS = {0, 1}
"""Columns of `parts` that the student alone computes."""
SUBSPACE_CROPS = 2048
"""Training crops whose real half the linear model of photographs is fitted to."""


def _asks_teacher(score: str) -> bool:
    return score not in _COLUMNS or not _STUDENTS.issuperset(_COLUMNS[score])


class Stage1Config(NetworkConfig):
    """A detector with a stage 1.

    Attributes:
        mapping_steps: Steps of stage 1, in batches of a quarter as many photographs, with four views each.
        terms: Weights of stage 1.
        breakers: Ways to break traces in stage 1; empty for all.
    """

    mapping_steps: int = Field(default=500, ge=0)
    terms: TraceTerms = TraceTerms()
    breakers: tuple[str, ...] = ()

    @field_validator("breakers")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(BREAKERS):
            raise ValueError(f"should hold some of {', '.join(BREAKERS)}")
        return value


class NaturalTraceConfig(Stage1Config):
    """Settings of `NaturalTraceDetector`.

    Attributes:
        prototypes: Size of the bank of natural traces.
        subspace: Directions of the linear model of photographs; 0 leaves it out.
        transfer: Weights and temperatures of stage 2.
        score: One of `SCORES`.
        teacher: Keep the encoder of stage 1, which the scores "stage1", "subspace" and "all" ask, and training needs.
    """

    not_trained: ClassVar[frozenset[str]] = Stage1Config.not_trained | {"score"}

    prototypes: int = Field(default=16, ge=1)
    subspace: int = Field(default=0, ge=0)
    transfer: TransferTerms = TransferTerms()
    score: Score = "both"
    teacher: bool = True

    @model_validator(mode="after")
    def _score_is_there(self) -> Self:
        if self.score == "subspace" and not self.subspace:
            raise ValueError("the score subspace needs a subspace above 0")
        return self


@dataclass(frozen=True)
class Pools:
    """Training examples that were described once (`helpers.detectors.crops.Described`).

    Attributes:
        crops: Labelled crops.
        views: Kept and broken views of photographs.
    """

    crops: Described
    views: Described


def make_pools(train: ImageSet, config: Stage1Config) -> Pools:
    """Describe a pool of crops, and of views of photographs a third as many, by their co-occurrences."""
    view, kinds = CooccurrenceView(), config.breakers or tuple(BREAKERS)
    crops = BalancedCrops(train, config.augmentation, config.seed)
    views = PhotographViews(train, config.augmentation, config.seed, kinds=kinds)
    return Pools(Described(crops, view, config.pool), Described(views, view, config.pool // 3))


def training_crops(
    train: ImageSet, config: NetworkConfig, backbone: Backbone, pools: Pools | None = None
) -> BalancedCrops | Described:
    """Make the supervised examples: fresh crops, or a pool of described ones, to which the whitening is fitted."""
    crops = BalancedCrops(train, config.augmentation, config.seed)
    _check_pool(config, backbone)
    if not config.pool:
        return crops
    pool = pools.crops if pools else Described(crops, backbone.view, config.pool)
    fit_whitening(backbone, pool.columns["image"])
    return pool


def _check_pool(config: NetworkConfig, backbone: Backbone) -> None:
    """Counted statistics need a pool that is large enough for what is fitted to it; other views cannot use one."""
    if not isinstance(backbone.view, CooccurrenceView):
        if config.pool:
            raise DetectorError(f"pool must be 0 with the backbone {config.backbone}: only counts are described once")
        return
    components = [layer.matrix.shape[1] for layer in backbone.body.modules() if isinstance(layer, Whitening)]
    subspace = config.subspace if isinstance(config, NaturalTraceConfig) else 0
    needed = 1 + max(2 * subspace, *components)
    if config.pool < needed:
        raise DetectorError(f"pool must be at least {needed} with the backbone {config.backbone}, not {config.pool}")


def fit_stage1(
    teacher: TraceEncoder, train: ImageSet, config: Stage1Config, out: Path, pools: Pools | None = None
) -> None:
    """Run stage 1: train the teacher on photographs alone. Without steps it stays as it is, untrained.

    Args:
        teacher: Trained in place.
        train: Only the real rows are used.
        config: Settings.
        out: Folder for checkpoint and log.
        pools: Views that were described once, or None for fresh ones.
    """
    if config.mapping_steps:
        map_traces(
            teacher,
            train,
            config.fit_config(config.mapping_steps, max(config.batch_size // 4, 4)),
            out,
            augmentation=config.augmentation,
            terms=config.terms,
            kinds=config.breakers or tuple(BREAKERS),
            learning_rate=config.learning_rate,
            views=pools.views if pools else None,
        )
    teacher.cpu().eval()  # training may have moved it


class NaturalTraceDetector(Detector):
    """Stage 1, stage 2, and a score of head and proximity.

    Args:
        config: Settings. With `mapping_steps = 0` stage 1 is left out: the traces are those of an untrained encoder.
    """

    name: ClassVar[str] = "ntf"
    Config = NaturalTraceConfig
    config: NaturalTraceConfig
    bank: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, config: NaturalTraceConfig) -> None:
        super().__init__(config)
        self.student = Student(backbone_of(config), config.embedding)
        if config.teacher:
            self.teacher = TraceEncoder(backbone_of(config), config.embedding)
        elif _asks_teacher(config.score):
            raise DetectorError(f"the score {config.score} asks the teacher: set teacher to true")
        self.register_buffer("bank", torch.zeros(config.prototypes, config.embedding))
        if config.subspace:
            most = min(self.description_width, SUBSPACE_CROPS // 2) - 1
            if config.subspace > most:
                raise DetectorError(f"subspace must be at most {most}, not {config.subspace}")
            self.subspace = TraceSubspace(self.description_width, config.subspace)
        self.register_buffer("centre", torch.zeros(4 if config.subspace else 3))
        self.register_buffer("spread", torch.ones(4 if config.subspace else 3))

    @property
    def description_width(self) -> int:
        """Length of what the linear model of photographs looks at."""
        backbone = self.teacher.backbone
        return WIDTH if isinstance(backbone.view, CooccurrenceView) else backbone.width

    def fit_weights(self, train: ImageSet, out: Path, pools: Pools | None = None) -> None:
        """Run both stages."""
        config = self.config
        if not config.teacher:
            raise DetectorError("a detector without its teacher cannot be trained: set teacher to true")
        pools = pools or (make_pools(train, config) if config.pool else None)
        crops = training_crops(train, config, self.teacher.backbone, pools)
        fit_stage1(self.teacher, train, config, out / "stage1", pools)
        self.student.start_from(self.teacher)
        self.bank = natural_traces(self.teacher, train, config.augmentation, count=config.prototypes, seed=config.seed)
        task = SoftTransfer(self.student, self.teacher, self.bank, config.transfer, learning_rate=config.learning_rate)
        trained: Any = fit(task, crops, config.fit_config(config.steps), out / "stage2").task
        self.student.load_state_dict(trained.average.state_dict())
        self.cpu().eval()  # training may have moved parts to another device
        if config.subspace:
            self._fit_subspace(crops)
        self._standardise(BalancedCrops(train, config.augmentation, config.seed + 1))

    @torch.no_grad()
    def _fit_subspace(self, crops: Dataset[Any], count: int = SUBSPACE_CROPS) -> None:
        """Fit the linear model to training photographs; even entries are real."""
        rows = [self.teacher.describe(crops[index]["image"][None]) for index in range(0, min(count, len(crops)), 2)]  # type: ignore[arg-type]
        self.subspace.fit(torch.cat(rows))

    @torch.no_grad()
    def _standardise(self, crops: BalancedCrops, count: int = 512) -> None:
        """Centre and scale the three parts by their values on crops of training photographs."""
        self.eval()
        real = range(0, count, 2)  # even entries are real
        parts = torch.cat([self.parts(crops[index]["image"][None]) for index in real])
        self.centre, self.spread = parts.mean(dim=0), parts.std(dim=0) + 1e-3

    def parts(self, images: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Compute what the score is made of.

        Args:
            images: (n, 3, H, W), 0..255, or descriptions (n, d) of a co-occurrence backbone.
            chosen: Columns to compute, in order; all when None.

        Returns:
            (n, 3): logit of the head, distance from the traces after stage 2 and after stage 1; a fourth column holds
            the distance from the linear model of photographs, where there is one. Without a teacher, (n, 2).
        """
        every = range((3 if self.config.teacher else 2) + (self.config.subspace > 0))
        columns = every if chosen is None else chosen
        seen = (
            self.student.backbone.view(images) if isinstance(self.student.backbone.view, CooccurrenceView) else images
        )
        values: dict[int, Tensor] = {}
        if _STUDENTS & set(columns):
            embedding, logits = self.student(seen)
            values |= {0: logits.float(), 1: -proximity(embedding, self.bank, BANK_TEMPERATURE)}
        if 2 in columns:
            values[2] = -proximity(self.teacher.traces(seen), self.bank, BANK_TEMPERATURE)
        if 3 in columns:
            values[3] = self.subspace(self.teacher.describe(seen))
        return torch.stack([values[column] for column in columns], dim=1)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,), higher means more fake."""
        chosen = list(_COLUMNS.get(self.config.score, range(len(self.centre))))
        parts = (self.parts(images, chosen) - self.centre[chosen]) / self.spread[chosen]
        return parts.mean(dim=1)

    def for_inference(self) -> Detector:
        """Leave the encoder of stage 1 out, where the score does not ask it."""
        if not self.config.teacher or _asks_teacher(self.config.score) or self.config.subspace:
            return self
        kept = type(self)(self.config.changed(teacher=False))
        kept.load_state_dict({name: value for name, value in self.state_dict().items() if "teacher." not in name})
        kept.threshold, kept.calibration, kept.history = self.threshold, self.calibration, self.history
        return kept.eval()

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> unit-norm embeddings, (n, d)."""
        embedding: Tensor = self.student(images)[0]
        return embedding
