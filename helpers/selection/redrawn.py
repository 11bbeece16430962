"""Does a detector know copies of photographs by a decoder that training did not have?

Each photograph is redrawn by autoencoders of real generators. Photograph and copy show the same, and both are encoded
once more at the same JPEG quality; so nothing but the decoder's marks tells them apart. Decoders that training saw are
measured beside those that it did not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.images import Image, decode, encode_jpeg
from helpers.detectors.base import Detector
from helpers.evaluation.metrics import Interval, auc, rate_interval
from helpers.pixels.autoencoders import NAMES, load_autoencoder

__all__ = ["QUALITY", "Redrawn", "redrawn_study"]

QUALITY = 90
"""JPEG quality that photographs and copies end with."""


@dataclass(frozen=True)
class Redrawn:
    """How well one decoder's copies are told from their photographs.

    Attributes:
        decoder: Name of the autoencoder.
        seen: Whether training saw copies by it.
        photographs: Their number.
        auc: Of copies against photographs.
        higher: Share of photographs whose copy has the higher score.
        called_generated: Share of copies with a score at or above the stored threshold.
    """

    decoder: str
    seen: bool
    photographs: int
    auc: Interval
    higher: float
    called_generated: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        area = {name: round(getattr(self.auc, name), 4) for name in ("value", "low", "high")}
        rates = {"higher": round(self.higher, 4), "called_generated": round(self.called_generated, 4)}
        return {"decoder": self.decoder, "seen": self.seen, "photographs": self.photographs, "auc": area, **rates}


def redrawn_study(
    detector: Detector,
    photographs: Sequence[Image],
    folder: Path,
    *,
    names: Sequence[str] = NAMES,
    n_draws: int = 1000,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[float, list[Redrawn]]:
    """Score photographs and their copies by each decoder.

    Args:
        detector: Trained.
        photographs: Each uint8 (3, H, W).
        folder: Holds the weights of the autoencoders.
        names: Autoencoders.
        n_draws: Bootstrap draws over photographs, each with its copy.
        progress: Told what is done.

    Returns:
        Share of the photographs that are called generated, and one entry for each decoder.
    """
    own = detector.score(_encoded(img) for img in photographs)
    known = set(getattr(detector.config, "autoencoders", ()))
    results = []
    for name in names:
        decoder = load_autoencoder(folder, name)
        copies = detector.score(_encoded(decoder.redraw(img)) for img in photographs)
        area = _auc_interval(own, copies, n_draws)
        rates = float(np.mean(copies > own)), float(np.mean(copies >= detector.threshold))
        results.append(Redrawn(name, name in known, len(own), area, *rates))
        progress(f"{name}: AUC {area.value:.3f}")
    return float(np.mean(own >= detector.threshold)), results


def _encoded(img: Image) -> Image:
    return decode(encode_jpeg(img, QUALITY))


def _auc_interval(own: NDArray[np.float64], copies: NDArray[np.float64], n_draws: int) -> Interval:
    """AUC with a bootstrap over photographs, each with its copy."""
    count = len(own)
    labels = np.repeat([0, 1], count)
    draws = np.random.default_rng(0).integers(count, size=(n_draws, count))
    areas = np.array([auc(labels, np.r_[own[rows], copies[rows]]) for rows in draws])
    return rate_interval(float(auc(labels, np.r_[own, copies])), areas, level=0.95, n=count, smallest=count)
