"""Seven detectors, trained on four generators of the zoo and tested on all twelve."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from helpers.data.image_set import ImageSet
from helpers.detectors.base import Detector
from helpers.detectors.config import config_path
from helpers.detectors.registry import config_as, make_detector, read_config
from helpers.evaluation.report import Report, evaluate
from helpers.generators.sets import TRAINING_GENERATORS, zoo_set

__all__ = ["LINE_UP", "measure", "score_table"]

LINE_UP: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "spectrum": {"detector": "spectrum"},
        "cross_entropy_rgb": {"detector": "cross_entropy", "view": "rgb"},
        "cross_entropy_difference": {"detector": "cross_entropy", "view": "difference"},
        "cross_entropy": {"detector": "cross_entropy"},
        "supcon": {"detector": "supcon"},
        "one_class": {"detector": "one_class"},
        "ntf": {"detector": "ntf"},
    }
)
"""Name of a detector -> what it changes in `data/configs/zoo.toml`; the view there is a bank of high-pass filters."""


def score_table(detector: Detector, images: ImageSet) -> pd.DataFrame:
    """Score a set in memory: its manifest with `score` and `probability`."""
    scores = detector.score(images.images())
    return images.manifest.assign(score=scores, probability=detector.probability(scores))


def measure(name: str, seeds: list[int], steps: int, mapping_steps: int, draws: int) -> tuple[Report, float]:
    """Train one detector of the line-up once for each seed, and test it on all generators of the zoo.

    Args:
        name: One of `LINE_UP`.
        seeds: Seeds of weights, crops and order.
        steps: Steps of the supervised stage.
        mapping_steps: Steps of stage 1, where there is one.
        draws: Bootstrap draws.

    Returns:
        The report over all seeds, and the seconds of processor time that training and scoring took.
    """
    train, val = (zoo_set(split, TRAINING_GENERATORS) for split in ("train", "val"))
    test = zoo_set("test")
    runs, begin = [], time.process_time()
    for seed in seeds:
        base = read_config(config_path("zoo"), seed=seed, steps=steps, mapping_steps=mapping_steps)
        config = config_as(base, **LINE_UP[name])
        with tempfile.TemporaryDirectory() as folder:
            detector = make_detector(config).fit(train, val, Path(folder))
        runs.append((detector.threshold, score_table(detector, test)))
    seconds = time.process_time() - begin
    report = evaluate(
        [table for _, table in runs],
        [threshold for threshold, _ in runs],
        seen_generators=TRAINING_GENERATORS,
        seen_sources=sorted(set(train.manifest["source"])),
        n_draws=draws,
    )
    return report, seconds
