"""A detector against every perturbation and strength: scores cell by cell, each kept on disk, and a summary.

A *cell* is one perturbation at one strength. Image `i` of a cell is perturbed with a generator made of (seed, i,
perturbation, strength): neither label, nor detector, nor order of the cells plays a part, so all detectors see the very
same pixels. Finished cells are read from the cache; a sweep that was stopped goes on where it was.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from helpers.data.files import write_atomic
from helpers.data.images import Image
from helpers.data.manifest import LABELS
from helpers.data.seeds import derive_seed
from helpers.evaluation.metrics import cluster_weights
from helpers.evaluation.metrics.intervals import percentiles
from helpers.evaluation.metrics.ranking import RANKING, Ranked
from helpers.pixels.perturbations import PERTURBATIONS, RobustnessError, perturb

__all__ = ["Cell", "grid", "image_set_hash", "perturbation_generator", "summarise", "sweep"]

Images: TypeAlias = Sequence[Image] | Callable[[], Iterable[Image]]
Floats: TypeAlias = NDArray[np.float64]

CACHE_VERSION = 1  # to be raised when a perturbation changes, so that no stale cell is read
CHUNK = 1_000_000  # bootstrap weights worked on at a time


class Cell(NamedTuple):
    """One perturbation at one strength."""

    perturbation: str
    strength: float


CLEAN = Cell("none", 0.0)


def grid(names: Iterable[str] | None = None) -> list[Cell]:
    """List cells, the untouched images first.

    Args:
        names: Keys of `PERTURBATIONS`; all of them when None.

    Returns:
        All strengths of each, in order.

    Raises:
        RobustnessError: Unknown name.
    """
    wanted = list(PERTURBATIONS if names is None else names)
    _known(Cell(name, 0) for name in wanted)
    return _known(
        [CLEAN, *(Cell(name, float(strength)) for name in wanted for strength in PERTURBATIONS[name].strengths)]
    )


def _known(cells: Iterable[Cell]) -> list[Cell]:
    """Drop cells that come twice; refuse those without a perturbation."""
    chosen = list(dict.fromkeys(cells))
    if unknown := [cell.perturbation for cell in chosen if cell.perturbation not in PERTURBATIONS]:
        raise RobustnessError(f"no perturbation is called {', '.join(unknown)}; there are {', '.join(PERTURBATIONS)}")
    return chosen


def perturbation_generator(seed: int, index: int, cell: Cell) -> torch.Generator:
    """Make the generator of one image in one cell: a function of these numbers alone, never of the label.

    Args:
        seed: Seed of the sweep.
        index: Place of the image in the image set.
        cell: Perturbation and strength.

    Returns:
        CPU generator.
    """
    key = derive_seed(seed, "perturbation", index, cell.perturbation, repr(float(cell.strength)))
    return torch.Generator().manual_seed(key)


def image_set_hash(images: Images) -> str:
    """Hash sizes, pixels and order of images.

    Args:
        images: Images, uint8 (3, H, W), or a function that yields them.

    Returns:
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for img in _each(images):
        digest.update(repr(tuple(img.shape)).encode())
        digest.update(img.contiguous().numpy().tobytes())
    return digest.hexdigest()


# Scores


def sweep(
    detector: str,
    score: Callable[[Sequence[Image]], ArrayLike],
    images: Images,
    about: pd.DataFrame,
    *,
    cells: Iterable[Cell] | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> pd.DataFrame:
    """Score all images in every cell.

    Args:
        detector: Name of the detector and its weights. It is part of the key of the cache: other weights need another
            name, such as one that ends in a part of their hash.
        score: From images (sizes differ from cell to cell, and may within one) to as many finite scores, higher means
            more fake. The score of an image must not depend on its neighbours in the batch.
        images: Images, uint8 (3, H, W), or a function that yields them afresh each time it is called (for sets that do
            not fit into memory).
        about: One row per image, in the same order: `path` (the image's name), `label` ("real" or "fake"), `generator`,
            `source`; other columns, as of a manifest, are kept.
        cells: What to run; `grid()` when None.
        cache: Folder for finished cells, one JSON file each; nothing is kept when None.
        seed: Seed of all perturbations.
        batch_size: Images per call of `score`.
        progress: Whether to show a bar.

    Returns:
        Tidy table: the columns of `about`, then `detector`, `perturbation`, `strength`, `score`; cell after cell.

    Raises:
        RobustnessError: A column is missing, the lengths differ, or the detector returns other than finite scores.
    """
    _check_about(about)
    wanted = grid() if cells is None else _known(Cell(name, float(strength)) for name, strength in cells)
    pixels = image_set_hash(images)
    tables = []
    for cell in tqdm(wanted, desc=detector, unit="cell", disable=not progress, leave=False):
        key = _key(detector, pixels, cell, seed)
        path = None if cache is None else Path(cache) / _file_name(key)
        scores = _read_cell(path, key, len(about))
        if scores is None:
            scores = _score_cell(score, images, cell, seed, batch_size)
            if len(scores) != len(about):
                raise RobustnessError(f"there are {len(scores)} images, but {len(about)} rows about them")
            if path is not None:
                write_atomic(path, (json.dumps(key | {"scores": scores.tolist()}) + "\n").encode())
        tables.append(
            about.assign(detector=detector, perturbation=cell.perturbation, strength=cell.strength, score=scores)
        )
    return pd.concat(tables, ignore_index=True)


def _check_about(about: pd.DataFrame) -> None:
    if missing := [name for name in ("path", "label", "generator", "source") if name not in about]:
        raise RobustnessError(f"the table about the images lacks the column(s) {', '.join(missing)}")
    if not set(about["label"]) <= set(LABELS):
        raise RobustnessError(f"labels must be {' or '.join(LABELS)}, got {', '.join(map(str, set(about['label'])))}")


def _each(images: Images) -> Iterator[Image]:
    return iter(images() if callable(images) else images)


def _score_cell(
    score: Callable[[Sequence[Image]], ArrayLike], images: Images, cell: Cell, seed: int, batch_size: int
) -> Floats:
    """Perturb and score all images, batch by batch."""
    scored: list[Floats] = [np.zeros(0)]
    numbered = enumerate(_each(images))
    while batch := list(islice(numbered, batch_size)):
        views = [perturb(img, *cell, perturbation_generator(seed, index, cell)) for index, img in batch]
        scores = np.asarray(score(views), np.float64)
        if scores.shape != (len(views),) or not np.isfinite(scores).all():
            where = f"{cell.perturbation} {cell.strength:g}"
            raise RobustnessError(f"{where}: needs {len(views)} finite scores, got an array of shape {scores.shape}")
        scored.append(scores)
    return np.concatenate(scored)


# Cache


def _key(detector: str, pixels: str, cell: Cell, seed: int) -> dict[str, Any]:
    return {
        "version": CACHE_VERSION,
        "detector": detector,
        "images": pixels,
        "perturbation": cell.perturbation,
        "strength": float(cell.strength),
        "seed": seed,
    }


def _file_name(key: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    detector = re.sub(r"[^A-Za-z0-9.-]+", "-", key["detector"]).strip(".-")[:40]
    return f"{detector or 'detector'}_{key['perturbation']}_{key['strength']:g}_{digest}.json"


def _read_cell(path: Path | None, key: Mapping[str, Any], count: int) -> Floats | None:
    """Read a finished cell; None where there is none, or the file is damaged or is another cell's."""
    if path is None or not path.is_file():
        return None
    try:
        stored = json.loads(path.read_bytes())
        scores = np.asarray(stored.pop("scores"), np.float64)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return scores if stored == key and scores.shape == (count,) and np.isfinite(scores).all() else None


# Summary


def summarise(
    results: pd.DataFrame,
    thresholds: float | Mapping[str, float],
    *,
    group: str = "source",
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute AP, AUC and accuracy of every cell, real and fake weighing equally, and what each loses.

    Intervals come from a cluster bootstrap, stratified by label. All cells and detectors see the same draws, so the
    loss against the untouched images is a paired difference: what is hard in both cells cancels.

    Args:
        results: Table of `sweep`, of one or several detectors on the same images.
        thresholds: Stored threshold on the score, fitted on untouched validation images; or one for each detector.
        group: Column whose values are resampled as a whole. Give `path` where the images come from few sources: three
            collections cannot be resampled to any purpose.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.
        level: Confidence level in (0, 1).

    Returns:
        One row per detector and cell, in the order of `results`: `detector`, `perturbation`, `strength`, `n_real`,
        `n_fake`, `clusters`, and for each of `ap`, `auc`, `accuracy` (balanced) the columns `ap`, `ap_low`, `ap_high`
        and, where the detector was run on untouched images, `ap_loss`, `ap_loss_low`, `ap_loss_high` (clean minus
        perturbed, positive where something is lost).

    Raises:
        RobustnessError: A threshold is missing, a class is missing, or the cells differ in their images.
    """
    cells = dict(list(results.groupby(["detector", "perturbation", "strength"], sort=False)))
    first = next(iter(cells.values()), results)
    truth = np.asarray(first["label"] == LABELS[1], np.int64)
    if set(truth) != {0, 1}:
        raise RobustnessError("a summary needs both real and fake images")
    names = first["path"].to_list()
    weights, clusters = cluster_weights(first[group].astype(str), strata=truth, n_draws=n_draws, seed=seed)
    drawn = np.stack([np.ones(len(truth)), *weights])  # the first row is the data as they are
    numbers: dict[Any, dict[str, Floats]] = {}
    for key, table in cells.items():
        if table["path"].to_list() != names:
            raise RobustnessError("all cells must hold the same images in the same order")
        threshold = _threshold(thresholds, str(key[0]))
        numbers[key] = _numbers(truth, table["score"].to_numpy(np.float64), threshold, drawn)
    rows = []
    for key, measured in numbers.items():
        row: dict[str, Any] = dict(zip(("detector", "perturbation", "strength"), key, strict=True))
        row |= {"n_real": int((truth == 0).sum()), "n_fake": int(truth.sum()), "clusters": clusters}
        clean = numbers.get((key[0], *CLEAN))
        for name, values in measured.items():
            row |= _columns(name, values, level)
            if clean is not None:
                row |= _columns(f"{name}_loss", clean[name] - values, level)
        rows.append(row)
    return pd.DataFrame(rows)


def _threshold(thresholds: float | Mapping[str, float], detector: str) -> float:
    if not isinstance(thresholds, Mapping):
        return float(thresholds)
    if detector not in thresholds:
        raise RobustnessError(f"there is no threshold for the detector {detector!r}")
    return float(thresholds[detector])


def _numbers(truth: NDArray[np.int64], scores: Floats, threshold: float, weights: Floats) -> dict[str, Floats]:
    """Compute AP, AUC and balanced accuracy under each weighting, (B,) each."""
    ranked, right = Ranked(truth, scores), (scores >= threshold) == (truth == 1)
    values: dict[str, list[Floats]] = {"ap": [], "auc": [], "accuracy": []}
    for part in np.array_split(weights, weights.size // CHUNK + 1):
        rates = ranked.rates(part)
        shares = [part[:, rows] @ right[rows] / part[:, rows].sum(1) for rows in (truth == 0, truth == 1)]
        values["ap"].append(RANKING["ap"](*rates))
        values["auc"].append(RANKING["auc"](*rates))
        values["accuracy"].append((shares[0] + shares[1]) / 2)
    return {name: np.concatenate(parts) for name, parts in values.items()}


def _columns(name: str, values: Floats, level: float) -> dict[str, float]:
    low, high = percentiles(values[1:], level)
    return {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
