"""One training loop for all models of the course.

Without the loop's duties (devices, precision, memory, checkpoints, log) it is the loop of every PyTorch tutorial::

    for step, batch in enumerate(loader):
        for turn in task.turns(step):                       # ("main",), or for a GAN ("critic", "generator")
            optimizer = optimizers[turn]
            optimizer.zero_grad()
            losses = task.losses(turn, batch, generator)    # the model's own part: batch -> numbers
            losses["loss"].backward()
            optimizer.step()
        task.after_step(step)                               # such as a moving average of the weights

A model says what is its own in a `Task`: which networks, which optimizers, which losses. `fit` does the rest::

    class Regression(Task):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.nn.Linear(3, 1)

        def optimizers(self) -> dict[str, torch.optim.Optimizer]:
            return {"main": torch.optim.Adam(self.network.parameters(), lr=0.01)}

        def losses(self, turn: str, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
            inputs, targets = batch
            return {"loss": torch.nn.functional.mse_loss(self.network(inputs), targets)}

    result = fit(Regression(), dataset, FitConfig(steps=1000, batch_size=32), Path("runs/regression"))

The rules that make a run repeatable, and hence resumable to the last bit:

* The batch of a step, and every random number in it, is a function of (seed, step, turn, process), never of what ran
  before. Nothing but weights, optimizer states and the step count has to be stored.
* A checkpoint is one file that takes its name in one step. Killed at any moment, a run continues from the last one.
* A step means the same on every machine: `batch_size` counts the images of one optimizer step over all processes
  and micro-batches together. A contrast within the batch gathers its embeddings (`helpers.training.processes`).
"""

from helpers.data.files import StorageError, write_atomic
from helpers.data.seeds import derive_seed
from helpers.training.loop import fit
from helpers.training.processes import gathered
from helpers.training.run import read_log
from helpers.training.storage import load_weights, read_weights, save_weights
from helpers.training.task import Batch, DivergedError, FitConfig, FitError, FitResult, MemoryLimitError, Task

__all__ = [
    "Batch",
    "DivergedError",
    "FitConfig",
    "FitError",
    "FitResult",
    "MemoryLimitError",
    "StorageError",
    "Task",
    "derive_seed",
    "fit",
    "gathered",
    "load_weights",
    "read_log",
    "read_weights",
    "save_weights",
    "write_atomic",
]
