"""What lesson 04 computes: targets and terms compared on the zoo, and one process against two."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from helpers.data.image_set import ImageSet
from helpers.detectors.base import Detector, batches
from helpers.detectors.config import DetectorConfig
from helpers.detectors.ntf.detector import NaturalTraceConfig, NaturalTraceDetector, fit_stage1
from helpers.detectors.registry import config_as, make_detector
from helpers.evaluation.report import Mean, compare, evaluate
from helpers.generators.sets import TRAINING_GENERATORS, zoo_set
from helpers.lessons.lesson04.toys import CircleTask, Pairs
from helpers.training import FitConfig, fit

__all__ = [
    "ARMS",
    "FULL",
    "TIER",
    "Arm",
    "Scores",
    "all_scores",
    "experiment",
    "kept_scores",
    "process_gap",
    "report_of",
    "run_arm",
]

TIER = "unseen-source"
"""The test photographs are of scenes that training never saw."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        targets: "soft", "hard", "uniform", or "none" for cross-entropy alone.
        mapped: Whether the student starts from a stage 1 that was trained.
    """

    targets: str
    mapped: bool

    def config(self, base: NaturalTraceConfig) -> DetectorConfig:
        """Give the settings of this arm; without stage 1 its steps go to stage 2, so that all arms take as many."""
        terms = {"contrast": 0, "repulsion": 0} if self.targets == "none" else {"targets": self.targets}
        if self.mapped:
            return base.changed(transfer=terms)
        fresh = base.changed(transfer=terms, mapping_steps=0, steps=base.steps + base.mapping_steps)
        return config_as(fresh, "cross_entropy") if self.targets == "none" else fresh


ARMS = tuple(Arm(targets, mapped) for mapped in (True, False) for targets in ("soft", "hard", "uniform", "none"))


FULL = (Arm("soft", mapped=True), "both")
"""The whole method, which the others are compared with."""


Scores = dict[tuple[Arm, str], list[pd.DataFrame]]


@torch.inference_mode()
def all_scores(detector: Detector, images: ImageSet) -> dict[str, np.ndarray]:
    """Score images of one size by everything that a detector can judge by.

    Args:
        detector: Trained.
        images: N images, each no larger than a window.

    Returns:
        "head", and of natural-trace detectors also "proximity", "both" and "stage1": each (N,).
    """
    if not isinstance(detector, NaturalTraceDetector):
        return {"head": detector.score(images.images())}
    stack = torch.stack(list(images.images()))
    parts = torch.cat([detector.eval().parts(batch) for batch in batches(stack, 64)])
    head, after, before = ((parts - detector.centre) / detector.spread).double().numpy().T
    return {"head": head, "proximity": after, "both": (head + after) / 2, "stage1": before}


def run_arm(arm: Arm, base: NaturalTraceConfig, sets: Mapping[str, ImageSet], folder: Path) -> dict[str, np.ndarray]:
    """Train one arm with one seed, and score the test set.

    Args:
        arm: How to train.
        base: Settings that all arms share, the seed among them.
        sets: "train", "val", "test".
        folder: Of this seed; stage 1 is trained once, and every mapped arm takes it over.

    Returns:
        Kind of score -> scores of the test images.
    """
    config, out = arm.config(base), folder / f"{arm.targets}-{'mapped' if arm.mapped else 'fresh'}"
    if arm.mapped:
        first = make_detector(config)
        assert isinstance(first, NaturalTraceDetector)
        fit_stage1(first.teacher, sets["train"], first.config, folder / "stage1")
        shutil.copytree(folder / "stage1", out / "stage1")
    return all_scores(make_detector(config).fit(sets["train"], sets["val"], out), sets["test"])


def kept_scores(arm: Arm, scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the scores that mean something: without contrast only the head was trained; stage 1 is told once."""
    if arm.targets == "none":
        return {"head": scores["head"]}
    return {name: value for name, value in scores.items() if name != "stage1" or arm == FULL[0]}


def report_of(scores: Scores) -> list[dict[str, Any]]:
    """Turn scores into mean average precision over unseen generators, and compare each with the full method.

    Args:
        scores: (arm, kind of score) -> one table per seed, as `helpers.evaluation.report` takes them.

    Returns:
        One record per arm and kind of score, for JSON: `unseen` and `seen` (mAP), `difference` (the full method minus
        this one, paired, over unseen generators; None for the full method itself), `generators` (AP of each).
    """
    known: dict[str, Any] = {"seen_generators": TRAINING_GENERATORS, "seen_sources": ()}
    records = []
    for (arm, kind), tables in scores.items():
        # Average precision asks for no threshold, so any will do: accuracies are not kept.
        report = evaluate(tables, [0.0] * len(tables), **known)
        apart = None if (arm, kind) == FULL else compare(scores[FULL], tables, **known)
        records.append(
            {
                "targets": arm.targets,
                "stage1": arm.mapped,
                "score": kind,
                "unseen": _ap(report.mean(TIER, "unseen")),
                "seen": _ap(report.mean(TIER, "seen")),
                "difference": _ap(apart.mean(TIER, "unseen")) if apart else None,
                "generators": {row.generator: round(row.metrics["ap"].value, 4) for row in report.rows},
            }
        )
    return records


def _ap(mean: Mean) -> dict[str, Any]:
    precision = mean.metrics["ap"]
    interval = {name: round(getattr(precision, name), 4) for name in ("value", "low", "high")}
    return {**interval, "per_run": [round(value, 4) for value in mean.per_run["ap"]]}


def experiment(base: NaturalTraceConfig, seeds: Sequence[int], folder: Path, *, quiet: bool = True) -> dict[str, Any]:
    """Train every arm with every seed, and compare them on the zoo's test images.

    Args:
        base: Settings that all arms share.
        seeds: One run each.
        folder: For checkpoints and logs.
        quiet: Show no progress.

    Returns:
        Settings and results, for JSON.
    """
    torch.set_num_threads(1)  # the same numbers on every machine with this kind of processor
    sets = {split: zoo_set(split, TRAINING_GENERATORS) for split in ("train", "val")} | {"test": zoo_set("test")}
    scores: Scores = {}
    with tqdm(total=len(seeds) * len(ARMS), unit="run", disable=quiet or None) as bar:
        for seed in seeds:
            for arm in ARMS:
                arm_scores = run_arm(arm, base.changed(seed=seed), sets, folder / str(seed))
                for kind, values in kept_scores(arm, arm_scores).items():
                    table = sets["test"].manifest.assign(score=values, probability=0.5)
                    scores.setdefault((arm, kind), []).append(table)
                bar.update()
    manifest = sets["test"].manifest
    fakes = manifest[manifest["label"] == "fake"]
    return {
        "seeds": list(seeds),
        "mapping_steps": base.mapping_steps,
        "steps": base.steps,
        "batch_size": base.batch_size,
        "size": base.size,
        "trained_on": list(TRAINING_GENERATORS),
        "unseen": [name for name in fakes["generator"].unique() if name not in TRAINING_GENERATORS],
        "photographs": int((manifest["label"] == "real").sum()),
        "fakes_each": int(fakes.groupby("generator").size().iloc[0]),
        "resampled": "image",
        "arms": report_of(scores),
    }


def process_gap(folder: Path, *, coupled: bool, gather: bool = False, steps: int = 20) -> float:
    """Train the toy of stage 2 on one process and on two, and return the largest difference of any weight.

    Args:
        folder: For checkpoints and logs.
        coupled: Whether the batch's own fakes are the negatives.
        gather: Whether those of all processes are.
        steps: Of gradient descent.

    Returns:
        Largest absolute difference.
    """
    weights = []
    for devices in (1, 2):
        strategy = "auto" if devices == 1 or "fork" not in get_all_start_methods() else "ddp_fork"
        config = FitConfig(
            steps=steps, batch_size=16, accelerator="cpu", devices=devices, strategy=strategy, progress=False
        )
        task = fit(CircleTask(coupled, gather=gather), Pairs(), config, folder / f"{coupled}-{gather}-{devices}").task
        weights.append(torch.cat([parameter.detach().flatten() for parameter in task.parameters()]))
    return float((weights[0] - weights[1]).abs().max())
