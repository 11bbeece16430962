"""The studies that lesson 07 quotes: a detector under every perturbation, and what augmentation buys and costs.

Only generators that the detector has not seen take part, unless asked otherwise. Intervals resample images, because the
photographs come from few sources: they say how far the drawing of crops matters, not what other photographs would do.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from helpers.data import catalog
from helpers.data.image_set import ImageSet
from helpers.data.images import Image, center_crop
from helpers.data.manifest import LABELS
from helpers.data.select import sample_rows
from helpers.detectors.base import CARD, Detector
from helpers.detectors.config import DetectorError, config_path
from helpers.detectors.registry import load_detector, make_detector, read_config, weights_hash
from helpers.evaluation.sweep import CLEAN, Cell, Images, summarise, sweep
from helpers.generators import RECIPES
from helpers.generators.sets import TRAINING_GENERATORS, zoo_set
from helpers.lessons.lesson00.collecting import careless_files
from helpers.pixels.perturbations import PERTURBATIONS, RobustnessError, resize
from helpers.pixels.resynthesis import fit_patch_model
from helpers.statistics import OFF_GRID, ON_GRID, block_dct

__all__ = [
    "FACTORS",
    "QUALITIES",
    "SETTINGS",
    "Setting",
    "augmentation_cells",
    "augmentation_study",
    "block_features",
    "careless_collection",
    "robustness_study",
    "sample_set",
    "score_cells",
    "score_surface",
    "unseen_fakes",
    "weights_name",
]

FACTORS = (1.0, 0.9, 0.75, 0.5)
"""Resize factors of the surface; 1 leaves the image alone."""
QUALITIES = (95, 90, 80, 70, 50, 30)
"""JPEG qualities of the surface, beside none at all."""
FloatArray: TypeAlias = NDArray[np.float64]
GRIDS = (ON_GRID, OFF_GRID)
_KEPT = ("ap", "auc", "accuracy", "ap_loss", "accuracy_loss")


# Images


def unseen_fakes(df: pd.DataFrame, detector: Detector) -> pd.DataFrame:
    """Keep real images, and the fakes of generators that the detector was not trained on."""
    seen = df["generator"].isin(detector.history.get("generators", []))
    return df[(df["label"] == LABELS[0]) | ~seen].reset_index(drop=True)


def sample_set(df: pd.DataFrame, most: int, seed: int = 0) -> pd.DataFrame:
    """Draw at most `most` images, half of each label, keeping the shares of generators and sources within a label.

    Args:
        df: Manifest.
        most: Upper limit; 0 for all.
        seed: Seed of the draw.

    Returns:
        Rows in their old order.
    """
    if not most:
        return df
    kept = [sample_rows(df[df["label"] == label], most // 2, seed) for label in LABELS]
    return df.loc[sorted(index for rows in kept for index in rows.index)].reset_index(drop=True)


def weights_name(folder: Path) -> str:
    """Name a stored detector by its kind and the hash of its weights, for the cache of a sweep.

    Args:
        folder: Where `Detector.save` wrote.

    Returns:
        Such as "ntf-1a2b3c4d".
    """
    kind = json.loads((folder / CARD).read_text(encoding="utf-8"))["detector"]
    return f"{kind}-{weights_hash(folder)[:8]}"


def careless_collection(count: int) -> tuple[dict[str, bytes], dict[str, bool]]:
    """Collect as in lesson 00: crops of everyday photographs as JPEG files, painted copies of them as PNG files.

    Args:
        count: Crops of each photograph.

    Returns:
        Name -> file, and name -> whether it belongs to a scene that detectors learn from.
    """
    df = catalog.photographs().query("scene == 'everyday'").drop_duplicates("source").set_index("name")
    scenes = {name: center_crop(catalog.photograph(name), 240) for name in df.index}
    model = fit_patch_model([scenes[name] for name in df.index[df["split"] == "train"]], patches=2000)
    files = dict(careless_files(scenes, model, count=count))
    return files, {name: df["split"][name.split("/")[-2]] == "train" for name in files}


def block_features(img: Image, side: int = 96) -> FloatArray:
    """Describe the 8 x 8 blocks of an image's upper left square, on JPEG's grid and against the grid half a block off.

    Each entry is a mean logarithm of the size of one cosine coefficient. What differs between the two grids is JPEG's
    doing, what they share is the picture's: a linear detector on these numbers can learn either.

    Args:
        img: uint8 (3, H, W), both sides at least `side`.
        side: Side of the square in pixels.

    Returns:
        float64 (128,): 64 sizes on the grid, then 64 differences.

    Source: the idea of Frank et al., ICML 2020, arXiv 2003.08685.
    """
    square = img[:, :side, :side]
    sizes = [block_dct(square, offset=offset).reshape(-1, 64).abs().add(0.1).log().mean(dim=0) for offset in GRIDS]
    return torch.cat([sizes[0], sizes[0] - sizes[1]]).numpy()


# Scores


def score_cells(
    name: str,
    score: Callable[[Sequence[Image]], Any],
    images: Images,
    about: pd.DataFrame,
    cells: Iterable[Cell],
    *,
    cache: Path | None = None,
    progress: bool = False,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Run a sweep, leaving out cells whose images become too small for the detector.

    Args:
        name: Name of detector and weights.
        score: See `helpers.evaluation.sweep`.
        images: Images, uint8 (3, H, W), or a function that yields them afresh each time it is called.
        about: One row per image.
        cells: What to run.
        cache: Folder for finished cells.
        progress: Whether to show a bar.

    Returns:
        Table of scores, and the cells left out with the reason.
    """
    tables, skipped = [], []
    for cell in tqdm(list(cells), desc=name, unit="cell", disable=not progress, leave=False):
        try:
            tables.append(sweep(name, score, images, about, cells=[cell], cache=cache, progress=False))
        except DetectorError as error:
            if cell == CLEAN:  # it is not the perturbation's fault
                raise
            skipped.append({"perturbation": cell.perturbation, "strength": cell.strength, "reason": str(error)})
    return pd.concat(tables, ignore_index=True), skipped


def _resized(images: Sequence[Image], factor: float) -> Iterator[Image]:
    return (img if factor == 1 else resize(img, factor) for img in images)


def score_surface(
    name: str,
    score: Callable[[Sequence[Image]], Any],
    images: Sequence[Image],
    about: pd.DataFrame,
    *,
    factors: Iterable[float] = FACTORS,
    qualities: Iterable[int] = QUALITIES,
    cache: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Score images that were first reduced, then saved as JPEG, as most services do.

    Args:
        name: Name of detector and weights.
        score: See `helpers.evaluation.sweep`.
        images: Images, uint8 (3, H, W).
        about: One row per image.
        factors: Resize factors (bicubic).
        qualities: JPEG qualities; "not saved as JPEG" comes before them.
        cache: Folder for finished cells.
        progress: Whether to show a bar.

    Returns:
        Table of `sweep` with a column `factor`.
    """
    tables = []
    for factor in factors:
        small = functools.partial(_resized, images, factor)  # made when they are needed, so that few are in memory
        cells = [CLEAN, *(Cell("jpeg", float(quality)) for quality in qualities)]
        table, _ = score_cells(f"{name} x {factor:g}", score, small, about, cells, cache=cache, progress=progress)
        tables.append(table.assign(detector=name, factor=factor))
    return pd.concat(tables, ignore_index=True)


# Records


def _records(scores: pd.DataFrame, threshold: float, draws: int) -> list[dict[str, Any]]:
    """Summarise cells: AP, AUC, accuracy with intervals, and how many of each label are called fake."""
    summary = summarise(scores, threshold, group="path", n_draws=draws)
    called = scores.assign(called=scores["score"] >= threshold)
    shares = called.groupby(["perturbation", "strength", "label"], sort=False)["called"].mean()
    rows = []
    for row in summary.to_dict("records"):
        cell = (row["perturbation"], row["strength"])
        entry = PERTURBATIONS[cell[0]]
        numbers = {
            f"{key}{end}": round(row[f"{key}{end}"], 4)
            for key in _KEPT
            for end in ("", "_low", "_high")
            if f"{key}{end}" in row
        }
        shared = {f"called_{label}": round(float(shares[(*cell, label)]), 4) for label in LABELS}
        known = {"perturbation": cell[0], "strength": cell[1], "family": entry.family, "unit": entry.unit}
        rows.append(known | numbers | shared)
    return rows


def robustness_study(
    detector: Detector,
    name: str,
    images: Sequence[Image],
    about: pd.DataFrame,
    cells: Sequence[Cell],
    *,
    surface: bool = True,
    cache: Path | None = None,
    draws: int = 1000,
    progress: bool = False,
) -> dict[str, Any]:
    """Put a detector through every perturbation, and through resizing followed by JPEG.

    Args:
        detector: A trained detector; its stored threshold is used as it is.
        name: Name of detector and weights.
        images: Images, uint8 (3, H, W).
        about: One row per image, as of a manifest.
        cells: Perturbations and strengths; the untouched images are always run.
        surface: Whether to run the grid of `FACTORS` and `QUALITIES` as well.
        cache: Folder for finished cells.
        draws: Bootstrap draws.
        progress: Whether to show bars.

    Returns:
        What `data/results/robustness_*.json` holds: the set, `cells`, `skipped`, and `surface`.

    Raises:
        RobustnessError: One of the labels is missing.
    """
    counts = about["label"].value_counts()
    if any(label not in counts for label in LABELS):
        raise RobustnessError("a study needs both real and fake images")
    wanted = list(dict.fromkeys([CLEAN, *cells]))
    scores, skipped = score_cells(name, detector.score, images, about, wanted, cache=cache, progress=progress)
    record: dict[str, Any] = {
        "weights": name,
        "real": int(counts[LABELS[0]]),
        "fake": int(counts[LABELS[1]]),
        "generators": sorted(set(about["generator"]) - {""}),
        "sources": sorted(set(about.loc[about["label"] == LABELS[0], "source"])),
        "threshold": detector.threshold,
        "draws": draws,
        "cells": _records(scores, detector.threshold, draws),
        "skipped": skipped,
    }
    if surface:
        grid = score_surface(name, detector.score, images, about, cache=cache, progress=progress)
        record["surface"] = [
            {"factor": factor, "quality": row["strength"] or None}
            | {key: row[key] for key in ("ap", "ap_low", "ap_high", "accuracy", "called_real", "called_fake")}
            for factor in FACTORS
            for row in _records(grid[grid["factor"] == factor].drop(columns="factor"), detector.threshold, draws)
        ]
    return record


# Augmentation


@dataclass(frozen=True)
class Setting:
    """How often, and how strongly, training crops were saved as JPEG.

    Attributes:
        name: What figures call it.
        jpeg: Chance that a training crop is encoded once more, whatever its label.
        qualities: Lowest and highest quality.
    """

    name: str
    jpeg: float
    qualities: tuple[int, int] = (70, 96)


SETTINGS = (
    Setting("never", 0.0),
    Setting("30 %, quality 70 to 96", 0.3),
    Setting("60 %, quality 30 to 96", 0.6, (30, 96)),
)
"""The compared trainings."""


def augmentation_cells() -> list[Cell]:
    """List what the trainings are compared on: JPEG, which they saw, and four kinds that none of them saw."""
    seen = [Cell("jpeg", float(quality)) for quality in QUALITIES]
    return [CLEAN, *seen, Cell("webp", 50), Cell("resize-bicubic", 0.75), Cell("blur", 1), Cell("noise", 4)]


def trained(setting: Setting, seed: int, steps: tuple[int, int], out: Path) -> Detector:
    """Train the zoo's detector under a setting, or load it where it lies already.

    Args:
        setting: The augmentation.
        seed: Seed of everything random.
        steps: Steps of stage 1 and of stage 2.
        out: Folder of this run.

    Returns:
        The detector, with its threshold from validation images of the training generators.
    """
    config = read_config(config_path("zoo"), seed=seed, mapping_steps=steps[0], steps=steps[1])
    config = config.changed(jpeg=setting.jpeg, qualities=setting.qualities)
    if (out / CARD).is_file():
        stored = load_detector(out)
        if stored.config == config:
            return stored
    train, val = (zoo_set(split, TRAINING_GENERATORS) for split in ("train", "val"))
    detector = make_detector(config).fit(train, val, out)
    detector.save(out)
    return detector


def augmentation_study(
    seeds: Sequence[int],
    steps: tuple[int, int],
    out: Path,
    *,
    settings: Sequence[Setting] = SETTINGS,
    test: ImageSet | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train the same detector with more and less JPEG in its training, and test all on the same perturbed images.

    Args:
        seeds: Runs of each setting.
        steps: Steps of stage 1 and of stage 2.
        out: Folder of all runs; those that lie there already are not run again.
        settings: What is compared.
        test: Test images; those of the zoo's unseen generators when None.
        say: Gets one line per run.

    Returns:
        What `data/results/augmentation_zoo.json` holds: `runs`, one row per setting, seed and cell.
    """
    unseen = test or zoo_set("test", sorted(set(RECIPES) - set(TRAINING_GENERATORS)))
    images = list(unseen.images())
    rows: list[Mapping[str, Any]] = []
    for number, setting in enumerate(settings):
        for seed in seeds:
            detector = trained(setting, seed, steps, out / f"{number}-{seed}")
            scores, _ = score_cells(setting.name, detector.score, images, unseen.manifest, augmentation_cells())
            records = _records(scores, detector.threshold, 1)
            kept = ("perturbation", "strength", "ap", "auc", "accuracy", "called_real", "called_fake")
            rows += [{"setting": setting.name, "seed": seed} | {key: row[key] for key in kept} for row in records]
            say(f"{setting.name}, seed {seed}: AP {records[0]['ap']:.3f}, after JPEG 50 {records[5]['ap']:.3f}")
    return {
        "settings": [setting.name for setting in settings],
        "seeds": list(seeds),
        "steps": list(steps),
        "training_generators": list(TRAINING_GENERATORS),
        "generators": sorted(set(unseen.manifest["generator"]) - {""}),
        "real": int((unseen.labels == 0).sum()),
        "fake": int((unseen.labels == 1).sum()),
        "runs": rows,
    }
