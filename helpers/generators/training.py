"""Train a member of the zoo from nothing, and keep what ships: half-precision weights and the training curve."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from helpers.data.crops import CropDataset, draw_crops, stack, zoo_photographs
from helpers.data.files import write_atomic
from helpers.generators.base import parameter_count, to_signed
from helpers.generators.gans import TranslationGenerator
from helpers.generators.recipes import build_task, recipe
from helpers.generators.tasks import ZooTask
from helpers.training import fit, read_log, save_weights

BANK_SEED = 7
"""Seed of the crops whose sketches travel with the image-to-image generator."""


def prepare_task(name: str, seed: int = 0) -> ZooTask:
    """Make a task ready for training: fresh weights, and the bank of sketches where there is one."""
    task = build_task(name, seed)
    if isinstance(task.generator, TranslationGenerator) and isinstance(task.average, TranslationGenerator):
        n = len(task.generator.bank_edges)
        images = to_signed(stack(draw_crops(zoo_photographs("train"), n, BANK_SEED)))
        for generator in (task.generator, task.average):
            generator.fill_bank(images)
    return task


def train(name: str, runs: Path, *, steps: int | None = None, accelerator: str = "auto", resume: bool = True) -> Path:
    """Train one generator on crops of the embedded training photographs.

    Args:
        name: Its name.
        runs: Folder for checkpoints and logs; this generator's go to runs / name.
        steps: Other than the recipe's number of steps.
        accelerator: As in `FitConfig`.
        resume: Continue an interrupted run.

    Returns:
        runs / name, which then holds weights.safetensors (half precision), curve.csv and run.json.

    Raises:
        GeneratorError: There is no such generator.
    """
    chosen = recipe(name)
    config = replace(chosen.config, steps=steps or chosen.config.steps, accelerator=accelerator)
    out = runs / name
    dataset = CropDataset(zoo_photographs("train"), seed=config.seed)
    result = fit(prepare_task(name, config.seed), dataset, config, out, resume=resume)
    assert isinstance(result.task, ZooTask)
    summary = {
        "name": name,
        "steps": result.step,
        "seconds": round(result.seconds, 1),
        "parameters": parameter_count(result.task.generator),
        "config": {key: value for key, value in asdict(config).items() if key != "progress"},
    }
    save_weights(result.task.average, out / "weights.safetensors", metadata={"generator": name}, half=True)
    curve = read_log(result.log).to_csv(index=False, lineterminator="\n", float_format="%.5g")
    write_atomic(out / "curve.csv", curve.encode())
    write_atomic(out / "run.json", (json.dumps(summary, indent=2) + "\n").encode())
    return out
