"""Scores of the rows of a manifest, kept so that nothing is scored twice."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from helpers.data.images import Image, decode, encode_jpeg
from helpers.data.manifest import resolve
from helpers.detectors.base import WEIGHTS, Detector
from helpers.detectors.registry import load_detector

__all__ = ["cached_table", "score_table"]


def score_table(
    detector: Detector,
    df: pd.DataFrame,
    root: Path | None,
    *,
    change: Callable[[Image], Image] | None = None,
) -> pd.DataFrame:
    """Score every row of a manifest.

    Args:
        detector: A trained detector.
        df: Manifest rows.
        root: Folder of relative paths.
        change: What happens to each image before it is scored, such as a re-encoding.

    Returns:
        The rows with `score` and `probability`.
    """
    paths = tqdm(df["path"], unit="image", disable=None, leave=False)
    scores = detector.score_files((resolve(str(path), root) for path in paths), change)
    return df.assign(score=scores, probability=detector.probability(scores))


def cached_table(folder: Path, df: pd.DataFrame, root: Path | None, jpeg: int) -> pd.DataFrame:
    """Score a manifest's rows by the detector in a folder, or take the scores from its cache.

    The cache lies beside the weights; its key covers the weights, the images' hashes and the re-encoding.
    """
    detector = load_detector(folder)
    key = hashlib.sha256((folder / WEIGHTS).read_bytes())
    key.update("".join(df["sha256"]).encode() + str(jpeg).encode())
    cache = folder / "scores" / f"{key.hexdigest()[:16]}.npy"
    if cache.is_file():
        scores = np.load(cache)
        return df.assign(score=scores, probability=detector.probability(scores))

    def change(img: Image) -> Image:
        return decode(encode_jpeg(img, jpeg))

    table = score_table(detector, df, root, change=change if jpeg else None)
    with suppress(OSError):  # an installed package may lie where nothing can be written
        cache.parent.mkdir(exist_ok=True)
        np.save(cache, table["score"].to_numpy())
    return table
