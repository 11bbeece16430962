"""`python -m helpers generalization`: seven detectors, trained on four generators of the zoo, tested on all twelve."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from helpers.commands.train import CONFIGS
from helpers.detector import Detector, DetectorError, make_detector, read_config
from helpers.evaluation import Report, evaluate
from helpers.training_data import ImageSet
from helpers.zoo_sets import TRAINING_GENERATORS, zoo_set

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
        changes = {**LINE_UP[name], "seed": seed, "steps": steps, "mapping_steps": mapping_steps}
        config = read_config(CONFIGS / "zoo.toml", **changes)
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


def generalization(
    detectors: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(LINE_UP),
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the supervised stage.")] = 200,
    mapping_steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 100,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Train seven detectors on four generators of the zoo and test them on all twelve: AP with intervals."""
    names = detectors.split(",")
    if unknown := sorted(set(names) - set(LINE_UP)):
        raise DetectorError(f"{', '.join(unknown)}: not in the line-up (known: {', '.join(LINE_UP)})")
    found = {name: measure(name, list(range(seeds)), steps, mapping_steps, draws) for name in names}
    if as_json:
        result: dict[str, Any] = {
            "trained_on": list(TRAINING_GENERATORS),
            "seeds": list(range(seeds)),
            "steps": steps,
            "mapping_steps": mapping_steps,
            "detectors": {name: report.to_dict() for name, (report, _) in found.items()},
        }
        typer.echo(json.dumps(result, indent=1))
        return
    console = Console(width=max(110, Console().width))
    title = f"AP on the zoo, {seeds} seed(s), trained on {', '.join(TRAINING_GENERATORS)}"
    shown = Table("detector", "8 unseen", "4 seen", "accuracy, unseen", "CPU seconds", title=title)
    for name, (report, seconds) in found.items():
        tier = report.tiers[0]
        unseen, seen = report.mean(tier, "unseen").metrics, report.mean(tier, "seen").metrics
        shown.add_row(name, str(unseen["ap"]), str(seen["ap"]), str(unseen["accuracy"]), f"{seconds:.0f}")
    console.print(shown)
