"""An adversary who knows the detector: projected gradient descent within a few grey levels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from helpers.data.images import to_float, to_uint8
from helpers.pixels.perturbations import RobustnessError

__all__ = ["Attack", "pgd_attack"]


@dataclass(frozen=True)
class Attack:
    """Attacked images and what they gained.

    Attributes:
        images: uint8 (N, 3, H, W), each value within epsilon of the original.
        before: Logits of the originals, float32 (N,).
        after: Logits of `images`, that is, after rounding to whole grey levels, float32 (N,).
    """

    images: Tensor
    before: Tensor
    after: Tensor


def pgd_attack(
    logit: Callable[[Tensor], Tensor],
    images: Tensor,
    epsilon: int,
    generator: torch.Generator,
    *,
    steps: int = 10,
    step_size: float | None = None,
    towards: str = "real",
) -> Attack:
    """Change images within epsilon so that the detector calls them real (or fake).

    From a random start in the box of side 2 epsilon around each image, every step follows the sign of the gradient and
    goes back into the box. The result is rounded, as a file holds whole grey levels, and judged after rounding; where
    it is no better than the original, the original is returned.

    Args:
        logit: Differentiable detector, from float32 (n, 3, H, W) in 0..1 to (n,), higher means more fake. One image's
            logit must not depend on the others (switch networks to evaluation). Its parameters get no gradients.
        images: uint8 (N, 3, H, W).
        epsilon: Largest change of a value, in whole grey levels of 0..255, not negative.
        generator: Source of the random start (CPU).
        steps: Gradient steps, at least 1.
        step_size: Length of a step in grey levels; 2.5 epsilon / steps when None, which reaches any corner of the box.
        towards: "real" lowers the logit, "fake" raises it.

    Returns:
        The attacked images, on the device of `images`.

    Raises:
        RobustnessError: An argument is out of range, or the detector returns other than one logit per image.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, arXiv 1706.06083.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise RobustnessError(f"the attack needs images uint8 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    if epsilon < 0 or epsilon != int(epsilon) or steps < 1 or towards not in ("real", "fake"):
        raise RobustnessError(f"cannot attack with epsilon {epsilon} in {steps} steps towards {towards!r}")
    sign = 1.0 if towards == "fake" else -1.0
    step = (2.5 * epsilon / steps if step_size is None else step_size) / 255
    original, box = to_float(images), epsilon / 255
    start = torch.rand(images.shape, generator=generator).to(images.device) * 2 - 1
    low, high = (original - box).clamp(min=0), (original + box).clamp(max=1)
    moved = (original + box * start).clamp(low, high)
    for _ in range(steps):
        moved = (moved + sign * step * _gradient(logit, moved).sign()).clamp(low, high)
    rounded = to_uint8(255 * moved)
    before, after = _logits(logit, original), _logits(logit, to_float(rounded))
    better = sign * (after - before) > 0
    kept = torch.where(better[:, None, None, None], rounded, images)
    return Attack(kept, before, torch.where(better, after, before))


def _gradient(logit: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Gradient of each image's logit by its pixels; those of the detector's parameters are left alone."""
    values = values.detach().requires_grad_(True)
    with torch.enable_grad():
        return torch.autograd.grad(_one_each(logit(values), values).sum(), values)[0]


def _logits(logit: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    with torch.no_grad():
        return _one_each(logit(values), values).float()


def _one_each(logits: Tensor, values: Tensor) -> Tensor:
    if logits.shape != (len(values),):
        raise RobustnessError(f"the detector must return one logit per image, got {tuple(logits.shape)}")
    return logits
