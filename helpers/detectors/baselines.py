"""Other detectors, with the same interface, the same images and the same loop as `helpers.detectors.ntf.detector`.

- `spectrum`: logistic regression on the radial power spectrum (the idea of Durall et al., arXiv 2003.01826).
- `cross_entropy`: a network and cross-entropy from scratch. The configuration names what it sees: the pixels
  (CNNDetection, arXiv 1912.11035), neighbouring-pixel residuals (NPR, arXiv 2312.10461), or what `ntf` sees.
- `supcon`: supervised contrastive learning, then a linear head (arXiv 2004.11362).
- `one_class`: stage 1 on photographs alone, then a Gaussian; no fake is seen.
- `probe`, `neighbours`: a frozen timm backbone with weights from a local file, and a linear head or its nearest
  neighbours (UnivFD, arXiv 2302.10174).
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from helpers.data.image_set import ImageSet
from helpers.data.images import luminance
from helpers.detectors.base import Detector, batches
from helpers.detectors.config import CropConfig, DetectorError, NetworkConfig
from helpers.detectors.crops import BalancedCrops, Described
from helpers.detectors.linear import LinearScore
from helpers.detectors.networks import backbone_of
from helpers.detectors.ntf.detector import Pools, Stage1Config, fit_stage1, make_pools, training_crops
from helpers.detectors.ntf.stage1 import TraceEncoder
from helpers.detectors.ntf.stage2 import SoftTransfer, Student, TransferTerms
from helpers.detectors.ntf.stage2_losses import soft_contrastive_loss
from helpers.statistics import hann_periodogram
from helpers.training import Task, fit
from helpers.training.schedule import update_average, warm_cosine

__all__ = [
    "BASELINES",
    "CrossEntropy",
    "FoundationNeighbours",
    "FoundationProbe",
    "OneClass",
    "SpectrumRegression",
    "SupCon",
]

RINGS = 32


def examples(crops: BalancedCrops | Described, count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Take `count` labelled examples: crops uint8 (count, 3, S, S) or descriptions (count, d), and labels (count,)."""
    items = [crops[index] for index in range(min(count, len(crops)))]
    images = torch.stack([item["image"] for item in items])
    return images, np.array([int(item["label"]) for item in items], np.int64)


def crop_batches(train: ImageSet, config: CropConfig, count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Draw `count` fresh training crops."""
    return examples(BalancedCrops(train, config.augmentation, config.seed, length=count), count)


class SpectrumRegression(Detector):
    """Logistic regression on the logarithm of the radial power spectrum of the luma."""

    name: ClassVar[str] = "spectrum"

    class Config(CropConfig):
        """How training crops are cut; there is nothing else to set."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.linear = LinearScore(RINGS)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> mean log power in rings of equal width up to 0.5 cycles per pixel, (n, 32)."""
        plane = luminance(images.float() / 255)
        power = torch.log10(hann_periodogram(plane) + 1e-8).flatten(1)
        rows, columns = torch.fft.fftfreq(plane.shape[-2]), torch.fft.rfftfreq(plane.shape[-1])
        ring = (torch.hypot(rows[:, None], columns[None]).flatten() * 2 * RINGS).long().to(power.device)
        inside = ring < RINGS
        total = power.new_zeros(len(power), RINGS).index_add_(1, ring[inside], power[:, inside])
        return total / torch.bincount(ring[inside], minlength=RINGS).clamp(min=1)

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Fit on 6,000 crops."""
        images, labels = crop_batches(train, self.config, 6000)
        self.linear.fit(torch.cat([self.embed(part) for part in batches(images, 256)]), labels)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,)."""
        logits: Tensor = self.linear(self.embed(images))
        return logits


class _Supervised(Detector):
    """A network that learns from both labels."""

    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.student = Student(backbone_of(config), config.embedding)

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> features of the backbone, (n, d)."""
        features: Tensor = self.student.backbone(images)
        return features


class CrossEntropyConfig(NetworkConfig):
    """Settings of `CrossEntropy`.

    Attributes:
        smoothing: Share by which the labels of the head are softened.
    """

    smoothing: float = Field(default=0.05, ge=0, lt=0.5)


class CrossEntropy(_Supervised):
    """A network, a head, and cross-entropy from scratch: what stage 1 and the soft contrast are measured against."""

    name: ClassVar[str] = "cross_entropy"
    Config = CrossEntropyConfig
    config: CrossEntropyConfig

    def fit_weights(self, train: ImageSet, out: Path, pools: Pools | None = None) -> None:
        """Train by stage 2's task with its contrast switched off, so that nothing else differs."""
        config = self.config
        terms = TransferTerms(contrast=0, repulsion=0, smoothing=config.smoothing)
        teacher = TraceEncoder(backbone_of(config), config.embedding)
        bank = torch.zeros(1, config.embedding)
        task = SoftTransfer(self.student, teacher, bank, terms, learning_rate=config.learning_rate)
        crops = training_crops(train, config, self.student.backbone, pools)
        task.average.load_state_dict(self.student.state_dict())  # the whitening, where there is one
        trained: Any = fit(task, crops, config.fit_config(config.steps), out).task
        self.student.load_state_dict(trained.average.state_dict())
        self.cpu()  # training may have moved parts to another device

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,)."""
        logits: Tensor = self.student(images)[1]
        return logits.float()


class SupConTask(Task):
    """Supervised contrastive learning: images of one class attract, whatever generator or source they are of."""

    splittable = False

    def __init__(self, student: Student, learning_rate: float, temperature: float = 0.2) -> None:
        super().__init__()
        self.student, self.rate, self.temperature = student, learning_rate, temperature
        self.average = copy.deepcopy(student).requires_grad_(False)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for the student."""
        return {"main": torch.optim.AdamW(self.student.parameters(), lr=self.rate, weight_decay=0.02)}

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Warm up, then fall along a cosine."""
        return warm_cosine(step, steps)

    def losses(self, turn: str, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Compute SupCon's loss ("out" form) over the batch."""
        embedding, labels = self.student(batch["image"])[0], batch["label"]
        others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = ((labels[:, None] == labels[None, :]) & others).to(embedding.dtype)
        paired = same.sum(dim=1) > 0
        targets = same[paired] / same[paired].sum(dim=1, keepdim=True)
        loss = soft_contrastive_loss(embedding[paired], embedding, targets, self.temperature, mask=others[paired])
        return {"loss": loss}

    def after_step(self, step: int) -> None:
        """Move the average."""
        update_average(self.average, self.student, min(0.99, (1 + step) / (10 + step)))


class SupCon(_Supervised):
    """Supervised contrastive learning, then a linear head on the frozen features."""

    name: ClassVar[str] = "supcon"

    class Config(NetworkConfig):
        """Settings of the network."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.linear = LinearScore(self.student.backbone.width)

    def fit_weights(self, train: ImageSet, out: Path, pools: Pools | None = None) -> None:
        """Train the embedding, then the head."""
        config = self.config
        task = SupConTask(self.student, config.learning_rate)
        crops = training_crops(train, config, self.student.backbone, pools)
        task.average.load_state_dict(self.student.state_dict())  # the whitening, where there is one
        trained: Any = fit(task, crops, config.fit_config(config.steps), out).task
        self.student.load_state_dict(trained.average.state_dict())
        self.cpu().eval()  # training may have moved parts to another device
        images, labels = examples(crops, 4096)
        with torch.no_grad():
            features = torch.cat([self.embed(part) for part in batches(images, 64)])
        self.linear.fit(features, labels)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,)."""
        logits: Tensor = self.linear(self.embed(images))
        return logits


class OneClass(Detector):
    """Stage 1 and a Gaussian around the embeddings of photographs: no fake is seen in training.

    The threshold still comes from validation images of both labels.
    """

    name: ClassVar[str] = "one_class"

    class Config(Stage1Config):
        """Settings of stage 1; there is nothing else to set."""

    config: Config
    mean: Tensor
    whitening: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # Drawn first and dropped: with one seed, the teacher starts where that of `ntf` starts, which has a student.
        Student(backbone_of(config), config.embedding)
        self.teacher = TraceEncoder(backbone_of(config), config.embedding)
        width = self.teacher.backbone.width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.zeros(width, width))

    def fit_weights(self, train: ImageSet, out: Path, pools: Pools | None = None) -> None:
        """Run stage 1, then estimate mean and (shrunken) covariance of features of training photographs."""
        from sklearn.covariance import LedoitWolf

        pools = pools or (make_pools(train, self.config) if self.config.pool else None)
        crops = training_crops(train, self.config, self.teacher.backbone, pools)
        fit_stage1(self.teacher, train, self.config, out, pools)
        self.eval()
        images, labels = examples(crops, 4096)
        with torch.no_grad():
            features = torch.cat([self.teacher.backbone(part) for part in batches(images[labels == 0], 64)])
        fitted = LedoitWolf().fit(features.double().numpy())
        values, vectors = np.linalg.eigh(fitted.covariance_)
        self.mean = torch.from_numpy(fitted.location_).float()
        self.whitening = torch.from_numpy(vectors / np.sqrt(values)).float()

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> root mean squared Mahalanobis distance, (n,)."""
        white: Tensor = (self.embed(images) - self.mean) @ self.whitening
        return white.square().mean(dim=1).sqrt()

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> features of the teacher's backbone, (n, d)."""
        features: Tensor = self.teacher.backbone(images)
        return features


class FoundationConfig(CropConfig):
    """Settings of a frozen backbone.

    Attributes:
        backbone: "tracenet", "cooccurrence" or a timm name.
        view: What the backbone sees, of `helpers.detectors.networks.INPUT_CHANNELS`.
        backbone_weights: Safetensors file for a timm backbone; training needs it.
    """

    backbone: str = "tracenet"
    view: str = "bank"
    backbone_weights: str = ""

    def without_files(self) -> Self:
        """Leave the file out that the backbone came from."""
        return self.changed(backbone_weights="")


class _Foundation(Detector):
    """A frozen timm backbone with weights from a local file."""

    config: FoundationConfig

    def __init__(self, config: FoundationConfig) -> None:
        super().__init__(config)
        self.backbone = backbone_of(config).requires_grad_(False)

    def _training_features(self, train: ImageSet, count: int = 2048) -> tuple[Tensor, NDArray[np.int64]]:
        if not self.config.backbone_weights:
            raise DetectorError(f"{self.name}: needs backbone_weights, a local safetensors file")
        self.eval()
        images, labels = crop_batches(train, self.config, count)
        with torch.no_grad():
            return torch.cat([self.embed(part) for part in batches(images, 64)]), labels

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> features, (n, d)."""
        features: Tensor = self.backbone(images)
        return features


class FoundationProbe(_Foundation):
    """Logistic regression on features of a frozen backbone."""

    name: ClassVar[str] = "probe"

    class Config(FoundationConfig):
        """Settings of the backbone."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.linear = LinearScore(self.backbone.width)

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Fit the head on 2,048 crops."""
        self.linear.fit(*self._training_features(train))

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,)."""
        logits: Tensor = self.linear(self.embed(images))
        return logits


class FoundationNeighbours(_Foundation):
    """Similarity to the nearest training fakes minus that to the nearest training photographs."""

    name: ClassVar[str] = "neighbours"

    class Config(FoundationConfig):
        """Settings of the backbone."""

    rows: Tensor
    fake: Tensor
    count: ClassVar[int] = 2048
    nearest: ClassVar[int] = 9

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("rows", torch.zeros(self.count, self.backbone.width))
        self.register_buffer("fake", torch.zeros(self.count, dtype=torch.bool))

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        """Keep the features of 2,048 crops."""
        features, labels = self._training_features(train, self.count)
        self.rows, self.fake = F.normalize(features, dim=1), torch.from_numpy(labels == 1)

    def logit(self, images: Tensor) -> Tensor:
        """(n, 3, H, W), 0..255 -> (n,)."""
        similarity = F.normalize(self.embed(images), dim=1) @ self.rows.T
        fake, real = (similarity[:, chosen].topk(self.nearest).values.mean(dim=1) for chosen in (self.fake, ~self.fake))
        return fake - real


_KINDS = (SpectrumRegression, CrossEntropy, SupCon, OneClass, FoundationProbe, FoundationNeighbours)
BASELINES: Mapping[str, type[Detector]] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""The baselines by name."""
