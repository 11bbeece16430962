"""The soft contrastive loss: its two limits, its gradient, its symmetries, and its manners at small temperatures."""

import math

import pytest
import torch
from torch.nn import functional

from helpers.detectors.ntf.stage2_losses import hardness_weights, repulsion_loss, soft_contrastive_loss, soft_targets


def unit(rows: int, dimensions: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dimensions, generator=generator, dtype=torch.float64), dim=1).to(
        dtype
    )


def random_targets(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(torch.randn(rows, columns, generator=generator, dtype=torch.float64), dim=1)


def reference_supcon(embedding: torch.Tensor, labels: list[int], temperature: float) -> float:
    """Equation 2 of arXiv 2004.11362 ("out"), written as its sums, with no shared code."""
    rows = embedding.tolist()

    def affinity(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) / temperature)

    total = 0.0
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        denominator = sum(affinity(i, j) for j in others)
        total -= sum(math.log(affinity(i, p) / denominator) for p in positives) / len(positives)
    return total / len(rows)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 2.0])
def test_one_hot_targets_give_info_nce(temperature: float) -> None:
    anchors, keys = unit(7, 5, 0), unit(7, 5, 1)
    ours = soft_contrastive_loss(anchors, keys, torch.eye(7, dtype=torch.float64), temperature)
    info_nce = functional.cross_entropy(anchors @ keys.T / temperature, torch.arange(7))
    assert torch.allclose(ours, info_nce, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
def test_uniform_targets_over_the_class_give_supcon(temperature: float) -> None:
    labels = [0, 0, 0, 0, 1, 1, 1, 2, 2]
    embedding = unit(len(labels), 6, 2)
    other = ~torch.eye(len(labels), dtype=torch.bool)
    same = (torch.tensor(labels)[:, None] == torch.tensor(labels)[None]) & other
    targets = same.double() / same.sum(dim=1, keepdim=True)
    ours = soft_contrastive_loss(embedding, embedding, targets, temperature, mask=other)
    assert float(ours) == pytest.approx(reference_supcon(embedding, labels, temperature), abs=1e-10)


def test_soft_targets_reach_both_limits() -> None:
    similarity = unit(6, 4, 3) @ unit(5, 4, 4).T
    assert torch.allclose(
        soft_targets(similarity, 1e-4), functional.one_hot(similarity.argmax(1), 5).double(), atol=1e-6
    )
    assert torch.allclose(soft_targets(similarity, 1e6), torch.full((6, 5), 0.2, dtype=torch.float64), atol=1e-6)


def test_soft_targets_carry_no_gradient() -> None:
    similarity = (unit(3, 4, 5) @ unit(3, 4, 6).T).requires_grad_()
    assert not soft_targets(similarity, 0.1).requires_grad


def test_gradient_agrees_with_finite_differences() -> None:
    anchors = unit(4, 3, 7).requires_grad_()
    keys = unit(6, 3, 8).requires_grad_()
    targets = random_targets(4, 6, 9)
    weights = hardness_weights(anchors, keys, 2.0)
    assert torch.autograd.gradcheck(
        lambda a, k: soft_contrastive_loss(a, k, targets, 0.2, weights=weights), (anchors, keys)
    )
    assert torch.autograd.gradcheck(lambda a, k: repulsion_loss(a, k, 0.2, 0.1), (anchors, keys))


def test_gradient_in_the_similarities_is_student_minus_teacher() -> None:
    """The sentence that lesson 04 teaches: d loss / d s = (softmax(s) - p) / N."""
    anchors = unit(5, 4, 10)
    keys = torch.eye(4, dtype=torch.float64)
    targets = random_targets(5, 4, 11)
    logits = anchors.clone().requires_grad_()
    soft_contrastive_loss(logits, keys, targets, 1.0).backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, (torch.softmax(anchors, dim=1) - targets) / 5, atol=1e-12)


def test_smallest_value_is_the_entropy_of_the_targets() -> None:
    targets = random_targets(8, 5, 12)
    matched = soft_contrastive_loss(targets.log(), torch.eye(5, dtype=torch.float64), targets, 1.0)
    entropy = torch.special.entr(targets).sum(dim=1).mean()
    assert torch.allclose(matched, entropy, atol=1e-12)
    assert soft_contrastive_loss(unit(8, 5, 13), torch.eye(5, dtype=torch.float64), targets, 1.0) > entropy


def test_order_of_anchors_and_keys_does_not_matter() -> None:
    anchors, keys, targets = unit(6, 4, 14), unit(9, 4, 15), random_targets(6, 9, 16)
    weights = hardness_weights(anchors, keys, 1.0)
    rows, columns = torch.randperm(6), torch.randperm(9)
    straight = soft_contrastive_loss(anchors, keys, targets, 0.1, weights=weights)
    shuffled = soft_contrastive_loss(
        anchors[rows], keys[columns], targets[rows][:, columns], 0.1, weights=weights[rows][:, columns]
    )
    assert torch.allclose(straight, shuffled, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_half_precision_stays_finite_and_close(dtype: torch.dtype, temperature: float) -> None:
    anchors = unit(16, 32, 17, dtype).requires_grad_()
    keys = torch.cat([anchors.detach(), unit(16, 32, 18, dtype)])  # identical rows: the largest exponents
    targets = soft_targets(anchors.detach() @ keys.T, temperature)
    weights = hardness_weights(anchors, keys, 5.0)
    loss = soft_contrastive_loss(anchors, keys, targets, temperature, weights=weights)
    loss.backward()
    exact = soft_contrastive_loss(anchors.detach().double(), keys.double(), targets, temperature, weights=weights)
    assert torch.isfinite(loss)
    assert anchors.grad is not None
    assert torch.isfinite(anchors.grad).all()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)


def test_a_nearer_negative_raises_the_loss_and_weights_raise_it_further() -> None:
    anchor = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    keys_far = torch.tensor([[0.9, 0.1], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    keys_near = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.0, -1.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    far = soft_contrastive_loss(anchor, keys_far, targets, 0.2)
    near = soft_contrastive_loss(anchor, keys_near, targets, 0.2)
    weights = torch.cat([torch.ones(1, 1, dtype=torch.float64), hardness_weights(anchor, keys_near[1:], 4.0)], dim=1)
    weighted = soft_contrastive_loss(anchor, keys_near, targets, 0.2, weights=weights)
    assert far < near < weighted


def test_hardness_weights_have_mean_one_and_grow_with_similarity() -> None:
    anchors, negatives = unit(5, 4, 19), unit(7, 4, 20)
    weights = hardness_weights(anchors, negatives, 3.0)
    assert torch.allclose(weights.mean(dim=1), torch.ones(5, dtype=torch.float64))
    order = (anchors @ negatives.T).argsort(dim=1)
    assert (weights.gather(1, order).diff(dim=1) >= 0).all()
    assert torch.allclose(hardness_weights(anchors, negatives, 0.0), torch.ones(5, 7, dtype=torch.float64))


def test_repulsion_falls_as_fakes_leave_the_traces() -> None:
    bank = torch.eye(3, dtype=torch.float64)[:2]
    losses = [
        float(repulsion_loss(torch.tensor([[math.cos(angle), 0.0, math.sin(angle)]], dtype=torch.float64), bank, 0.1))
        for angle in (0.0, 0.5, 1.0, 1.5)
    ]
    assert losses == sorted(losses, reverse=True)
    assert min(losses) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"targets": torch.ones(2, 2)}, "targets"),
        ({"weights": torch.ones(3, 3)}, "weights"),
        ({"mask": torch.zeros(2, 3, dtype=torch.bool)}, "admitted"),
        ({"keys": torch.ones(3, 5)}, "dimensions"),
    ],
)
def test_wrong_input_is_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "anchors": torch.ones(2, 4),
        "keys": torch.ones(3, 4),
        "targets": torch.full((2, 3), 1 / 3),
        "temperature": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        soft_contrastive_loss(**(arguments | change))  # type: ignore[arg-type]
