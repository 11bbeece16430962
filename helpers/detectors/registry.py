"""Detectors by name: make one from a configuration, load one from disk."""

import hashlib
import importlib
import json
from dataclasses import replace
from pathlib import Path

import torch

from helpers.detectors.base import CARD, WEIGHTS, Detector
from helpers.detectors.config import DetectorConfig, DetectorError, config_from
from helpers.evaluation.metrics import PlattScaling
from helpers.training import load_weights

__all__ = ["DETECTORS", "load_detector", "make_detector", "register", "weights_hash"]

DETECTORS: dict[str, type[Detector]] = {}
"""Every detector by its name; filled by `helpers.detectors.ntf.detector` and `helpers.detectors.baselines`."""


def register(kind: type[Detector]) -> type[Detector]:
    """Add a class of detectors under its name."""
    DETECTORS[kind.name] = kind
    return kind


def make_detector(config: DetectorConfig) -> Detector:
    """Make an untrained detector whose fresh weights depend on the seed alone.

    Raises:
        DetectorError: There is no such detector.
    """
    for module in ("ntf.detector", "baselines", "ensemble"):  # they register themselves
        importlib.import_module(f"helpers.detectors.{module}")
    if config.detector not in DETECTORS:
        raise DetectorError(f"{config.detector}: no such detector (known: {', '.join(sorted(DETECTORS))})")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return DETECTORS[config.detector](config)


def weights_hash(folder: Path) -> str:
    """Compute the SHA-256 of stored weights, by which a record knows its detector."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def load_detector(folder: Path) -> Detector:
    """Read a detector that `save` wrote.

    Args:
        folder: Holds weights and card.

    Returns:
        The detector, ready to score.

    Raises:
        DetectorError: There is no readable card.
        StorageError: The weights are unsound.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config = config_from(card["config"], CARD)
        # All weights lie in the folder; the file that a frozen backbone came from need not be here.
        detector = make_detector(replace(config, backbone_weights=""))
        detector.config = config
        detector.threshold = float(card["threshold"])
        detector.calibration = PlattScaling(**card["calibration"])
        detector.history = dict(card["training"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{folder}: holds no detector: {error}") from None
    load_weights(detector, folder / WEIGHTS)
    return detector.eval()
