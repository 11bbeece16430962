"""Natural-trace forensics, reconstructed: stage 1 maps the traces, stage 2 transfers them, the score joins two views.

The frozen encoder of stage 1 stays part of the detector, as its teacher and for comparison (score "stage1").
The classifying head knows the generators that it has seen. The proximity to the natural traces asks how much an image
resembles photographs. Both are put on one scale on training crops (each minus its mean over reals, divided by its
spread there) and, for the score "both", added up.

An independent reconstruction of Liang et al., AAAI 2025 (doi 10.1609/aaai.v39i25.34826).

Taught in: notebooks 03 and 04.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from helpers.detector import Detector, DetectorConfig, register
from helpers.fit import fit
from helpers.networks import Backbone, build_backbone
from helpers.soft_transfer import SoftTransfer, Student, TransferTerms
from helpers.trace_mapping import TraceEncoder, TraceTerms, map_traces, natural_traces
from helpers.traces import proximity
from helpers.training_data import BalancedCrops, ImageSet
from helpers.views import BREAKERS

__all__ = ["NaturalTraceDetector", "backbone_of"]

BANK_TEMPERATURE = 0.1


def backbone_of(config: DetectorConfig) -> Backbone:
    """Make the backbone that a configuration names."""
    weights = Path(config.backbone_weights) if config.backbone_weights else None
    return build_backbone(config.backbone, config.view, weights=weights)


@register
class NaturalTraceDetector(Detector):
    """Stage 1, stage 2, and a score of head and proximity.

    Args:
        config: Settings. With `mapping_steps = 0` stage 1 is left out: the traces are those of an untrained encoder.
    """

    name: ClassVar[str] = "ntf"
    bank: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__(config)
        self.student = Student(backbone_of(config), config.embedding)
        self.teacher = TraceEncoder(backbone_of(config), config.embedding)
        self.register_buffer("bank", torch.zeros(config.prototypes, config.embedding))
        self.register_buffer("centre", torch.zeros(3))
        self.register_buffer("spread", torch.ones(3))

    def learn(self, train: ImageSet, out: Path) -> None:
        """Run both stages."""
        config = self.config
        self.map(train, out / "stage1")
        self.student.start_from(self.teacher)
        self.bank = natural_traces(
            self.teacher, train, config.augmentation, count=config.prototypes, seed=config.seed, crops=512
        )
        task = SoftTransfer(
            self.student, self.teacher, self.bank, TransferTerms(**config.transfer), learning_rate=config.learning_rate
        )
        crops = BalancedCrops(train, config.augmentation, config.seed)
        trained: Any = fit(task, crops, config.fit_config(config.steps), out / "stage2").task
        self.student.load_state_dict(trained.average.state_dict())
        self._put_on_one_scale(BalancedCrops(train, config.augmentation, config.seed + 1))

    def map(self, train: ImageSet, out: Path) -> None:
        """Run stage 1: train the teacher on photographs alone. Without steps it stays as it is, untrained."""
        config = self.config
        if config.mapping_steps:
            map_traces(
                self.teacher,
                train,
                config.fit_config(config.mapping_steps, max(config.batch_size // 4, 4)),
                out,
                augmentation=config.augmentation,
                terms=TraceTerms(**config.terms),
                kinds=config.breakers or tuple(BREAKERS),
                learning_rate=config.learning_rate,
            )
        self.teacher.eval()

    @torch.no_grad()
    def _put_on_one_scale(self, crops: BalancedCrops, count: int = 512) -> None:
        """Centre and scale the three parts by their values on crops of training photographs."""
        self.eval()
        real = range(0, count, 2)  # even entries are real
        found = torch.cat([self.parts(crops[index]["image"][None]) for index in real])
        self.centre, self.spread = found.mean(dim=0), found.std(dim=0) + 1e-3

    def parts(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n, 3): logit of the head, distance from the traces in stage 2 and in stage 1."""
        embedding, logits = self.student(images)
        before = self.teacher.traces(images)
        distances = [-proximity(vectors, self.bank, BANK_TEMPERATURE) for vectors in (embedding, before)]
        return torch.stack([logits.float(), *distances], dim=1)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,), higher means more fake."""
        head, after, before = ((self.parts(images) - self.centre) / self.spread).unbind(dim=1)
        scores: dict[str, Tensor] = {"head": head, "proximity": after, "both": (head + after) / 2, "stage1": before}
        return scores[self.config.score]

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> unit-norm embeddings, (n, d)."""
        embedding: Tensor = self.student(images)[0]
        return embedding
