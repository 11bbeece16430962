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
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from helpers.errors import NaturalTracesError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["gathered", "is_first", "launch", "launched", "spread"]

_LOST = re.compile(r"[Cc]onnection (closed|reset)|[Gg]loo|NCCL|DistBackendError|Broken pipe")


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


def spread(devices: int, nodes: int, command: str) -> tuple[int, int]:
    """Say over how many processes of how many machines a command is spread.

    Args:
        devices: Processes of each machine, as the reader asks for; 1 also stands for those that torchrun has started.
        nodes: Machines.
        command: What messages call it, such as "train".

    Returns:
        The same, or the numbers of torchrun.

    Raises:
        NaturalTracesError: Several machines without torchrun, or other numbers than torchrun's.
    """
    started = launched()
    if started is None and nodes > 1:
        line = f"torchrun --nnodes {nodes} --nproc-per-node {devices} -m helpers {command} ..."
        raise NaturalTracesError(f"{nodes} machines: run `{line}` on each of them (see docs/cluster.md)")
    if started and (devices, nodes) not in ((1, 1), started):
        raise NaturalTracesError(f"torchrun has started {started[0]} processes on each of {started[1]} machines")
    return started or (devices, nodes)


def launch(
    fabric: "Fabric",
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    kinds: tuple[type[NaturalTracesError], ...],
    lost: type[NaturalTracesError],
    what: str,
    kept: str,
) -> Any:  # noqa: ANN401
    """Run work on every device; an expected error of a spawned process becomes itself again.

    Args:
        fabric: Starts the processes.
        work: Takes the fabric and the arguments; importable where processes are spawned.
        arguments: Can be pickled; no frozen dataclass.
        kinds: Errors that the work is known to raise, each made of one message.
        lost: Raised when a process dies.
        what: Names a process in messages, such as "training process".
        kept: Clause on what is kept then.

    Returns:
        What the work of the first process returned; that of the own one under torchrun.
    """
    try:
        return fabric.launch(work, *arguments)
    except ProcessExitedException as error:
        raise lost(f"{what} {_how_it_ended(error)}; {kept}") from error
    except ProcessRaisedException as error:
        name, _, message = str(error).strip().splitlines()[-1].partition(": ")
        for kind in kinds:
            if name == f"{kind.__module__}.{kind.__name__}":
                raise kind(message) from error
        if _LOST.search(str(error)):
            raise lost(f"a {what} was lost ({name}: {message.strip() or 'no reason given'}); {kept}") from error
        raise


def _how_it_ended(error: ProcessExitedException) -> str:
    """Say which process ended how."""
    name = f" by {error.signal_name}" if error.signal_name else f" with status {error.exit_code}"
    return f"{error.error_index} ended{name}, as when memory runs out or somebody kills it"
