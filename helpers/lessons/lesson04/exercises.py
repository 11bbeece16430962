"""Exercises of lesson 04: the soft contrastive loss, its gradient, and the targets that make it SupCon."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.course.compare import agrees, difference
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.detectors.ntf.stage2_losses import soft_contrastive_loss, soft_targets

__all__ = ["EXERCISES", "check"]

# 4.1 · The loss of a batch

NEGATIVES = "Fakes have target 0, and yet they matter: does your sum in the denominator run over all keys?"
MEAN = "Is it a mean over the anchors? The same batch twice must give the same loss."
OVERFLOW = "exp(200) is no float32: which torch function gives the logarithm of a sum of exponentials in one go?"


def batch_loss(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Reference: mean over anchors of the cross-entropy between targets and the softmax over all keys.

    Args:
        anchors: unit norm, (N, D).
        keys: unit norm, (K, D).
        targets: (N, K), rows sum to 1.
        temperature: above 0.

    Returns:
        A scalar.
    """
    return soft_contrastive_loss(anchors, keys, targets, temperature)


def _unit(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)


def _batch(temperature: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, float]:
    """Six anchors, four traces with soft targets, three fakes with target 0."""
    anchors, keys = _unit(6, seed), _unit(7, seed + 1)
    targets = F.pad(soft_targets(_unit(6, seed + 2) @ keys[:4].T, 0.2), (0, 3))
    return anchors, keys, targets, temperature


def _feels_fakes(attempt: Function) -> str | None:
    anchors, keys, targets, temperature = _batch()
    nearer = torch.cat([keys[:4], F.normalize(anchors[:3] + 0.1 * keys[4:], dim=1)])
    rise = float(attempt(anchors, nearer, targets, temperature)) - float(attempt(anchors, keys, targets, temperature))
    return None if rise > 1e-3 else f"fakes came nearer and the loss rose by {rise:.3g}"


def _twice_the_batch(attempt: Function) -> str | None:
    anchors, keys, targets, temperature = _batch()
    double = attempt(anchors.repeat(2, 1), keys, targets.repeat(2, 1), temperature)
    return difference(double, attempt(anchors, keys, targets, temperature))


def _single_precision() -> tuple[Tensor, Tensor, Tensor, float]:
    anchors, keys, targets, _ = _batch()
    return anchors.float(), torch.cat([anchors[:4], keys[4:]]).float(), targets.float(), 0.005


def _positives_alone(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    scaled = anchors @ keys.T / temperature
    shares = torch.log_softmax(scaled.masked_fill(targets.sum(dim=0) == 0, -1e9), dim=1)
    return -(targets * shares).sum(dim=1).mean()


def _plain_exponentials(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    powers = (anchors @ keys.T / temperature).exp()
    return -(targets * (powers / powers.sum(dim=1, keepdim=True)).log()).sum(dim=1).mean()


LOSS = Exercise(
    id="4.1",
    title="The loss of a batch",
    reference=batch_loss,
    properties=(
        Property("a fake that comes nearer raises the loss", _feels_fakes, hint=NEGATIVES),
        Property("the same batch twice has the same loss", _twice_the_batch, hint=MEAN),
        Property(
            "stays finite in single precision at temperature 0.005",
            agrees(batch_loss, _single_precision, tolerance=1e-4),
            hint=OVERFLOW,
        ),
        Property(
            "agrees with the reference",
            agrees(batch_loss, lambda: _batch(0.15, seed=7)),
            hint="Divide the similarities by the temperature, then weigh every logarithm by its target.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("traces alone in the denominator", _positives_alone, hint=NEGATIVES),
        WrongAnswer("a sum over anchors", lambda *inputs: batch_loss(*inputs) * len(inputs[0]), hint=MEAN),
        WrongAnswer("plain exponentials overflow", _plain_exponentials, hint=OVERFLOW),
    ),
)

# 4.2 · The gradient by hand

MATCHED = "If the student says exactly what the teacher says, nothing is left to learn: the gradient must vanish."
DOWNHILL = "Descent goes against the gradient: after a small step of yours, the loss must be smaller."
CHAIN = "Which factor does the chain rule add, if the softmax sees similarity / temperature?"
PER_ANCHOR = "The loss is a mean over anchors, so each anchor's gradient is divided by their number."


def similarity_gradient(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Reference: gradient of the loss in the similarities, from autograd.

    Args:
        similarity: anchors @ keys.T, (N, K), before the division by the temperature.
        targets: (N, K), rows sum to 1.
        temperature: above 0.

    Returns:
        (N, K).
    """
    leaf = similarity.detach().clone().requires_grad_()
    keys = torch.eye(leaf.shape[1], dtype=leaf.dtype)
    (found,) = torch.autograd.grad(soft_contrastive_loss(leaf, keys, targets, temperature), leaf)
    return found


def _similarity(temperature: float = 0.3, seed: int = 3) -> tuple[Tensor, Tensor, float]:
    anchors, keys, targets, _ = _batch(seed=seed)
    return anchors @ keys.T, targets, temperature


def _vanishes(attempt: Function) -> str | None:
    similarity, _, temperature = _similarity()
    matched = torch.softmax(similarity / temperature, dim=1)
    return difference(attempt(similarity, matched, temperature), torch.zeros_like(similarity))


def _descends(attempt: Function) -> str | None:
    similarity, targets, temperature = _similarity()
    keys = torch.eye(similarity.shape[1], dtype=similarity.dtype)
    step = similarity - 1e-3 * attempt(similarity, targets, temperature)
    before, after = (float(soft_contrastive_loss(s, keys, targets, temperature)) for s in (similarity, step))
    return None if after < before else f"after the step the loss had risen by {after - before:.3g}"


def _one_anchor(temperature: float) -> tuple[Tensor, Tensor, float]:
    similarity, targets, _ = _similarity()
    return similarity[:1], targets[:1], temperature


def _logarithm(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return (torch.log_softmax(similarity / temperature, dim=1) - targets) / temperature / len(targets)


GRADIENT = Exercise(
    id="4.2",
    title="The gradient by hand",
    reference=similarity_gradient,
    properties=(
        Property("a student that matches its teacher feels nothing", _vanishes, hint=MATCHED),
        Property("a step against the gradient lowers the loss", _descends, hint=DOWNHILL),
        Property(
            "one anchor, any temperature",
            agrees(similarity_gradient, lambda: _one_anchor(0.1)),
            hint=CHAIN,
        ),
        Property("agrees with autograd", agrees(similarity_gradient, _similarity), hint=PER_ANCHOR),
    ),
    wrong_answers=(
        WrongAnswer("the logarithm of the softmax", _logarithm, hint=MATCHED),
        WrongAnswer("target minus softmax", lambda *inputs: -similarity_gradient(*inputs), hint=DOWNHILL),
        WrongAnswer("no factor of the temperature", lambda s, p, t: similarity_gradient(s, p, t) * t, hint=CHAIN),
        WrongAnswer(
            "not divided by the anchors", lambda s, p, t: similarity_gradient(s, p, t) * len(s), hint=PER_ANCHOR
        ),
    ),
)

# 4.3 · Targets that make SupCon

SELF = "An image is no positive of its own: what stands on the diagonal of your targets?"
ROWS = "Targets are probabilities: every row sums to 1, however large the class."
RIVALS = "Who may stand in the denominator? Everybody but the image itself, other classes above all."


def supcon_targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Reference: equal targets for the other images of a class, and a mask of who takes part.

    Args:
        labels: class of each image, integers (N,); every class has at least two images.

    Returns:
        Targets, float64 (N, N), and mask, bool (N, N): all but the image itself.
    """
    others = ~torch.eye(len(labels), dtype=torch.bool)
    same = (labels[:, None] == labels[None, :]) & others
    return same.double() / same.sum(dim=1, keepdim=True), others


def _labels() -> tuple[Tensor]:
    return (torch.tensor([0, 1, 0, 2, 1, 0, 2, 0]),)


def _no_self(attempt: Function) -> str | None:
    targets, _ = attempt(*_labels())
    largest = float(torch.as_tensor(targets).diagonal().abs().max())
    return None if largest == 0 else f"the diagonal holds up to {largest:.3g}"


def _sums_to_one(attempt: Function) -> str | None:
    targets, _ = attempt(*_labels())
    return difference(torch.as_tensor(targets).double().sum(dim=1), torch.ones(8))


def _admits_all_others(attempt: Function) -> str | None:
    _, mask = attempt(*_labels())
    return difference(torch.as_tensor(mask), supcon_targets(*_labels())[1])


def _with_self(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = (labels[:, None] == labels[None, :]).double()
    return same / same.sum(dim=1, keepdim=True), torch.ones(len(labels), len(labels), dtype=torch.bool)


def _class_alone(labels: Tensor) -> tuple[Tensor, Tensor]:
    targets, _ = supcon_targets(labels)
    return targets, targets > 0


def _counts(labels: Tensor) -> tuple[Tensor, Tensor]:
    targets, mask = supcon_targets(labels)
    return (targets > 0).double(), mask


SUPCON = Exercise(
    id="4.3",
    title="Targets that make SupCon",
    reference=supcon_targets,
    properties=(
        Property("no image is its own positive", _no_self, hint=SELF),
        Property("targets are probabilities", _sums_to_one, hint=ROWS),
        Property("all other images take part", _admits_all_others, hint=RIVALS),
        Property(
            "agrees with the reference",
            agrees(supcon_targets, _labels),
            hint="All positives of an image weigh the same.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("the image itself counts", _with_self, hint=SELF),
        WrongAnswer("ones instead of shares", _counts, hint=ROWS),
        WrongAnswer("only the class in the denominator", _class_alone, hint=RIVALS),
    ),
)

EXERCISES = (LOSS, GRADIENT, SUPCON)

register(EXERCISES)
