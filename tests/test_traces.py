"""Stage 1: each term does what its name says, and the collapse alarm rings."""

import math

import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from helpers.detectors.ntf.stage1_losses import (
    decorrelation_loss,
    effective_rank,
    heterogeneous_loss,
    homogeneous_loss,
    prototypes,
    proximity,
    variance_floor,
)


def test_an_embedding_that_has_diverged_has_no_rank() -> None:
    assert math.isnan(effective_rank(torch.tensor([[1.0, float("nan")], [0.0, 1.0]])))


def unit(rows: int, dimensions: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dimensions, generator=generator, dtype=torch.float64), dim=1)


def reference_homogeneous(kept: torch.Tensor, sources: list[int], broken: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for i, anchor in enumerate(kept):
        positives = [kept[j] for j in range(len(kept)) if sources[j] != sources[i]]
        scores = [float(anchor @ key) / temperature for key in [*positives, *broken]]
        log_denominator = math.log(sum(math.exp(score) for score in scores))
        total -= sum(score - log_denominator for score in scores[: len(positives)]) / len(positives)
    return total / len(kept)


def test_homogeneous_loss_agrees_with_its_sums() -> None:
    kept, broken, sources = unit(8, 5, 0), unit(4, 5, 1), [0, 0, 1, 1, 2, 2, 3, 3]
    ours = homogeneous_loss(kept, torch.tensor(sources), broken, 0.2)
    assert float(ours) == pytest.approx(reference_homogeneous(kept, sources, broken, 0.2), abs=1e-10)


def test_homogeneous_loss_ignores_views_of_the_same_photograph() -> None:
    """Two views of one photograph may drift apart as they like: with the rest fixed, only other photographs pull."""
    kept, broken, sources = unit(4, 5, 2), unit(3, 5, 3), torch.tensor([0, 0, 1, 1])
    leaf = kept.clone().requires_grad_()
    homogeneous_loss(leaf, sources, broken, 0.2).backward()
    assert leaf.grad is not None
    span = torch.cat([kept[2:], broken])
    residual = leaf.grad[0] - span.T @ torch.linalg.lstsq(span.T, leaf.grad[0]).solution
    assert residual.norm() < 1e-10 * max(1.0, float(leaf.grad[0].norm()))
    with pytest.raises(ValueError, match="two different"):
        homogeneous_loss(kept, torch.zeros(4, dtype=torch.long), broken)


def test_homogeneous_loss_is_small_when_photographs_agree_and_broken_views_do_not() -> None:
    pole = functional.one_hot(torch.zeros(6, dtype=torch.long), 4).double()
    apart = homogeneous_loss(pole, torch.arange(6), -pole[:3], 0.1)
    together = homogeneous_loss(pole, torch.arange(6), pole[:3], 0.1)
    assert apart < together
    assert float(apart) == pytest.approx(math.log(5), abs=1e-6)  # only the five equal positives share the mass


def test_heterogeneous_loss_is_symmetric_info_nce() -> None:
    first, second = unit(6, 5, 4), unit(6, 5, 5)
    logits = first @ second.T / 0.1
    expected = (
        functional.cross_entropy(logits, torch.arange(6)) + functional.cross_entropy(logits.T, torch.arange(6))
    ) / 2
    assert torch.allclose(heterogeneous_loss(first, second, 0.1), expected)
    assert torch.allclose(heterogeneous_loss(first, second, 0.1), heterogeneous_loss(second, first, 0.1))


def test_decorrelation_is_one_for_a_copy_and_small_for_strangers() -> None:
    generator = torch.Generator().manual_seed(6)
    column = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    assert float(decorrelation_loss(column, 3 * column + 1)) == pytest.approx(1.0, abs=1e-6)
    strangers = decorrelation_loss(*torch.randn(2, 4000, 8, generator=generator, dtype=torch.float64))
    assert float(strangers) == pytest.approx(1 / 4000, rel=0.5)
    assert float(decorrelation_loss(torch.ones(10, 2).double(), column[:10])) == pytest.approx(0.0, abs=1e-6)


def test_decorrelation_agrees_with_numpy_style_correlation() -> None:
    first, second = unit(50, 3, 7), unit(50, 4, 8)
    corner = torch.corrcoef(torch.cat([first, second], dim=1).T)[:3, 3:]
    assert float(decorrelation_loss(first, second)) == pytest.approx(float(corner.square().mean()), rel=1e-5)


def test_variance_floor_rings_only_on_collapse() -> None:
    assert float(variance_floor(unit(500, 16, 9))) == pytest.approx(0.0)
    assert float(variance_floor(unit(1, 16, 10).expand(500, 16))) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_all_terms_pass_the_gradient_check(spread: float) -> None:
    centre = unit(1, 4, 11)
    kept = (centre + spread * unit(6, 4, 12)).requires_grad_()
    other = unit(6, 4, 13).requires_grad_()
    sources = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda k, b: homogeneous_loss(k, sources, b, 0.3), (kept, other))
    assert torch.autograd.gradcheck(lambda a, b: heterogeneous_loss(a, b, 0.3), (kept, other))
    assert torch.autograd.gradcheck(decorrelation_loss, (kept, other), atol=1e-4)
    assert torch.autograd.gradcheck(lambda k: variance_floor(k, 0.5), (kept,), atol=1e-4)


def test_variance_floor_pulls_a_collapsed_embedding_apart() -> None:
    generator = torch.Generator().manual_seed(14)
    rows = (torch.ones(32, 4) + 1e-3 * torch.randn(32, 4, generator=generator)).requires_grad_()
    optimizer = torch.optim.SGD([rows], lr=1.0)
    before = effective_rank(functional.normalize(rows.detach(), dim=1))
    for _ in range(100):
        optimizer.zero_grad()
        variance_floor(functional.normalize(rows, dim=1)).backward()
        optimizer.step()
    assert float(variance_floor(functional.normalize(rows.detach(), dim=1))) < 0.05
    assert before < 4


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.ones(10, 5)) == 1.0
    line = torch.linspace(-1, 1, 50)[:, None] * torch.ones(1, 6)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-5)
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert effective_rank(signs) == pytest.approx(2.0, abs=1e-6)
    assert effective_rank(unit(5000, 8, 15)) == pytest.approx(8.0, rel=0.01)


def test_prototypes_find_separated_groups_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(16)
    centres = torch.eye(5, dtype=torch.float64)[:4]
    rows = functional.normalize(
        centres.repeat_interleave(40, dim=0) + 0.05 * torch.randn(160, 5, generator=generator, dtype=torch.float64),
        dim=1,
    )
    result = prototypes(rows, 4, generator)
    assert torch.allclose(result.norm(dim=1), torch.ones(4, dtype=torch.float64))
    reference = KMeans(4, n_init=5, random_state=0).fit(rows.numpy())
    reference_centres = functional.normalize(torch.from_numpy(reference.cluster_centers_), dim=1)
    best = (result @ reference_centres.T).max(dim=1).values
    assert (best > 0.999).all()
    with pytest.raises(ValueError, match="cannot make"):
        prototypes(rows[:3], 4, generator)


def test_prototypes_repeat_with_the_seed_and_survive_duplicates() -> None:
    rows = unit(1, 4, 17).expand(10, 4).contiguous()
    result = prototypes(rows, 3, torch.Generator().manual_seed(0))
    assert torch.isfinite(result).all()
    rows = unit(60, 6, 18)
    again = [prototypes(rows, 5, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


def test_proximity_lies_between_mean_and_maximum() -> None:
    rows, bank = unit(20, 6, 19), unit(5, 6, 20)
    similarity = (rows @ bank.T).float()
    assert torch.allclose(proximity(rows, bank, 1e-3), similarity.max(dim=1).values, atol=5e-3)
    assert torch.allclose(proximity(rows, bank, 1e3), similarity.mean(dim=1), atol=1e-3)
    between = proximity(rows, bank, 0.1)
    assert (between <= similarity.max(dim=1).values + 1e-6).all()
    assert (between >= similarity.mean(dim=1) - 1e-6).all()
