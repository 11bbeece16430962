"""What changes with the step: the learning rate, and the moving average of the weights."""

import torch
from torch import nn

__all__ = ["update_average", "warm_cosine"]


def warm_cosine(step: int, steps: int, warm: int = 50) -> float:
    """Factor of the learning rate: linear up over `warm` steps, then half a cosine down to 1 %."""
    rise = min(1.0, (step + 1) / min(warm, max(steps // 4, 1)))
    fall = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / steps))))
    return rise * max(fall, 0.01)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running average of a model's weights one step: average = decay average + (1 - decay) model.

    Args:
        average: A copy of `model`; changed in place. Whole-number buffers are copied.
        model: The model in training.
        decay: Share of the old average, 0..1.

    Source: Yazici et al., The unusual effectiveness of averaging in GAN training, ICLR 2019 (arXiv 1806.04498).
    """
    for old, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new.to(old.dtype), 1.0 - decay)
        else:
            old.copy_(new)
