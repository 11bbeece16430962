"""Ablation study of natural-trace forensics on real generators: the same images, one change at a time.

All variants and seeds are trained on pools of described crops, made once per seed, and score descriptions of the
validation and test images, made once. So a variant costs seconds, and only the named change differs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.data.image_set import ImageSet
from helpers.detectors.base import Detector
from helpers.detectors.config import DetectorConfig
from helpers.detectors.ntf.detector import NaturalTraceConfig, make_pools
from helpers.detectors.registry import config_as, make_detector
from helpers.evaluation.metrics import fit_platt, threshold_of_best_accuracy
from helpers.evaluation.report import compare, evaluate
from helpers.statistics.cooccurrence import cooccurrences

__all__ = ["VARIANTS", "ablate", "describe_all"]

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ntf": {},
        "score: head": {"score": "head"},
        "score: proximity after stage 2": {"score": "proximity"},
        "score: proximity after stage 1, no fake seen": {"score": "stage1"},
        "score: linear model of photographs, no fake seen": {"score": "subspace"},
        "score: head and proximity": {"score": "both"},
        "targets: hard": {"transfer": {"targets": "hard"}},
        "targets: uniform": {"transfer": {"targets": "uniform"}},
        "without contrast and repulsion": {"transfer": {"contrast": 0.0, "repulsion": 0.0}},
        "without stage 1": {"mapping_steps": 0},
        "stage 1 without the homogeneous term": {"terms": {"homogeneous": 0.0}},
        "stage 1 without the heterogeneous term": {"terms": {"heterogeneous": 0.0}},
        "stage 1 without decorrelation": {"terms": {"decorrelation": 0.0}},
        "stage 1 without the variance floor": {"terms": {"variance": 0.0}},
        "cross-entropy from scratch, same features": {"detector": "cross_entropy"},
        "supervised contrastive, linear head, same features": {"detector": "supcon"},
        "one class: stage 1 and a Gaussian, no fake seen": {"detector": "one_class"},
    }
)
"""Name -> what differs from the configuration. Only the score differs in the "score:" variants: one training."""


def slug(name: str) -> str:
    """Turn a variant's name into the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def trained_alike(config: DetectorConfig) -> str:
    """Name what training depends on: variants that differ in nothing else share one training."""
    return repr((config.kind, [entry for entry in config.values().items() if entry[0] not in config.not_trained]))


def fix_by(detector: Detector, train: ImageSet, val: ImageSet, scores: NDArray[np.float64]) -> None:
    """Fix threshold and calibration by known scores of the validation images, and note what training saw."""
    detector.threshold = threshold_of_best_accuracy(val.labels, scores)
    detector.calibration = fit_platt(val.labels, scores)
    detector.note_history(train, val, scores)


@torch.no_grad()
def describe_all(images: ImageSet) -> Tensor:
    """Describe whole images by their co-occurrences.

    Args:
        images: Any sizes.

    Returns:
        float32 (N, 1092).
    """
    return torch.cat([cooccurrences(img[None]) for img in images.images()])


def ablate(
    train: ImageSet,
    val: ImageSet,
    test: ImageSet,
    config: NaturalTraceConfig,
    seeds: Sequence[int],
    out: Path,
    *,
    variants: Mapping[str, Mapping[str, Any]] = VARIANTS,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train every variant with every seed and evaluate it on the test images.

    Args:
        train: Training images.
        val: Images that threshold and calibration come from.
        test: Images to report on.
        config: The full method, with a co-occurrence backbone and a pool.
        seeds: One run each.
        out: Folder for checkpoints, and for every trained detector: `out / slug(name)-seed`.
        variants: Name -> changes; the first is what the others are compared with.
        progress: Told what is done.

    Returns:
        Name -> means over generators (`values`) and paired differences of the first variant minus this one.
    """
    described = {"val": describe_all(val), "test": describe_all(test)}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in variants}
    thresholds: dict[str, list[float]] = {name: [] for name in variants}
    for seed in seeds:
        seeded = config.changed(seed=seed)
        pools = make_pools(train, seeded)
        trained: dict[str, Any] = {}
        for number, (name, changes) in enumerate(variants.items()):
            own = config_as(seeded, **{"detector": seeded.kind, **changes})
            same = trained_alike(own)
            if same not in trained:
                detector: Any = make_detector(own)
                detector.claim(train, out / f"{number}-{seed}")
                detector.fit_weights(train, out / f"{number}-{seed}", pools)
                trained[same] = detector.eval()
            trained[same].config = own
            scores = {key: trained[same].logit(rows).double().detach().numpy() for key, rows in described.items()}
            fix_by(trained[same], train, val, scores["val"])
            trained[same].save(out / f"{slug(name)}-{seed}")
            thresholds[name].append(trained[same].threshold)
            probability = trained[same].probability(scores["test"])
            tables[name].append(test.manifest.assign(score=scores["test"], probability=probability))
            progress(f"seed {seed}: {name}")
    known: dict[str, Any] = {
        "seen_generators": set(train.manifest["generator"]) - {""},
        "seen_sources": set(train.manifest["source"]),
    }
    first = next(iter(variants))
    entries = {}
    for name in variants:
        values = evaluate(tables[name], thresholds[name], **known).to_dict()
        entry: dict[str, Any] = {
            "changes": dict(variants[name]),
            "values": values["means"],
        }
        if name != first:
            entry["first_minus_this"] = compare(tables[first], tables[name], **known).to_dict()["means"]
        entries[name] = entry
    return entries
