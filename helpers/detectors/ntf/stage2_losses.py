"""Stage 2: carry the natural traces into a detector with a soft contrastive loss.

A frozen stage-1 teacher says how near each photograph lies to each natural trace, `p = softmax(similarity / tau_t)`.
The student's own similarities, at its temperature `tau_s`, must match these soft targets, while fakes and trace-broken
photographs stand in the denominator and are pushed away, the nearer they come the harder. Two limits tie the loss to
known ones: one-hot targets give InfoNCE, uniform targets over the real class give SupCon.

What "soft" means in the paper is not public knowledge to us: this formulation is an independent reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_targets(similarity: Tensor, temperature: float) -> Tensor:
    """The teacher's word: to which traces, and how firmly, does a photograph belong?

    Args:
        similarity: cosine similarities to the bank, float (N, K).
        temperature: tau_t, above 0; towards 0 one-hot on the nearest trace, towards infinity uniform.

    Returns:
        Probabilities, float32 or float64 (N, K), rows sum to 1, without gradient.

    Source: ours; the temperature softmax of knowledge distillation (Hinton et al., arXiv 1503.02531).
    """
    return torch.softmax(_wide(similarity.detach()) / temperature, dim=1)


def hardness_weights(anchors: Tensor, negatives: Tensor, sharpness: float) -> Tensor:
    """Weights of negatives in the denominator: the nearer a negative comes to an anchor, the more it counts.

    Args:
        anchors: unit-norm, float (N, D).
        negatives: unit-norm, float (M, D), M at least 1.
        sharpness: 0 weighs all alike; larger values put the weight on the nearest.

    Returns:
        Positive weights, float (N, M), each row with mean 1, without gradient.

    Source: the importance weights of Robinson et al., "Contrastive Learning with Hard Negative Samples", arXiv
    2010.04592.
    """
    similarity = _wide(anchors.detach()) @ _wide(negatives.detach()).T
    return torch.softmax(sharpness * similarity, dim=1) * negatives.shape[0]


def soft_contrastive_loss(
    anchors: Tensor,
    keys: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Cross-entropy between soft targets and an anchor's similarities to all keys.

    With s = anchors @ keys.T / tau, p the targets, w the weights, and sums over the admitted keys:

        loss_i = - sum_k p_ik * ( s_ik - log sum_j w_ij exp(s_ij) )

    Keys with p = 0 are negatives: they appear in the denominator alone.

    Args:
        anchors: unit-norm embeddings of photographs, float (N, D); half precision is computed in float32 inside.
        keys: unit-norm embeddings or prototypes, float (K, D).
        targets: p, float (N, K), at least 0, rows sum to 1; 0 wherever `mask` is False.
        temperature: tau_s, above 0.
        weights: w, float (N, K), above 0; by default 1.
        mask: True for admitted keys, bool (N, K), for example to leave an anchor out of its own denominator; by default
            all.

    Returns:
        The mean over anchors, a scalar. Its minimum over s is the entropy of p when all weights are 1.

    Raises:
        ValueError: if shapes do not fit, the temperature is not above 0, or a row admits no key.

    Source: ours. One-hot p: InfoNCE (arXiv 1807.03748). Uniform p over the anchor's class: SupCon, "out" form (arXiv
    2004.11362).
    """
    _check_shapes(anchors, keys, targets, temperature, weights, mask)
    scaled = _wide(anchors) @ _wide(keys).T / temperature
    biased = scaled if weights is None else scaled + weights.to(scaled.dtype).log()
    if mask is not None:
        biased = biased.masked_fill(~mask, float("-inf"))
    log_denominator = torch.logsumexp(biased, dim=1, keepdim=True)
    return (targets.to(scaled.dtype) * (log_denominator - scaled)).sum(dim=1).mean()


def repulsion_loss(fakes: Tensor, bank: Tensor, temperature: float, margin: float = 0.0) -> Tensor:
    """Push fakes away from every natural trace: a soft hinge on the similarity to the nearest one.

    Args:
        fakes: unit-norm embeddings of generated or trace-broken images, float (M, D).
        bank: unit-norm prototypes, float (K, D).
        temperature: softness of maximum and hinge, above 0.
        margin: cosine similarity from which on the push is felt.

    Returns:
        The mean over fakes, a scalar of at least 0.

    Source: ours.
    """
    nearest = torch.logsumexp(_wide(fakes) @ _wide(bank).T / temperature, dim=1) * temperature
    return torch.nn.functional.softplus((nearest - margin) / temperature).mean() * temperature


def _wide(values: Tensor) -> Tensor:
    """Half precision becomes float32, where exponentials at small temperatures keep their digits; the rest stays."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check_shapes(
    anchors: Tensor, keys: Tensor, targets: Tensor, temperature: float, weights: Tensor | None, mask: Tensor | None
) -> None:
    expected = (len(anchors), len(keys))
    if temperature <= 0:
        raise ValueError(f"the temperature must be above 0, not {temperature}")
    if anchors.shape[1] != keys.shape[1]:
        raise ValueError(f"anchors have {anchors.shape[1]} dimensions, keys have {keys.shape[1]}")
    for name, matrix in (("targets", targets), ("weights", weights), ("mask", mask)):
        if matrix is not None and tuple(matrix.shape) != expected:
            raise ValueError(f"{name} must have shape {expected}, not {tuple(matrix.shape)}")
    if mask is not None and not bool(mask.any(dim=1).all()):
        raise ValueError("every anchor needs at least one admitted key")
