"""Choosing a score without test images: hold out one training generator and one photo source at a time.

A detector of counted statistics is trained on what remains, and ranks the held-out generator's images against
photographs of the sources that it knows, and against those of the held-out source. What wins here may be shipped; what
wins on the test split may not be chosen for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.data.image_set import ImageSet
from helpers.detectors.config import DetectorConfig, DetectorError
from helpers.detectors.ntf.detector import SCORES, NaturalTraceConfig, NaturalTraceDetector, make_pools
from helpers.detectors.registry import make_detector
from helpers.evaluation.metrics import auc
from helpers.selection.ablation import describe_all

__all__ = ["Fold", "folds", "holdout", "holdout_whole", "means"]


@dataclass(frozen=True)
class Fold:
    """One training generator and one photo source, held out; row numbers of a manifest.

    Attributes:
        generator: Held out.
        source: Held out.
        learn: Rows of the train split that remain.
        fakes: All rows of the generator.
        known: Photographs of the validation split, of the other sources.
        foreign: All photographs of the source.
    """

    generator: str
    source: str
    learn: np.ndarray
    fakes: np.ndarray
    known: np.ndarray
    foreign: np.ndarray


def folds(manifest: pd.DataFrame) -> Iterator[Fold]:
    """List every pair of a generator and a photo source.

    Args:
        manifest: Rows of the splits train and val, with label, generator, source and split.

    Yields:
        One fold per pair, in alphabetical order.

    Raises:
        DetectorError: The train split has fewer than two generators or photo sources, or there are test rows.
    """
    if not set(manifest["split"]) <= {"train", "val"}:
        raise DetectorError("only the splits train and val may be held out: choosing on test images is not choosing")
    train, real = (manifest["split"] == "train").to_numpy(), (manifest["label"] == "real").to_numpy()
    names = manifest["generator"].to_numpy(), manifest["source"].to_numpy()
    generators, sources = (sorted(set(names[0][train & ~real])), sorted(set(names[1][train & real])))
    if min(len(generators), len(sources)) < 2:
        raise DetectorError("holding out needs two generators and two photo sources in the train split")
    for generator, source in product(generators, sources):
        its, foreign = ~real & (names[0] == generator), real & (names[1] == source)
        yield Fold(
            generator,
            source,
            learn=np.flatnonzero(train & ~its & ~foreign),
            fakes=np.flatnonzero(its),
            known=np.flatnonzero(real & ~train & ~foreign),
            foreign=np.flatnonzero(foreign),
        )


def holdout(
    images: ImageSet, config: NaturalTraceConfig, out: Path, *, progress: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """Train once per fold, and rank what was held out by every score of natural-trace forensics.

    Args:
        images: Rows of the splits train and val.
        config: The method, with a co-occurrence backbone and a pool.
        out: Folder for checkpoints.
        progress: Told what is done.

    Returns:
        For each fold and score: `known` and `foreign`, the AUC of the held-out generator against photographs of sources
        that training saw, and against those of the held-out source.

    Raises:
        DetectorError: See `folds`; or the configuration describes no pool.
    """
    if not config.pool:
        raise DetectorError("holding out needs a configuration with a pool of described crops")
    described = describe_all(images)
    rows = []
    for number, fold in enumerate(folds(images.manifest)):
        train = images.subset(fold.learn)
        detector = make_detector(config)
        assert isinstance(detector, NaturalTraceDetector)
        detector.claim(train, out / f"{number}-{config.seed}")
        detector.fit_weights(train, out / f"{number}-{config.seed}", make_pools(train, config))
        detector.eval()
        for score in SCORES:
            detector.config = config.changed(score=score)
            with torch.inference_mode():
                values = detector.logit(described).double().numpy()
            row: dict[str, Any] = {"generator": fold.generator, "source": fold.source, "score": score}
            rows.append(row | {tier: _auc(values, fold.fakes, getattr(fold, tier)) for tier in ("known", "foreign")})
        progress(f"without {fold.generator} and {fold.source}")
    return rows


def holdout_whole(
    images: ImageSet,
    config: DetectorConfig,
    out: Path,
    *,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Train any kind of detector once per fold, and rank what was held out by its own score.

    Args:
        images: Rows of the splits train and val.
        config: Of any kind.
        out: Folder for checkpoints.
        device: Where pictures are judged.
        progress: Told what is done.

    Returns:
        As `holdout` does; the score is called like the detector.

    Raises:
        DetectorError: See `folds`.
    """
    rows = []
    for number, fold in enumerate(folds(images.manifest)):
        detector = make_detector(config)
        train, folder = images.subset(fold.learn), out / f"{number}-{config.seed}"
        detector.claim(train, folder)
        detector.fit_weights(train, folder)
        wanted = np.unique(np.r_[fold.fakes, fold.known, fold.foreign])
        values = np.full(len(images), np.nan)
        values[wanted] = detector.eval().to(device).score(images.image(int(row)) for row in wanted)
        row: dict[str, Any] = {"generator": fold.generator, "source": fold.source, "score": detector.name}
        rows.append(row | {tier: _auc(values, fold.fakes, getattr(fold, tier)) for tier in ("known", "foreign")})
        progress(f"without {fold.generator} and {fold.source}")
    return rows


def _auc(values: np.ndarray, fakes: np.ndarray, reals: np.ndarray) -> float:
    labels = np.r_[np.ones(len(fakes), int), np.zeros(len(reals), int)]
    return round(float(auc(labels, values[np.r_[fakes, reals]])), 4)


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average over folds.

    Args:
        rows: As `holdout` returns it.

    Returns:
        For each score: mean AUC `known`, `foreign`, and of both.
    """
    table = pd.DataFrame(rows).groupby("score", sort=False)[["known", "foreign"]].mean()
    return [
        {"score": score, "known": round(row.known, 4), "foreign": round(row.foreign, 4), "mean": round(row.mean(), 4)}
        for score, row in table.iterrows()
    ]
