"""Stage 1: learn the natural traces of photographs without seeing one fake.

An encoder with two heads sees kept and broken views of photographs (`helpers.pixels.views`). Its *homogeneous*
embedding must bring different photographs together and keep broken views away; its *heterogeneous* embedding must tell
photographs apart; the two must not repeat each other, and none may collapse. The natural traces are a small bank of
prototypes of the homogeneous embedding.

The losses are in `helpers.detectors.ntf.stage1_losses`; here they meet the network and the loop of `helpers.training`.
An independent reconstruction: the paper's equations are not public.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.data.image_set import ImageSet
from helpers.data.seeds import item_generator
from helpers.detectors.crops import Augmentation, PhotographViews
from helpers.detectors.networks import Backbone, CooccurrenceView
from helpers.detectors.ntf.stage1_losses import (
    decorrelation_loss,
    effective_rank,
    heterogeneous_loss,
    homogeneous_loss,
    prototypes,
    variance_floor,
)
from helpers.pixels.views import BREAKERS
from helpers.training import FitConfig, Task, fit, gathered
from helpers.training.schedule import warm_cosine

__all__ = [
    "TraceEncoder",
    "TraceMapping",
    "TraceTerms",
    "map_traces",
    "natural_traces",
    "projection",
]


@dataclass(frozen=True)
class TraceTerms:
    """Weights of the four terms of stage 1; 0 leaves a term out.

    Attributes:
        homogeneous: Different photographs attract, broken views repel.
        heterogeneous: Two crops of one photograph find each other.
        decorrelation: The two embeddings do not repeat each other.
        variance: No dimension collapses.
        temperature: Softness of both contrastive terms.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    homogeneous: float = 1.0
    heterogeneous: float = 0.5
    decorrelation: float = 1.0
    variance: float = 1.0
    temperature: float = 0.2


def projection(width: int, size: int) -> nn.Sequential:
    """Make a head of two layers: features of length `width` -> an embedding of length `size`."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))


class TraceEncoder(nn.Module):
    """A backbone with a homogeneous and a heterogeneous head, both with unit-norm outputs.

    Args:
        backbone: Images -> features.
        size: Length of either embedding.
    """

    def __init__(self, backbone: Backbone, size: int = 64) -> None:
        super().__init__()
        self.backbone = backbone
        self.homogeneous = projection(backbone.width, size)
        self.heterogeneous = projection(backbone.width, size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, H, W), 0..255 -> homogeneous and heterogeneous embeddings, unit norm, each (n, size)."""
        features = self.backbone(images)
        return F.normalize(self.homogeneous(features), dim=1), F.normalize(self.heterogeneous(features), dim=1)

    def describe(self, images: Tensor) -> Tensor:
        """Return what the linear model of photographs is fitted to: the view's counts, or else the features.

        Args:
            images: (n, 3, H, W), 0..255, or descriptions (n, d).

        Returns:
            float (n, d).
        """
        view = self.backbone.view
        description: Tensor = view(images) if isinstance(view, CooccurrenceView) else self.backbone(images)
        return description

    def traces(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> homogeneous embeddings, unit norm, (n, size)."""
        return F.normalize(self.homogeneous(self.backbone(images)), dim=1)


class TraceMapping(Task):
    """Stage 1 as a task of the training loop.

    Args:
        encoder: Network to train.
        terms: Weights of the loss.
        learning_rate: Of AdamW, at its highest.
    """

    splittable = False

    def __init__(self, encoder: TraceEncoder, terms: TraceTerms | None = None, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.encoder, self.terms, self.rate = encoder, terms or TraceTerms(), learning_rate

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for everything."""
        return {"main": torch.optim.AdamW(self.encoder.parameters(), lr=self.rate, weight_decay=0.02)}

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Warm up, then fall along a cosine."""
        return warm_cosine(step, steps)

    def losses(self, turn: str, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the weighted sum and each term; `rank` is the effective rank of the homogeneous embedding."""
        count = len(batch["first"])
        views = torch.cat([batch["first"], batch["second"], batch["broken"].flatten(0, 1)])
        homogeneous, heterogeneous = (_whole_batch(part, count) for part in self.encoder(views))
        (rows,), terms = gathered(batch["row"]), self.terms
        count = len(rows)
        kept, broken = homogeneous[: 2 * count], homogeneous[2 * count :]
        first, second = heterogeneous[:count], heterogeneous[count : 2 * count]
        # A photograph that was drawn twice would have to find itself and be told from itself.
        once = torch.tensor([int(row) not in rows[:place].tolist() for place, row in enumerate(rows)])
        # Of a few photographs, a batch may show one alone: then there is nothing to bring together.
        several = bool((rows != rows[0]).any())
        parts = {
            "homogeneous": homogeneous_loss(kept, rows.repeat(2), broken, terms.temperature)
            if several
            else 0 * kept.sum(),
            "heterogeneous": heterogeneous_loss(first[once], second[once], terms.temperature),
            "decorrelation": decorrelation_loss(kept, heterogeneous[: 2 * count]),
            "variance": variance_floor(homogeneous) + variance_floor(heterogeneous),
        }
        loss = sum((getattr(terms, name) * value for name, value in parts.items()), start=homogeneous.new_zeros(()))
        rank = torch.tensor(effective_rank(homogeneous.detach()), device=homogeneous.device)
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}, "rank": rank}


def _whole_batch(embedding: Tensor, count: int) -> Tensor:
    """Join the embeddings of all processes; first, second and broken views stay one after the other."""
    return torch.cat(gathered(embedding[:count], embedding[count : 2 * count], embedding[2 * count :]))


def map_traces(
    encoder: TraceEncoder,
    photographs: ImageSet,
    config: FitConfig,
    out: Path,
    *,
    augmentation: Augmentation | None = None,
    terms: TraceTerms | None = None,
    kinds: tuple[str, ...] = tuple(BREAKERS),
    learning_rate: float = 2e-3,
    views: Dataset[Any] | None = None,
    resume: bool = True,
) -> TraceEncoder:
    """Train an encoder on photographs alone.

    Args:
        encoder: Network; it is trained in place.
        photographs: Only the real rows are used.
        config: Steps, batch size, seed, devices.
        out: Folder for checkpoint and log.
        augmentation: How views are cut and encoded.
        terms: Weights of the loss.
        kinds: Ways to break traces.
        learning_rate: At its highest.
        views: A pool of described views (`Described`) to train on, instead of fresh ones.
        resume: Continue an interrupted run.

    Returns:
        The trained encoder, in evaluation mode.
    """
    dataset = views or PhotographViews(photographs, augmentation or Augmentation(), config.seed, kinds=kinds)
    result = fit(TraceMapping(encoder, terms, learning_rate), dataset, config, out, resume=resume)
    trained: Any = result.task
    encoder.load_state_dict(trained.encoder.state_dict())
    return encoder.eval()


@torch.no_grad()
def natural_traces(
    encoder: TraceEncoder,
    photographs: ImageSet,
    augmentation: Augmentation,
    *,
    count: int = 16,
    crops: int = 512,
    seed: int = 0,
) -> Tensor:
    """Gather the natural traces: prototypes of the homogeneous embeddings of kept views of photographs.

    Args:
        encoder: A trained encoder.
        photographs: Only the real rows are used.
        augmentation: How views are cut and encoded, as in training.
        count: Prototypes.
        crops: Views that they are made of.
        seed: Seed of views and k-means.

    Returns:
        Unit-norm prototypes, float32 (count, size).
    """
    views = PhotographViews(photographs, augmentation, seed + 1, kinds=("blur",))
    embeddings = []
    for start in range(0, crops, 64):
        batch = torch.stack([views[index]["first"] for index in range(start, min(start + 64, crops))])
        embeddings.append(encoder.eval().traces(batch.to(next(encoder.parameters()).device)))
    return prototypes(torch.cat(embeddings).cpu(), count, item_generator(seed, 0, 0))
