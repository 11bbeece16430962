"""What several processes of one training share: rows of a batch, and who writes.

The loop sends gradients itself instead of wrapping a network in DistributedDataParallel. So a process may split its
share alone when its memory runs out, a turn of a GAN may use part of the networks, a loss may call a network as often
as it likes, and the order of additions, hence every bit, is the same after a restart. Lightning Fabric starts the
processes (or finds those that torchrun has started), places tensors and scales precision.

A loss that couples the images of a batch gathers its embeddings first::

    embedding, logits, label = gathered(*self.network(images), label)      # own share -> the whole batch
    loss = contrast(embedding, label)                                      # the same number on every process
"""

import os
from typing import Any

import torch
from torch import Tensor

__all__ = ["gathered", "is_first", "launched"]


class _Gather(torch.autograd.Function):
    """Rows of all processes forward; backward the gradient of the own rows, times the number of processes.

    Every process computes the same loss of all rows, and the loop averages gradients: the mean over processes of
    `processes x (gradient through own rows)` is the gradient through all rows. Nothing is sent backward.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:  # noqa: ANN401
        parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        (gradient,) = gradients
        processes, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        return gradient.chunk(processes)[rank] * processes


def gathered(*rows: Tensor) -> tuple[Tensor, ...]:
    """Join the rows of all processes, in the order of the batch, so that a loss sees the whole batch.

    Args:
        rows: Tensors with one row for each image of the own share; of equal shapes on all processes.

    Returns:
        The same with the rows of all processes; as they were where there is one process. The gradients that the loop
        averages are those of the loss of the whole batch.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return rows
    return tuple(_Gather.apply(part) for part in rows)


def launched() -> tuple[int, int] | None:
    """Say how torchrun has started this process: (processes on this machine, machines); None where it has not."""
    if "LOCAL_WORLD_SIZE" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    own = int(os.environ["LOCAL_WORLD_SIZE"])
    return own, max(1, int(os.environ["WORLD_SIZE"]) // own)


def is_first() -> bool:
    """Tell whether this process writes results: of those that torchrun has started, the first alone."""
    return launched() is None or int(os.environ.get("RANK", "0")) == 0
