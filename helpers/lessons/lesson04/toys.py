"""Toys of stage 2: an anchor, traces and fakes on a circle, and a task that trains in a second."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.detectors.ntf.stage2_losses import hardness_weights, soft_contrastive_loss, soft_targets
from helpers.training import Task, gathered

__all__ = ["Circle", "CircleTask", "Pairs", "Pull", "effective_count", "information", "on_circle", "pulls"]


def on_circle(degrees: Sequence[float]) -> Tensor:
    """Place unit vectors on the circle: float64 (n, 2); 0 degrees is right, 90 is up."""
    angles = torch.tensor([math.radians(angle) for angle in degrees], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@dataclass(frozen=True)
class Circle:
    """One anchor among traces and fakes; angles in degrees.

    Attributes:
        anchor: The student's embedding of a photograph.
        teacher: The teacher's embedding of the same photograph.
        traces: The bank.
        fakes: Embeddings of fakes.
    """

    anchor: float = 90.0
    teacher: float = 122.0
    traces: tuple[float, ...] = (60.0, 115.0, 150.0)
    fakes: tuple[float, ...] = (78.0, 35.0, 5.0, 205.0, 270.0)


@dataclass(frozen=True)
class Pull:
    """What one anchor feels.

    Attributes:
        targets: Soft targets of the traces, (K,).
        shares: The student's softmax over traces and fakes, (K + M,).
        gradient: Of the loss in each similarity times the temperature, `shares - targets`, (K + M,): negative draws
            near, positive pushes away.
        turn: Force along the circle per unit of learning rate, positive for rising angles.
    """

    targets: Tensor
    shares: Tensor
    gradient: Tensor
    turn: float

    @property
    def nearest_share(self) -> float:
        """Share of the fakes' push that comes from the fake which pushes most, 0..1."""
        push = self.shares[len(self.targets) :]
        return float(push.max() / push.sum())


def pulls(circle: Circle, temperature: float, teacher_temperature: float = 0.1, sharpness: float = 0.0) -> Pull:
    """Compute the gradient that the soft contrastive loss puts on every key, and on the anchor.

    Args:
        circle: Who lies where.
        temperature: tau_s of the student, above 0.
        teacher_temperature: tau_t of the targets, above 0.
        sharpness: Of the weights of near fakes.

    Returns:
        The pulls, in float64.
    """
    anchor, teacher = on_circle([circle.anchor]), on_circle([circle.teacher])
    traces, fakes = on_circle(circle.traces), on_circle(circle.fakes)
    targets = F.pad(soft_targets(teacher @ traces.T, teacher_temperature), (0, len(fakes)))
    weights = torch.cat([torch.ones(1, len(traces)), hardness_weights(anchor, fakes, sharpness)], dim=1)
    keys = torch.cat([traces, fakes])
    shares = torch.softmax(anchor @ keys.T / temperature + weights.log(), dim=1)
    leaf = anchor.clone().requires_grad_()
    (slope,) = torch.autograd.grad(soft_contrastive_loss(leaf, keys, targets, temperature, weights=weights), leaf)
    turn = -float((slope * on_circle([circle.anchor + 90])).sum())
    return Pull(targets[0, : len(traces)], shares[0], (shares - targets)[0], turn)


def effective_count(targets: Tensor) -> Tensor:
    """Count how many traces a row of targets speaks of: exp(entropy), 1 for one-hot, K for uniform; (N, K) -> (N,)."""
    count: Tensor = torch.special.entr(targets).sum(dim=1).exp()
    return count


def information(targets: Tensor) -> float:
    """Measure how much a target tells about which photograph it belongs to.

    Args:
        targets: Rows sum to 1, (N, K).

    Returns:
        Entropy of the mean target minus mean entropy of the targets, in nat: from 0 (all rows alike) to ln K.

    >>> round(information(torch.eye(4)) / math.log(4), 6)
    1.0
    """
    entropies = torch.special.entr(torch.cat([targets.mean(dim=0, keepdim=True), targets])).sum(dim=1)
    return float(entropies[0] - entropies[1:].mean())


class Pairs(Dataset[dict[str, Tensor]]):
    """Made-up photographs and fakes: two clouds of eight numbers each, in pairs.

    Args:
        count: Pairs.
        seed: Seed of the clouds.
    """

    def __init__(self, count: int = 64, seed: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.photographs = torch.randn(count, 8, generator=rng, dtype=torch.float64)
        self.fakes = torch.randn(count, 8, generator=rng, dtype=torch.float64) + 0.7

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"photograph": self.photographs[index], "fake": self.fakes[index]}


class CircleTask(Task):
    """Stage 2 in small: a network of two layers that puts photographs near three traces on the circle.

    Args:
        coupled: Whether the batch's own fakes are the negatives, as in stage 2; else two fixed points are.
        seed: Seed of the weights.
        gather: Whether the fakes of all processes are the negatives, as in stage 2; else those of the own share.
    """

    bank: Tensor
    fixed: Tensor

    def __init__(self, coupled: bool, seed: int = 0, *, gather: bool = False) -> None:
        super().__init__()
        self.coupled, self.splittable, self.gather = coupled, not coupled, gather
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2)).double()
        self.register_buffer("bank", on_circle([60, 115, 150]))
        self.register_buffer("fixed", on_circle([210, 300]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Plain gradient descent, so that equal gradients give equal weights."""
        return {"main": torch.optim.SGD(self.network.parameters(), lr=0.05)}

    def losses(self, turn: str, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the soft contrastive loss; the photograph itself says where its targets lie."""
        anchors = F.normalize(self.network(batch["photograph"]), dim=1)
        negatives = F.normalize(self.network(batch["fake"]), dim=1) if self.coupled else self.fixed
        similarity = F.normalize(batch["photograph"][:, :2], dim=1) @ self.bank.T
        if self.gather:
            anchors, negatives, similarity = gathered(anchors, negatives, similarity)
        targets = F.pad(soft_targets(similarity, 0.1), (0, len(negatives)))
        return {"loss": soft_contrastive_loss(anchors, torch.cat([self.bank, negatives]), targets, 0.2)}
