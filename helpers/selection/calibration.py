"""Threshold, probability, p-values and range of a trained detector, from pictures that its training left out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from helpers.data.image_set import ImageSet
from helpers.data.manifest import LABELS
from helpers.detectors.base import Detector
from helpers.detectors.config import DetectorError
from helpers.detectors.feature_range import fit_range
from helpers.evaluation.metrics import fit_conformal, fit_platt

__all__ = ["calibrate_on_held_out", "calibrate_on_photographs", "calibrate_range"]


def calibrate_on_held_out(detector: Detector, table: pd.DataFrame, *, level: float = 0.05) -> None:
    """Fix threshold, calibration and p-values by the scores of a hold-out.

    Each fold's scores were standardised on that fold's training photographs, as the detector's own are; so they may be
    set beside them. Every source and every generator weighs alike.

    Args:
        detector: Trained with the settings of the hold-out; changed in place.
        table: As `helpers.selection.grouped.grouped_holdout` returns it.
        level: Share of photographs of unseen sources that may be called generated.

    Raises:
        DetectorError: The table lacks the detector's score.
    """
    score = str(getattr(detector.config, "score", ""))
    if score not in table:
        raise DetectorError(f"the table of the hold-out has no scores called {score!r}")
    parts = [table] if "history" not in table else [part for _, part in table.groupby("history")]
    fitted = [fit_conformal(_labels(part), part[score], _groups(part), level_real=level) for part in parts]
    detector.conformal = max(fitted, key=lambda one: one.threshold)
    detector.threshold = detector.conformal.threshold
    detector.calibration = fit_platt(_labels(table), table[score])


def _labels(table: pd.DataFrame) -> NDArray[np.int64]:
    return table["label"].map(LABELS.index).to_numpy(np.int64)


def _groups(table: pd.DataFrame) -> list[str]:
    return list(table["generator"].astype(str) + "\0" + table["source"].astype(str))


def calibrate_on_photographs(detector: Detector, scores: ArrayLike, sources: Sequence[str] | None = None) -> None:
    """Fix the threshold by photographs of one's own; what is known of generated pictures stays.

    Args:
        detector: With p-values; changed in place.
        scores: Its scores of the photographs, (N,).
        sources: Where each comes from; one source when None.

    Raises:
        DetectorError: The detector keeps no scores of held-out pictures, or there are fewer than 20 photographs.
    """
    values = np.asarray(scores, np.float64)
    if detector.conformal is None:
        raise DetectorError("the detector keeps no scores of held-out pictures: calibrate it on a hold-out first")
    least = round(1 / detector.conformal.level_real)
    if len(values) < least:
        raise DetectorError(f"{len(values)} photographs are too few: {least} are needed")
    before = detector.conformal
    fakes = np.asarray(before.fake)
    labels = np.r_[np.zeros(len(values), int), np.ones(len(fakes), int)]
    groups = [*(sources or ["own"] * len(values)), *["kept"] * len(fakes)]
    fitted = fit_conformal(labels, np.r_[values, fakes], groups, level_real=before.level_real)
    detector.conformal = replace(before, real=fitted.real)
    detector.threshold = detector.conformal.threshold


def calibrate_range(detector: Detector, known: ImageSet, *, progress: Callable[[int, int], None]) -> None:
    """Measure where the features of known pictures lie, so that what resembles none of them is told.

    Args:
        detector: One that describes images; changed in place.
        known: Photographs and generated pictures, as those of the training.
        progress: Told how many pictures are done, and of how many.

    Raises:
        DetectorError: The detector describes no images, or there are too few pictures, sources or generators.
    """
    features, groups = [], _groups(known.manifest)
    members: list[str] = []
    for number, img in enumerate(known.images()):
        views = detector.views(img)
        features.append(detector.describe_views(views))
        members += [groups[number]] * len(views)
        progress(number + 1, len(known))
    detector.feature_range = fit_range(torch.cat(features), members)
