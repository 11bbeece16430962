"""Which images a step sees, and which random numbers: pure functions of the seed and the step.

Because nothing here remembers anything, a run that was killed needs no saved sampler, loader or generator state:
step 1,000 sees the same batch and draws the same noise, whether or not the run was interrupted before.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from helpers.data.seeds import derive_seed, shuffled
from helpers.training.task import Batch


def batch_places(seed: int, step: int, batch_size: int, items: int, *, in_order: bool = False) -> list[tuple[int, int]]:
    """List the items of one step: a slice of an endless row of shuffled epochs, so that no item is ever dropped.

    Args:
        seed: The run's seed.
        step: Counted from 0.
        batch_size: Items per step, over all processes; may exceed `items`.
        items: Length of the dataset.
        in_order: Leave the items as they are, for a dataset that shuffles them itself.

    Returns:
        `batch_size` pairs (epoch, index), index in [0, items).
    """
    places = (divmod(position, items) for position in range(step * batch_size, (step + 1) * batch_size))
    if in_order:
        return list(places)
    return [(epoch, shuffled(items, seed, "order", epoch)[within]) for epoch, within in places]


class StepDataset(Dataset[Any]):
    """A dataset whose item number `step` is the whole batch of that step.

    An item's torch randomness is seeded by (seed, epoch, index), so that neither workers nor processes change it.
    A dataset that draws by itself (crops, re-encoding) is told the epoch through its attribute `epoch`, if it has one.
    One that reads from shards says by its attribute `in_order` that its items are to be taken one after the other.

    Args:
        dataset: Has a length and `dataset[index]`.
        seed: The run's seed.
        batch_size: Items per step over all processes.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, batch_size: int) -> None:
        self.dataset = copy.copy(dataset)  # the caller's `epoch` stays as it is
        self.items = len(dataset)  # type: ignore[arg-type]
        self.seed, self.batch_size, self.share = seed, batch_size, slice(None)
        self.in_order = bool(getattr(dataset, "in_order", False))

    def share_of(self, rank: int, processes: int) -> "StepDataset":
        """Give the part of every batch that one of several processes takes.

        Args:
            rank: Which process, from 0.
            processes: How many; `batch_size` is a multiple of it.

        Returns:
            A data set of the same steps with `batch_size // processes` items each.
        """
        part, share = copy.copy(self), self.batch_size // processes
        part.share = slice(rank * share, (rank + 1) * share)
        return part

    def __getitem__(self, step: int) -> Batch:
        """Fetch and collate the batch of one step."""
        places = batch_places(self.seed, step, self.batch_size, self.items, in_order=self.in_order)[self.share]
        return default_collate([self._item(epoch, index) for epoch, index in places])

    def _item(self, epoch: int, index: int) -> object:
        torch.default_generator.manual_seed(derive_seed(self.seed, "item", epoch, index))
        if hasattr(self.dataset, "epoch"):
            self.dataset.epoch = epoch
        return self.dataset[index]


def step_loader(dataset: StepDataset, first: int, steps: int, *, num_workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Make a loader that yields the batches of steps `first` to `steps - 1` in order."""
    return DataLoader(
        dataset, batch_size=None, sampler=range(first, steps), num_workers=num_workers, pin_memory=pin_memory
    )


def split_batch(batch: Batch, size: int, parts: int) -> Iterator[tuple[Batch, float]]:
    """Cut a collated batch into near-equal micro-batches.

    Args:
        batch: Tensors whose first axis has length `size`, in any nesting of dicts, lists and tuples.
        size: Items in the batch.
        parts: How many micro-batches, 1 to `size`.

    Yields:
        Each micro-batch and its share of the items, so that share-weighted means add up to the mean of the batch.
    """
    if parts == 1:
        yield batch, 1.0
        return
    bounds = [size * part // parts for part in range(parts + 1)]
    for low, high in itertools.pairwise(bounds):
        yield _rows(batch, size, slice(low, high)), (high - low) / size


def _rows(value: Batch, size: int, rows: slice) -> Batch:
    """Take some rows of everything in a nested batch that has one row per item."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == size else value
    if isinstance(value, list | tuple) and len(value) == size and not any(_nested(part) for part in value):
        return value[rows]
    return _rebuilt(value, lambda part: _rows(part, size, rows))


def map_tensors(value: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """Apply a function to every tensor in a nested batch."""
    return function(value) if isinstance(value, Tensor) else _rebuilt(value, lambda part: map_tensors(part, function))


def _nested(value: object) -> bool:
    return isinstance(value, Tensor | Mapping | list | tuple)


def _rebuilt(value: Batch, function: Callable[[Batch], Batch]) -> Batch:
    """Apply a function to the parts of a container and keep its kind; anything else passes unchanged."""
    if isinstance(value, Mapping):
        return {key: function(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(function(part) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(function(part) for part in value)
    return value
