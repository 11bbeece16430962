"""What a model brings to the loop (`Task`), the settings of a run, its result and its errors."""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from helpers.errors import NaturalTracesError

Batch: TypeAlias = Any
"""What a dataset yields, collated: tensors with one row per image, in dicts, lists or tuples of any nesting."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


class FitError(NaturalTracesError):
    """A run cannot start or go on; the message says why."""


class DivergedError(FitError):
    """The loss or a weight became NaN or infinite; the last good checkpoint is still there."""


class MemoryLimitError(FitError):
    """The batch does not fit into memory and cannot be split (further)."""


class Task(nn.Module, abc.ABC):
    """What one model brings to the loop: its networks (as submodules), optimizers and losses.

    All that must survive a kill lives in parameters and buffers (a moving average of weights is a submodule without
    gradients). Python attributes that change during training are not stored.

    Attributes:
        splittable: Whether the loss of a batch is the mean of the losses of its parts. Set it to False where the
            loss couples the images of a batch, as a contrastive loss does: the loop then never splits the batch.
            Over several processes such a loss calls `helpers.training.processes.gathered` on its embeddings.
    """

    splittable: bool = True

    @abc.abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Make the optimizers, one per turn and named like it; called once, when the networks are on their device."""

    def turns(self, step: int) -> tuple[str, ...]:
        """Name the turns of a step, in order; each minimises one loss with the optimizer of the same name.

        Args:
            step: Counted from 0.

        Returns:
            Such as ("main",) or ("critic", "generator"). A turn that comes every fifth step only may be left out.
        """
        return ("main",)

    @abc.abstractmethod
    def losses(self, turn: str, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the losses of one turn.

        Args:
            turn: One of `turns(step)`. Parameters that belong to other turns' optimizers are frozen meanwhile.
            batch: What the dataset yields, collated, on the device.
            generator: The only source of randomness, on the device, seeded by (seed, step, turn, process).

        Returns:
            Scalars: "loss" is minimised, the others are logged. On every process the same parameters take part.
        """

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Scale the optimizers' learning rates at one step: 1 means as given."""
        return 1.0

    def after_step(self, step: int) -> None:
        """Do what follows all turns of a step, without gradients: moving averages of weights, for example."""


def fabric_place(device: str, count: int) -> tuple[str, int | list[int]]:
    """Turn a device as torch names it into what Lightning Fabric takes.

    Args:
        device: "auto", "cpu", "cuda", "mps", or one of several, such as "cuda:1".
        count: Devices on each machine.

    Returns:
        Accelerator, and how many devices, or the number of the one that is named.

    Raises:
        FitError: One device is named, and several are asked for.
    """
    accelerator, _, index = device.partition(":")
    if index and count > 1:
        raise FitError(f"{device} is one device, not {count}")
    return accelerator, [int(index)] if index else count


@dataclass(frozen=True)
class FitConfig:
    """Settings of a run.

    Attributes:
        steps: How many steps in all.
        batch_size: Images per step, over all processes and micro-batches together.
        seed: Determines order, noise and dropout. The initial weights are the task's own matter.
        precision: "32-true", "bf16-mixed" or "16-mixed" (with loss scaling).
        accelerator: "auto", "cpu", "cuda" or "mps", as in Lightning Fabric; "cuda:1" for one GPU of several.
        devices: How many on each machine, each with its own process.
        nodes: Machines; more than one are started by torchrun.
        strategy: As in Lightning Fabric. For several devices "auto" is "ddp_spawn", so a script that calls `fit` then
            needs `if __name__ == "__main__":`; in a notebook it is "ddp_notebook", which forks (not on Windows, and
            not after the notebook has used a GPU); in a process that torchrun has started it is "ddp".
        num_workers: Processes that load data; the result does not depend on it.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between rows of the log, each the mean over the steps since the last.
        accumulate: Micro-batches per step, to begin with.
        clip_gradient: Largest norm of a turn's gradient, or None.
        channels_last: Store images and convolution weights channels-last (faster on most hardware).
        compile: Compile the task's networks (its direct submodules) with `torch.compile`.
        progress: Show a bar with the time left, if standard error is a terminal.
    """

    steps: int
    batch_size: int
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    num_workers: int = 0
    checkpoint_every: int = 500
    log_every: int = 50
    accumulate: int = 1
    clip_gradient: float | None = None
    channels_last: bool = False
    compile: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "devices", "nodes", "checkpoint_every", "log_every", "accumulate"):
            if getattr(self, name) < 1:
                raise FitError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise FitError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        fabric_place(self.accelerator, self.devices)
        if self.batch_size % self.processes:
            raise FitError(f"batch_size {self.batch_size} is not a multiple of {self.processes} devices")
        if self.accumulate > self.batch_size // self.processes:
            raise FitError(
                f"accumulate {self.accumulate} exceeds the {self.batch_size // self.processes} images per device"
            )

    @property
    def processes(self) -> int:
        """Devices of all machines, each with its process."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class FitResult:
    """What a run leaves behind.

    Attributes:
        task: The trained task, in evaluation mode.
        step: Steps done.
        seconds: Time spent training, earlier parts of a resumed run included.
        log: The CSV log; see `read_log`.
        checkpoint: The last checkpoint.
        resumed_at: The step at which this call took over; 0 for a fresh run.
        accumulate: Micro-batches per step in the end, above the configured number if memory ran out.
    """

    task: Task
    step: int
    seconds: float
    log: Path
    checkpoint: Path
    resumed_at: int
    accumulate: int
