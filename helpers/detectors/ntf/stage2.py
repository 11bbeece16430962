"""Stage 2: carry the natural traces into a detector.

The frozen encoder of stage 1 is the teacher: it says to which natural traces a photograph belongs, and how firmly. The
student starts as its copy, sees photographs and fakes, and learns three things at once: to match these soft targets
with the fakes as negatives (`soft_contrastive_loss`), to keep fakes away from every trace (`repulsion_loss`), and to
classify. The weights that are kept are a moving average over training.

An independent reconstruction: what "soft" means in the paper is not public knowledge to us.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import ConfigDict
from torch import Tensor, nn

from helpers.detectors.networks import Backbone
from helpers.detectors.ntf.stage1 import TraceEncoder, projection
from helpers.detectors.ntf.stage2_losses import hardness_weights, repulsion_loss, soft_contrastive_loss, soft_targets
from helpers.errors import NaturalTracesError
from helpers.training import Task, gathered
from helpers.training.schedule import update_average, warm_cosine

__all__ = ["TARGETS", "SoftTransfer", "Student", "TransferTerms", "targets_for"]

TARGETS = ("soft", "hard", "uniform")


@dataclass(frozen=True)
class TransferTerms:
    """Weights and temperatures of stage 2; a weight of 0 leaves a term out.

    Attributes:
        classification: Cross-entropy of the head.
        contrast: Soft contrastive loss of photographs, with fakes as negatives.
        repulsion: Distance of fakes from every trace.
        targets: "soft" (the teacher's), "hard" (its nearest trace alone) or "uniform" (all traces alike).
        teacher_temperature: Of the soft targets.
        temperature: Of the student.
        sharpness: How much more near fakes count.
        smoothing: Share by which the labels of the head are softened.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    classification: float = 1.0
    contrast: float = 0.5
    repulsion: float = 0.5
    targets: str = "soft"
    teacher_temperature: float = 0.1
    temperature: float = 0.2
    sharpness: float = 2.0
    smoothing: float = 0.05

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise NaturalTracesError(f"targets must be one of {', '.join(TARGETS)}, not {self.targets}")


class Student(nn.Module):
    """A backbone with an embedding, compared with the bank of natural traces, and a classifying head.

    Args:
        backbone: Images -> features.
        size: Length of the embedding.
    """

    def __init__(self, backbone: Backbone, size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection(backbone.width, size)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(backbone.width, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W), 0..255 -> unit-norm embeddings (n, size), logits of being fake (n,)."""
        features = self.backbone(images)
        return F.normalize(self.projection(features), dim=1), self.head(features)[:, 0]

    def start_from(self, teacher: TraceEncoder) -> None:
        """Take over backbone and homogeneous head of stage 1."""
        self.backbone.load_state_dict(teacher.backbone.state_dict())
        self.projection.load_state_dict(teacher.homogeneous.state_dict())


def targets_for(similarity: Tensor, kind: str, temperature: float) -> Tensor:
    """Make the targets of the contrast from the teacher's similarities.

    Args:
        similarity: Cosine similarities of photographs to the bank, (n, k).
        kind: One of `TARGETS`.
        temperature: Of soft targets.

    Returns:
        (n, k), rows sum to 1.
    """
    if kind == "soft":
        return soft_targets(similarity, temperature)
    if kind == "hard":
        return F.one_hot(similarity.argmax(dim=1), similarity.shape[1]).float()
    return torch.full_like(similarity, 1 / similarity.shape[1], dtype=torch.float32)


class SoftTransfer(Task):
    """Stage 2 as a task of the training loop.

    Args:
        student: Network to train.
        teacher: Frozen encoder of stage 1.
        bank: Natural traces, unit norm, (k, size).
        terms: Weights of the loss.
        learning_rate: Of AdamW, at its highest.
        decay: Of the moving average.
    """

    splittable = False
    bank: Tensor

    def __init__(
        self,
        student: Student,
        teacher: TraceEncoder,
        bank: Tensor,
        terms: TransferTerms | None = None,
        learning_rate: float = 2e-3,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)
        self.average = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("bank", bank)
        self.terms, self.rate, self.decay = terms or TransferTerms(), learning_rate, decay

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for the student."""
        return {"main": torch.optim.AdamW(self.student.parameters(), lr=self.rate, weight_decay=0.02)}

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Warm up, then fall along a cosine."""
        return warm_cosine(step, steps)

    def losses(self, turn: str, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the weighted sum and each term."""
        images, fake = batch["image"], batch["label"] == 1
        embedding, logits, traces, fake = gathered(*self.student(images), self._traces(images, fake), fake)
        parts = {"classification": _classification(logits, fake, self.terms.smoothing)}
        if bool(fake.any()) and not bool(fake.all()) and self._contrasts:
            parts |= self._contrast(traces[~fake], embedding[~fake], embedding[fake])
        weighted = [getattr(self.terms, name) * value for name, value in parts.items()]
        return {"loss": torch.stack(weighted).sum(), **{name: value.detach() for name, value in parts.items()}}

    @property
    def _contrasts(self) -> bool:
        return self.terms.contrast != 0 or self.terms.repulsion != 0

    @torch.no_grad()
    def _traces(self, images: Tensor, fake: Tensor) -> Tensor:
        """Ask the teacher about photographs, if its word counts; the rows of fakes are zero: float (n, size)."""
        traces = self.bank.new_zeros(len(images), self.bank.shape[1])
        if self._contrasts and not bool(fake.all()):
            traces[~fake] = self.teacher.eval().traces(images[~fake])
        return traces

    def _contrast(self, traces: Tensor, anchors: Tensor, fakes: Tensor) -> dict[str, Tensor]:
        terms = self.terms
        targets = targets_for(traces @ self.bank.T, terms.targets, terms.teacher_temperature)
        targets = torch.cat([targets, targets.new_zeros(len(anchors), len(fakes))], dim=1)
        hardness = hardness_weights(anchors, fakes, terms.sharpness)
        weights = torch.cat([hardness.new_ones(len(anchors), len(self.bank)), hardness], dim=1)
        keys = torch.cat([self.bank, fakes])
        return {
            "contrast": soft_contrastive_loss(anchors, keys, targets, terms.temperature, weights=weights),
            "repulsion": repulsion_loss(fakes, self.bank, terms.temperature),
        }

    def after_step(self, step: int) -> None:
        """Move the average; early on it follows quickly."""
        update_average(self.average, self.student, min(self.decay, (1 + step) / (10 + step)))


def _classification(logits: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with softened labels."""
    targets = fake.float() * (1 - 2 * smoothing) + smoothing
    return F.binary_cross_entropy_with_logits(logits.float(), targets)
