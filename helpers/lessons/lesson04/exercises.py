"""Exercises of lesson 04: the soft contrastive loss, its gradient, and the targets that make it SupCon."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.course.compare import agrees, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.detectors.ntf.stage2_losses import soft_contrastive_loss, soft_targets

__all__ = ["EXERCISES", "check"]

# 4.1 · The loss of a batch

NEGATIVES = "Fakes have target 0, and yet they matter: does your sum in the denominator run over all keys?"
MEAN = "Is it a mean over the anchors? The same batch twice must give the same loss."
OVERFLOW = "exp(200) is no float32, and a softmax rounds to 0: take the logarithm of the sum of exponentials in one go."
SIGN = "A cross-entropy is never below 0: which of your two terms should carry the minus sign?"
TIMES = "A low temperature must make differences larger: do you multiply by it where you should divide?"
ACROSS = "Each anchor has a softmax of its own, over keys: along which dimension do you sum?"
ENTROPY = "You have taken the entropy of the targets away, as KL divergences do: the formula above keeps it."
TEACHER = (
    "Every trace has its own weight, the teacher's: do you use the targets themselves, or only where they are above 0?"
)
ENTRIES = "A mean over all entries divides by the keys as well: sum over keys, then take the mean over anchors."


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


def _across_anchors(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return -(targets * torch.log_softmax(anchors @ keys.T / temperature, dim=0)).sum(dim=1).mean()


def _times_temperature(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return batch_loss(anchors, keys, targets, 1 / temperature)


def _without_entropy(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    entropy: Tensor = torch.special.entr(targets).sum(dim=1).mean()
    return batch_loss(anchors, keys, targets, temperature) - entropy


def _all_alike(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    positives = (targets > 0).to(targets.dtype)
    return batch_loss(anchors, keys, positives / positives.sum(dim=1, keepdim=True), temperature)


def _over_entries(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return batch_loss(anchors, keys, targets, temperature) / len(keys)


def _row_by_row(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> float:
    """A right answer in loops; the largest exponent is taken out by hand."""
    total = 0.0
    for anchor, row in zip(anchors.double(), targets.double(), strict=True):
        s = keys.double() @ anchor / temperature
        log_denominator = s.max() + (s - s.max()).exp().sum().log()
        total += float((row * (log_denominator - s)).sum())
    return total / len(anchors)


def _library_loss(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(anchors @ keys.T / temperature, targets)


def _log_softmax(anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> Tensor:
    logarithms = torch.log_softmax(torch.einsum("nd,kd->nk", anchors, keys) / temperature, dim=-1)
    return -(targets * logarithms).sum() / len(anchors)


LOSS = Exercise(
    id="4.1",
    is_used=True,
    title="The loss of a batch",
    reference=batch_loss,
    properties=(
        Property(
            "the loss has the right sign", unlike(lambda *a: -batch_loss(*a), _batch, "minus the loss"), hint=SIGN
        ),
        Property(
            "similarities are divided by the temperature",
            unlike(_times_temperature, _batch, "a product with the temperature"),
            hint=TIMES,
        ),
        Property("the softmax runs over keys", unlike(_across_anchors, _batch, "a softmax over anchors"), hint=ACROSS),
        Property("it is a cross-entropy", unlike(_without_entropy, _batch, "a KL divergence"), hint=ENTROPY),
        Property("targets are the weights", unlike(_all_alike, _batch, "targets that are all alike"), hint=TEACHER),
        Property("the mean is over anchors", unlike(_over_entries, _batch, "a mean over all entries"), hint=ENTRIES),
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
        WrongAnswer(
            "a softmax, and then its logarithm",
            lambda a, k, p, t: -(p * (torch.softmax(a @ k.T / t, dim=1) + 1e-8).log()).sum(dim=1).mean(),
            hint=OVERFLOW,
        ),
        WrongAnswer("sign", lambda *inputs: -batch_loss(*inputs), hint=SIGN),
        WrongAnswer("times the temperature", _times_temperature, hint=TIMES),
        WrongAnswer("the other dimension", _across_anchors, hint=ACROSS),
        WrongAnswer("a KL divergence", _without_entropy, hint=ENTROPY),
        WrongAnswer("uniform targets", _all_alike, hint=TEACHER),
        WrongAnswer("a mean over all entries", _over_entries, hint=ENTRIES),
    ),
    right_answers=(
        RightAnswer("in loops, the largest exponent taken out by hand", _row_by_row),
        RightAnswer("torch's cross-entropy with probabilities", _library_loss),
        RightAnswer("logarithm of the softmax", _log_softmax),
    ),
)

# 4.2 · The gradient by hand

MATCHED = "If the student says exactly what the teacher says, nothing is left to learn: the gradient must vanish."
DOWNHILL = "Descent goes against the gradient: after a small step of yours, the loss must be smaller."
CHAIN = "Which factor does the chain rule add, if the softmax sees similarity / temperature?"
PER_ANCHOR = "The loss is a mean over anchors, so each anchor's gradient is divided by their number."
COLD = "The student's softmax sees similarity / temperature: is the division inside your softmax?"
ROWS_ALONE = "Each anchor has a softmax of its own, over keys: its row must sum to 1."
KEYS_TOO = "The loss is a *sum* over keys and a mean over anchors: divide by the anchors alone."


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
    (gradient,) = torch.autograd.grad(soft_contrastive_loss(leaf, keys, targets, temperature), leaf)
    return gradient


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


def _lukewarm(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return (torch.softmax(similarity, dim=1) - targets) / temperature / len(targets)


def _by_columns(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return (torch.softmax(similarity / temperature, dim=0) - targets) / temperature / len(targets)


def _by_entries(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return similarity_gradient(similarity, targets, temperature) / similarity.shape[1]


def _entry_by_entry(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """A right answer in loops."""
    filled = torch.zeros_like(similarity)
    for row in range(len(similarity)):
        powers = [float((value / temperature).exp()) for value in similarity[row]]
        for column, power in enumerate(powers):
            filled[row, column] = (power / sum(powers) - float(targets[row, column])) / temperature
    return filled / len(similarity)


def _with_logsumexp(similarity: Tensor, targets: Tensor, temperature: float) -> Tensor:
    scaled = similarity / temperature
    return (scaled.sub(scaled.logsumexp(1, keepdim=True)).exp() - targets).div(temperature).div(similarity.shape[0])


GRADIENT = Exercise(
    id="4.2",
    is_used=True,
    title="The gradient by hand",
    reference=similarity_gradient,
    properties=(
        Property(
            "the student's softmax has its temperature",
            unlike(_lukewarm, _similarity, "a softmax without temperature"),
            hint=COLD,
        ),
        Property(
            "the softmax runs over keys", unlike(_by_columns, _similarity, "a softmax over anchors"), hint=ROWS_ALONE
        ),
        Property(
            "the mean is over anchors", unlike(_by_entries, _similarity, "a mean over all entries"), hint=KEYS_TOO
        ),
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
        WrongAnswer("times the temperature", lambda s, p, t: similarity_gradient(s, p, t) * t**2, hint=CHAIN),
        WrongAnswer("no temperature in the softmax", _lukewarm, hint=COLD),
        WrongAnswer("the other dimension", _by_columns, hint=ROWS_ALONE),
        WrongAnswer("divided by all entries", _by_entries, hint=KEYS_TOO),
    ),
    right_answers=(
        RightAnswer("in loops", _entry_by_entry),
        RightAnswer("the softmax from logsumexp", _with_logsumexp),
    ),
)

# 4.3 · Targets that make SupCon

SELF = "An image is no positive of its own: what stands on the diagonal of your targets?"
ROWS = "Targets are probabilities: every row sums to 1, however large the class."
RIVALS = "Who may stand in the denominator? Everybody but the image itself, other classes above all."
OWN_RIVAL = "The mask is True for all who stand in the denominator: an image is no rival of its own."
SAME = "Positives are images of the *same* class: your targets name the others."
ORDER = "Return two things in this order: the targets, then the mask, whose values are True or False."


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


def _targets_then_mask(attempt: Function) -> str | None:
    targets = attempt(*_labels())
    if not isinstance(targets, tuple | list) or len(targets) != 2:
        return f"expected targets and mask, got {type(targets).__name__}"
    kinds = [str(torch.as_tensor(part).dtype).removeprefix("torch.") for part in targets]
    return None if kinds[1] == "bool" else f"the first holds {kinds[0]}, the second {kinds[1]}"


def _keeps_to_the_class(attempt: Function) -> str | None:
    targets, _ = attempt(*_labels())
    labels = _labels()[0]
    astray = float(torch.as_tensor(targets).double()[labels[:, None] != labels].abs().sum())
    return None if astray == 0 else f"other classes hold {astray:.3g} of the targets"


def _excludes_itself(attempt: Function) -> str | None:
    admitted = int(torch.as_tensor(attempt(*_labels())[1]).diagonal().sum())
    return f"{admitted} of 8 images stand in their own denominator" if admitted else None


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


def _other_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    others = labels[:, None] != labels
    return others.double() / others.sum(dim=1, keepdim=True), supcon_targets(labels)[1]


def _pair_by_pair(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A right answer in loops."""
    count = len(labels)
    targets, mask = torch.zeros(count, count), torch.ones(count, count, dtype=torch.bool)
    for row in range(count):
        mask[row, row] = False
        positives = [column for column in range(count) if column != row and labels[column] == labels[row]]
        targets[row, positives] = 1 / len(positives)
    return targets, mask


def _from_one_hot(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A right answer by a product of one-hot rows; classes are symmetric, so column sums do as well."""
    classes = F.one_hot(labels).float()
    same = (classes @ classes.T).fill_diagonal_(0)
    return same / same.sum(dim=0), torch.ones_like(same).fill_diagonal_(0).bool()


SUPCON = Exercise(
    id="4.3",
    is_used=True,
    title="Targets that make SupCon",
    reference=supcon_targets,
    properties=(
        Property("targets come first, then the mask", _targets_then_mask, hint=ORDER),
        Property("no image is its own positive", _no_self, hint=SELF),
        Property("positives are of the image's class", _keeps_to_the_class, hint=SAME),
        Property("targets are probabilities", _sums_to_one, hint=ROWS),
        Property("no image is its own rival", _excludes_itself, hint=OWN_RIVAL),
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
        WrongAnswer(
            "the image in its own denominator",
            lambda labels: (supcon_targets(labels)[0], torch.ones(len(labels), len(labels), dtype=torch.bool)),
            hint=OWN_RIVAL,
        ),
        WrongAnswer(
            "the mask says who is left out",
            lambda labels: (supcon_targets(labels)[0], ~supcon_targets(labels)[1]),
            hint=OWN_RIVAL,
        ),
        WrongAnswer("the other classes", _other_classes, hint=SAME),
        WrongAnswer("mask first", lambda labels: supcon_targets(labels)[::-1], hint=ORDER),
    ),
    right_answers=(
        RightAnswer("in loops", _pair_by_pair),
        RightAnswer("a product of one-hot rows", _from_one_hot),
    ),
)

EXERCISES = (LOSS, GRADIENT, SUPCON)

register(EXERCISES)
