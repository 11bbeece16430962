"""The state of a run, and its traces on disk: checkpoints, the log, the progress bar."""

import csv
import math
import os
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from helpers.data.files import StorageError, write_atomic
from helpers.training.storage import all_finite, fill, read_state, write_state
from helpers.training.task import DivergedError, FitConfig, FitError, Task

if TYPE_CHECKING:
    import pandas as pd
    from lightning.fabric import Fabric

CHECKPOINT_NAME = "checkpoint.safetensors"
LOG_NAME = "log.csv"
IDENTITY = ("steps", "batch_size", "seed", "precision", "clip_gradient")  # what a resumed run must share
LOG_COLUMNS = ("step", "seconds", "turn", "name", "value")


@dataclass
class Run:
    """What the steps of one run share."""

    fabric: "Fabric"
    task: Task
    config: FitConfig
    out: Path
    items: int
    optimizers: dict[str, torch.optim.Optimizer]
    step: int = 0
    accumulate: int = 1
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    window: dict[tuple[str, str], list[tuple[int, Tensor]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def share(self) -> int:
        """Images per step on this process."""
        return self.config.batch_size // self.fabric.world_size

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier parts of a resumed run included."""
        return self.seconds + time.perf_counter() - self.started


def start(fabric: "Fabric", task: Task, config: FitConfig, items: int, out: Path, resume: bool) -> Run:
    """Bring a task to its device and to the state of the checkpoint; a fresh run writes that of step 0 first."""
    if config.accumulate > 1 and not task.splittable:
        raise FitError("accumulate must be 1: this task's loss couples the images of a batch")
    fabric.to_device(task)
    if config.channels_last:
        task.to(memory_format=torch.channels_last)
    task.train()
    optimizers = task.optimizers()
    if missing := set(task.turns(0)) - set(optimizers):
        raise FitError(f"turns without an optimizer of their name: {', '.join(sorted(missing))}")
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    run = Run(fabric, task, config, out, items, optimizers, accumulate=config.accumulate)
    checkpoint = out / CHECKPOINT_NAME
    if fabric.is_global_zero and not (resume and checkpoint.exists()):
        for old in (checkpoint, out / LOG_NAME):
            old.unlink(missing_ok=True)
        _save(run, [config.accumulate])
    fabric.barrier()
    _load(run)
    if config.compile:
        for network in task.children():
            network.compile()
    run.started = time.perf_counter()
    return run


def _identity(run: Run) -> dict[str, Any]:
    """The settings that a resumed run must share with its first part."""
    chosen = {name: value for name, value in asdict(run.config).items() if name in IDENTITY}
    return {**chosen, "items": run.items, "task": type(run.task).__qualname__}


def _save(run: Run, accumulate: list[int]) -> None:
    """Write the checkpoint, unless the weights are not worth keeping."""
    if not all_finite(run.task):
        raise DivergedError(f"a weight is NaN or infinite after step {run.step}; the last good checkpoint is kept")
    state = {
        "identity": _identity(run),
        "step": run.step,
        "seconds": run.elapsed,
        "accumulate": accumulate,
        "precision": run.fabric.strategy.precision.state_dict(),
        "task": run.task.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in run.optimizers.items()},
    }
    write_state(run.out / CHECKPOINT_NAME, state)


def _load(run: Run) -> None:
    """Continue from the checkpoint; rows that the log is ahead by are dropped."""
    path = run.out / CHECKPOINT_NAME
    state = read_state(path)
    if not isinstance(state, dict) or "identity" not in state:
        raise StorageError(f"{path.name}: not a checkpoint")
    for name, value in _identity(run).items():
        if state["identity"].get(name) != value:
            raise FitError(
                f"{run.out}: holds a run with {name} = {state['identity'].get(name)!r}, not {value!r}: "
                "choose another folder, or start anew with resume=False"
            )
    fill(run.task, state["task"], path.name)
    try:
        for name, optimizer in run.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
    except (KeyError, ValueError) as error:
        raise StorageError(f"{path.name}: does not fit the optimizers: {error}") from error
    run.fabric.strategy.precision.load_state_dict(state["precision"])
    run.step, run.seconds = state["step"], state["seconds"]
    run.accumulate = state["accumulate"][run.fabric.global_rank % len(state["accumulate"])]
    if run.fabric.is_global_zero:
        _cut_log(run.out / LOG_NAME, run.step)


def remember(run: Run, step: int, turn: str, losses: dict[str, Tensor]) -> None:
    """Keep a turn's losses for the log, and stop before a NaN reaches the weights.

    On a GPU the losses stay where they are until the next row of the log, since reading one makes the GPU wait;
    a bad loss is then found a little later, but always before a checkpoint is written.
    """
    if run.fabric.device.type == "cpu" and run.fabric.world_size == 1:
        _check_finite(step, turn, float(losses["loss"]))
    for name, value in losses.items():
        run.window[turn, name].append((step, value))


def _check_finite(step: int, turn: str, loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(f"the loss of turn {turn!r} is {loss} at step {step}; the last good checkpoint is kept")


def record(run: Run, bar: "tqdm[Any]") -> None:
    """Do what is due after a step: move the bar, check and log the losses, write a checkpoint."""
    bar.update()
    last = run.step == run.config.steps
    checkpoint = last or run.step % run.config.checkpoint_every == 0
    if checkpoint or run.step % run.config.log_every == 0:  # a window never spans a checkpoint: the log resumes exactly
        means = _close_window(run)
        if run.fabric.is_global_zero:
            _append_log(run, means)
            bar.set_postfix({f"{turn} {name}": f"{value:.4g}" for (turn, name), value in means.items()}, refresh=False)
    if checkpoint:
        accumulate = _accumulate_of_all(run)
        if run.fabric.is_global_zero:
            _save(run, accumulate)


def _accumulate_of_all(run: Run) -> list[int]:
    """Tell how finely each process splits its share of the batch."""
    counts = torch.zeros(run.fabric.world_size, dtype=torch.int64, device=run.fabric.device)
    counts[run.fabric.global_rank] = run.accumulate
    numbers: list[int] = torch.as_tensor(run.fabric.all_reduce(counts, reduce_op="sum")).tolist()
    return numbers


def _close_window(run: Run) -> dict[tuple[str, str], float]:
    """Average the remembered losses over steps and processes, and check them."""
    rows = [(key, step, value) for key, values in run.window.items() for step, value in values]
    numbers = torch.stack([value.reshape(()) for _, _, value in rows])
    values = torch.as_tensor(run.fabric.all_reduce(numbers, reduce_op="mean")).tolist()
    run.window.clear()
    series: dict[tuple[str, str], list[float]] = defaultdict(list)
    for ((turn, name), step, _), value in zip(rows, values, strict=True):
        if name == "loss":
            _check_finite(step, turn, value)
        series[turn, name].append(value)
    return {key: math.fsum(numbers) / len(numbers) for key, numbers in series.items()}


def _append_log(run: Run, means: dict[tuple[str, str], float]) -> None:
    """Add one row per turn and name, and force them to the disk: a checkpoint must not be ahead of its log."""
    path = run.out / LOG_NAME
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(LOG_COLUMNS)
        seconds = f"{run.elapsed:.3f}"
        writer.writerows([run.step, seconds, turn, name, repr(value)] for (turn, name), value in means.items())
        file.flush()
        os.fsync(file.fileno())


def _cut_log(path: Path, step: int) -> None:
    """Drop the rows after a step, which the killed run wrote after its last checkpoint, the last one perhaps torn."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) == len(LOG_COLUMNS)]
    kept = [row for row in rows[1:] if row[0].isdigit() and int(row[0]) <= step]
    text = "".join(",".join(row) + "\n" for row in [list(LOG_COLUMNS), *kept])
    write_atomic(path, text.encode("utf-8"))


def read_log(path: Path) -> "pd.DataFrame":
    """Read the log of a run as a table.

    Args:
        path: `FitResult.log`.

    Returns:
        One row per logged step (the index, counted as steps done), a column `seconds`, and one column `turn/name` per
        loss: its mean since the row before. NaN where a turn did not take place.
    """
    import pandas as pd

    rows = pd.read_csv(path, dtype={"turn": str, "name": str})
    table = rows.assign(column=rows["turn"] + "/" + rows["name"]).pivot_table(
        index="step", columns="column", values="value", sort=False, dropna=False
    )
    table.columns.name = None
    table.insert(0, "seconds", rows.groupby("step")["seconds"].last())
    return table


def progress_bar(run: Run) -> "tqdm[Any]":
    """Make a bar with the time left: on the first process, and only where a person watches a terminal."""
    shown = run.config.progress and run.fabric.is_global_zero and sys.stderr.isatty()
    return tqdm(total=run.config.steps, initial=run.step, unit="step", dynamic_ncols=True, disable=not shown)
