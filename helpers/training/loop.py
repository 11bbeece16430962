"""The loop itself: launch, steps, turns, memory, several processes. Read `helpers.training` first."""

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from helpers.data.files import StorageError
from helpers.data.seeds import derive_seed
from helpers.training.batches import StepDataset, map_tensors, split_batch, step_loader
from helpers.training.processes import launch, launched
from helpers.training.run import CHECKPOINT_NAME, LOG_NAME, Run, progress_bar, record, remember, start
from helpers.training.storage import fill, read_state
from helpers.training.task import (
    Batch,
    DivergedError,
    FitConfig,
    FitError,
    FitResult,
    MemoryLimitError,
    Task,
    fabric_place,
)

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def fit(task: Task, dataset: Dataset[Any], config: FitConfig, out: Path, *, resume: bool = True) -> FitResult:
    """Train a task; killed and called again with the same arguments, it ends with the same weights.

    On one CPU model with one number of threads the weights agree bit for bit. When memory runs out, the batch is
    split into micro-batches whose gradients add up to those of the whole batch, for losses that are means over the
    batch and networks without batch normalisation (which then sees smaller batches); random numbers inside a loss
    are then drawn per micro-batch, thus others. A task whose loss couples the batch sets `splittable = False`.

    Over several processes each takes its share of the batch, gradients and running statistics are averaged. A loss
    that couples the batch gathers its embeddings, see `helpers.training.processes`. When a process dies, all end.

    Args:
        task: Networks, optimizers, losses. It is trained in place.
        dataset: Has a length and `dataset[index]`, made of tensors, numbers, dicts, tuples. Item and epoch determine
            its torch randomness: an attribute `epoch`, if there is one, is set, and torch's global generator seeded.
        config: Settings.
        out: Folder for the checkpoint and the log; one run, one folder.
        resume: Continue from the folder's checkpoint if there is one, else start anew and overwrite it.

    Returns:
        The trained task and where its files lie.

    Raises:
        FitError: The folder holds another run, or the dataset is empty or has no length.
        DivergedError: NaN or infinity in a loss or a weight.
        MemoryLimitError: Out of memory, and the batch cannot be split further.
        StorageError: A checkpoint cannot be read or written.
    """
    from lightning.fabric import Fabric  # seconds to import, and only training needs it

    out = Path(out)
    if not (hasattr(dataset, "__len__") and len(dataset)):
        raise FitError("the dataset is empty or has no length")
    accelerator, places = fabric_place(config.accelerator, config.devices)
    fabric = Fabric(
        accelerator=accelerator,
        devices=places,
        num_nodes=config.nodes,
        strategy=_strategy(config),
        precision=config.precision,  # type: ignore[arg-type]
    )
    with torch.random.fork_rng(devices=[]):
        steps = StepDataset(dataset, config.seed, config.batch_size)
        arguments = (task, steps, asdict(config), out, resume)
        kinds = (FitError, DivergedError, MemoryLimitError, StorageError)
        outcome: dict[str, Any] = launch(
            fabric, _train, arguments, kinds=kinds, lost=FitError, what="training process", kept=_KEPT
        )
    state = read_state(out / CHECKPOINT_NAME)
    fill(task, state["task"], CHECKPOINT_NAME)  # spawned processes trained copies of the task
    if config.channels_last:
        # As loaded weights lie: another layout is another order of additions, and so another last digit of a score.
        task.to(memory_format=torch.contiguous_format)
    task.eval()
    return FitResult(task=task, log=out / LOG_NAME, checkpoint=out / CHECKPOINT_NAME, **outcome)


def _strategy(config: FitConfig) -> str:
    """Choose how several processes start: spawned, but in a notebook forked, since its cells cannot be imported."""
    if launched():
        return "ddp"
    if config.nodes > 1:
        raise FitError(f"{config.nodes} machines: start this command by torchrun on each of them")
    if config.strategy != "auto" or config.devices == 1:
        return config.strategy
    return "ddp_notebook" if hasattr(sys, "ps1") else "ddp_spawn"


_KEPT = "the last checkpoint is kept, and the same call goes on from there"


def _train(
    fabric: "Fabric", task: Task, dataset: StepDataset, settings: dict[str, Any], out: Path, resume: bool
) -> dict[str, Any]:
    """The loop, as each process runs it."""
    config = FitConfig(**settings)
    run = start(fabric, task, config, dataset.items, out, resume)
    first, share = run.step, dataset.share_of(fabric.global_rank, fabric.world_size)
    pin_memory = fabric.device.type == "cuda"
    loader = step_loader(share, first, config.steps, num_workers=config.num_workers, pin_memory=pin_memory)
    steppers = {name: cast(Any, fabric.setup_optimizers(optimizer)) for name, optimizer in run.optimizers.items()}
    frozen = {name: _parameters_of_others(task, optimizer) for name, optimizer in run.optimizers.items()}

    with progress_bar(run) as bar, _no_search_for_gpus():
        for step, batch in enumerate(fabric.setup_dataloaders(loader, use_distributed_sampler=False), start=first):
            batch = _channels_last(batch) if config.channels_last else batch
            for position, turn in enumerate(task.turns(step)):
                optimizer = run.optimizers[turn]
                _set_learning_rate(optimizer, task.learning_rate_factor(step, config.steps))
                with _without_gradients(frozen[turn]):
                    losses = _backward(run, step, position, turn, batch)
                remember(run, step, turn, losses)
                _average_over_processes(fabric, [parameter.grad for parameter in _parameters(optimizer)])
                if config.clip_gradient is not None:
                    fabric.clip_gradients(task, optimizer, max_norm=config.clip_gradient, error_if_nonfinite=False)
                steppers[turn].step()
            with torch.no_grad():
                task.after_step(step)
            _average_over_processes(fabric, [buffer for buffer in task.buffers() if buffer.is_floating_point()])
            run.step = step + 1
            record(run, bar)
    fabric.barrier()
    return {"step": run.step, "seconds": run.elapsed, "resumed_at": first, "accumulate": run.accumulate}


# ---------------------------------------------------------------------------------------------------------- a turn


def _backward(run: Run, step: int, position: int, turn: str, batch: Batch) -> dict[str, Tensor]:
    """Fill the gradients of one turn, in as many micro-batches as memory asks for."""
    while True:
        run.optimizers[turn].zero_grad()
        try:
            return _forward_and_backward(run, step, position, turn, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, so that the failed attempt's tensors are free before the next one.
        run.accumulate = _more_micro_batches(run, step)
        if run.fabric.device.type == "cuda":
            torch.cuda.empty_cache()


def _forward_and_backward(run: Run, step: int, position: int, turn: str, batch: Batch) -> dict[str, Tensor]:
    """One attempt: losses and gradients, averaged over the micro-batches."""
    key = (run.config.seed, "turn", step, position, turn, run.fabric.global_rank)
    generator = torch.Generator(run.fabric.device).manual_seed(derive_seed(*key))
    _seed_dropout(run.fabric.device, derive_seed(*key, "dropout"))
    totals: dict[str, Tensor] = {}
    for part, weight in split_batch(batch, run.share, run.accumulate):
        with run.fabric.autocast():
            losses = run.task.losses(turn, part, generator)
        _check_loss(losses, turn)
        run.fabric.backward(losses["loss"] * weight)
        for name, value in losses.items():
            scaled = value.detach().float() * weight
            totals[name] = totals[name] + scaled if name in totals else scaled
    return totals


def _check_loss(losses: dict[str, Tensor], turn: str) -> None:
    """Name the usual mistakes of a new task in words."""
    if "loss" not in losses:
        raise FitError(f"turn {turn!r}: losses() must return a dictionary with the entry 'loss'")
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise FitError(f"turn {turn!r}: {name!r} must be a scalar tensor")


def _seed_dropout(device: torch.device, seed: int) -> None:
    """Seed torch's global generators, which layers such as dropout draw from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on whichever device.

    Args:
        error: What was raised.

    Returns:
        True for torch.OutOfMemoryError, MemoryError, and runtime errors that say so.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _more_micro_batches(run: Run, step: int) -> int:
    """Halve the micro-batch, and say so."""
    size = math.ceil(run.share / run.accumulate)
    if not run.task.splittable:
        raise MemoryLimitError(
            f"out of memory at step {step} with {size} images, and this loss couples the images of a batch: "
            "choose a smaller batch_size"
        )
    if size == 1:
        raise MemoryLimitError(f"out of memory at step {step} with a single image: choose smaller images or networks")
    parts = min(2 * run.accumulate, run.share)
    message = f"out of memory at step {step} with {size} images at once: going on with {math.ceil(run.share / parts)}"
    warnings.warn(f"{message}, gradients accumulated over {parts} micro-batches", RuntimeWarning, stacklevel=2)
    return parts


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _parameters_of_others(task: Task, optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List the trainable parameters that this optimizer does not move."""
    own = {id(parameter) for parameter in _parameters(optimizer)}
    return [parameter for parameter in task.parameters() if parameter.requires_grad and id(parameter) not in own]


@contextlib.contextmanager
def _without_gradients(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Freeze parameters for one turn: a generator's turn needs no gradient of the critic's weights."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def _average_over_processes(fabric: "Fabric", tensors: list[Tensor | None]) -> None:
    """Replace tensors by their mean over all processes, in place.

    DistributedDataParallel does this inside `backward`; `helpers.training.processes` says why it is done here, in one
    message of fixed order that follows `backward`. The price: sending does not overlap computing.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    if fabric.world_size == 1 or not present:
        return
    flat = torch.cat([tensor.detach().flatten() for tensor in present])
    torch.distributed.all_reduce(flat)
    pieces = torch.split(flat / fabric.world_size, [tensor.numel() for tensor in present])
    with torch.no_grad():
        for tensor, piece in zip(present, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))


@contextlib.contextmanager
def _no_search_for_gpus() -> Iterator[None]:
    """Spare a machine without a GPU the search for one at every optimizer step.

    Lightning sets a variable that makes torch ask NVIDIA's management library, and torch's optimizers ask at each step;
    where that library is missing, the failing search takes longer than a small network's step.
    """
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.get(name)
    if before is None or torch.cuda.is_available():
        yield
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        os.environ[name] = before


def _channels_last(batch: Batch) -> Batch:
    """Lay out every batch of images (four axes) channels-last."""
    return map_tensors(
        batch, lambda tensor: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
    )
