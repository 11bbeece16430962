"""Stage 1: learn natural traces from photographs alone.

Two unit-norm embeddings leave one encoder. The *homogeneous* one holds what photographs have in common, the
*heterogeneous* one what is special to a photograph. Four small terms shape them; each is a function here, so that each
can be switched off, tested and plotted. A bank of prototypes of the homogeneous embedding over many photographs is what
we call the natural traces.

The paper's equations are not public knowledge to us: this formulation is an independent reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from helpers.detectors.ntf.stage2_losses import soft_contrastive_loss


def homogeneous_loss(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float = 0.1) -> Tensor:
    """Attract embeddings of different photographs, repel trace-broken views.

    Every kept view is an anchor; its positives are the kept views of *other* photographs, so that nothing but what
    photographs share can bring them together; its negatives are all broken views. Kept views of the same photograph
    take no part.

    Args:
        kept: unit-norm homogeneous embeddings of trace-preserving views, float (N, D).
        sources: which photograph each kept view shows, int (N,); at least two different ones.
        broken: unit-norm homogeneous embeddings of trace-broken views, float (M, D).
        temperature: softness of the comparison, above 0.

    Returns:
        The mean loss, a scalar of at least 0.

    Raises:
        ValueError: if all kept views show one photograph.

    Source: ours; the supervised contrastive form of Khosla et al., arXiv 2004.11362, with "is a photograph" as the
    class.
    """
    different = sources[:, None] != sources[None, :]
    if not bool(different.any(dim=1).all()):
        raise ValueError("homogeneous_loss needs views of at least two different photographs")
    keys = torch.cat([kept, broken])
    admitted = torch.cat([different, different.new_ones(len(kept), len(broken))], dim=1)
    targets = torch.cat([different.to(kept.dtype), kept.new_zeros(len(kept), len(broken))], dim=1)
    targets = targets / targets.sum(dim=1, keepdim=True)
    return soft_contrastive_loss(kept, keys, targets, temperature, mask=admitted)


def heterogeneous_loss(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Instance discrimination: two crops of one photograph find each other among all others (InfoNCE, both ways).

    Args:
        first: unit-norm heterogeneous embeddings of one crop per photograph, float (N, D).
        second: the same photographs, another crop, in the same order, float (N, D).
        temperature: softness of the comparison, above 0.

    Returns:
        The mean of both directions, a scalar of at least 0.

    Source: van den Oord et al., arXiv 1807.03748.
    """
    targets = torch.eye(len(first), dtype=first.dtype, device=first.device)
    forward = soft_contrastive_loss(first, second, targets, temperature)
    backward = soft_contrastive_loss(second, first, targets, temperature)
    return (forward + backward) / 2


def decorrelation_loss(homogeneous: Tensor, heterogeneous: Tensor) -> Tensor:
    """Mean squared cross-correlation between the two embeddings: 0 if neither tells anything linear about the other.

    Args:
        homogeneous: float (N, D1), N at least 2.
        heterogeneous: of the same N images, float (N, D2).

    Returns:
        A scalar from 0 to 1. A dimension that does not vary counts as uncorrelated.

    Source: the cross-correlation matrix of Barlow Twins (arXiv 2103.03230), driven to zero in place of the identity.
    """
    standard_first, standard_second = _standardise(homogeneous), _standardise(heterogeneous)
    correlation = standard_first.T @ standard_second / len(homogeneous)
    return correlation.square().mean()


def variance_floor(embedding: Tensor, floor: float | None = None) -> Tensor:
    """Hinge on the standard deviation of every dimension: positive as soon as an embedding starts to collapse.

    Args:
        embedding: unit-norm rows, float (N, D), N at least 2.
        floor: the standard deviation that each dimension must keep; by default half of `1 / sqrt(D)`, the value of rows
            spread evenly over the sphere.

    Returns:
        The mean shortfall as a fraction of the floor, a scalar from 0 (none) to 1 (a single point).

    Source: the variance term of VICReg, arXiv 2105.04906, for unit-norm rows.
    """
    target = 0.5 * embedding.shape[1] ** -0.5 if floor is None else floor
    # The constant keeps the gradient of the square root finite at a total collapse, where the term is needed most.
    deviation = (embedding.var(dim=0, unbiased=False) + 1e-12).sqrt()
    return functional.relu(1 - deviation / target).mean()


def effective_rank(embedding: Tensor) -> float:
    """How many directions an embedding really uses: the exponential of the entropy of its singular values.

    Args:
        embedding: float (N, D), N at least 2; it is centred first.

    Returns:
        A number from 1 to min(N - 1, D); 1.0 for a total collapse; NaN where an entry is no finite number. Falling
        towards 1 in training is the collapse alarm.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    if not embedding.isfinite().all():
        return float("nan")
    values = torch.linalg.svdvals((embedding - embedding.mean(dim=0)).double())
    if float(values.sum()) < 1e-9:
        return 1.0
    weights = values / values.sum()
    return float(torch.exp(torch.special.entr(weights).sum()))


def prototypes(embedding: Tensor, count: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """The natural traces: `count` unit-norm centres of the homogeneous embeddings of photographs (spherical k-means).

    Args:
        embedding: unit-norm rows, float (N, D), N at least `count`.
        count: number of prototypes, at least 1.
        generator: draws the first centres (k-means++ on the cosine distance).
        rounds: most rounds of assignment and update; it stops when no row changes its centre.

    Returns:
        Unit-norm prototypes, float (count, D).

    Raises:
        ValueError: if there are fewer rows than prototypes.

    Source: Dhillon and Modha, Machine Learning 42 (2001), doi 10.1023/A:1007612920971.
    """
    if not 1 <= count <= len(embedding):
        raise ValueError(f"cannot make {count} prototypes of {len(embedding)} embeddings")
    centres = _spread_rows(embedding, count, generator)
    assigned = torch.full((len(embedding),), -1, device=embedding.device)
    for _ in range(rounds):
        nearest = (embedding @ centres.T).argmax(dim=1)
        if torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centres).index_add_(0, assigned, embedding)
        # A centre that lost all its rows keeps its place.
        occupied = sums.norm(dim=1, keepdim=True) > 1e-6
        centres = torch.where(occupied, functional.normalize(sums, dim=1), centres)
    return centres


def proximity(embedding: Tensor, bank: Tensor, temperature: float = 0.1) -> Tensor:
    """How near each image is to the natural traces: a smooth maximum of its cosine similarities to the bank.

    Args:
        embedding: unit-norm homogeneous embeddings, float (N, D).
        bank: unit-norm prototypes, float (K, D).
        temperature: towards 0 the similarity to the nearest prototype, towards infinity the mean over all.

    Returns:
        Proximity in [-1, 1], float (N,); higher means more like a photograph.

    Source: ours; log-mean-exp.
    """
    scaled = embedding.float() @ bank.float().T / temperature
    mean_of_exponentials = torch.logsumexp(scaled, dim=1) - torch.tensor(float(len(bank))).log()
    return temperature * mean_of_exponentials


def _standardise(rows: Tensor) -> Tensor:
    """Rows with zero mean and unit variance in each dimension; a constant dimension becomes zero."""
    centred = rows - rows.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-8).sqrt()


def _spread_rows(embedding: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """K-means++ seeding: each further row is drawn in proportion to its cosine distance from the nearest one so far."""
    chosen = [int(torch.randint(len(embedding), (1,), generator=generator))]
    distance = 1 - embedding @ embedding[chosen[0]]
    for _ in range(count - 1):
        weights = distance.clamp(min=1e-9).double().cpu()
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        distance = torch.minimum(distance, 1 - embedding @ embedding[chosen[-1]])
    return embedding[chosen]
