"""Choosing without test images: whole families of generators and whole photo sources are held out, in a few folds.

Each fold leaves some families and some sources out of training, and asks how well their pictures are told apart; so
neither the generator nor the camera of a picture that is judged here was seen. Mean and worst fold decide what ships.
The scores of the held-out pictures also fix threshold, calibration and p-values, since a picture from elsewhere is more
like them than like a validation picture of a known source.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from helpers.data.image_set import ImageSet
from helpers.data.images import Image
from helpers.data.manifest import LABELS
from helpers.data.seeds import item_generator
from helpers.detectors.config import DetectorError
from helpers.detectors.ntf.pretrained import SCORES, PretrainedConfig, PretrainedTraceDetector, combine
from helpers.detectors.pool import MapPool
from helpers.detectors.registry import make_detector
from helpers.evaluation.metrics import auc
from helpers.pixels.histories import MARGIN, Histories, apply_history

__all__ = ["GroupedFold", "grouped_folds", "grouped_holdout", "summary"]

HISTORIES = ("plain", "drawn")
"""Every held-out picture is judged as it is, and after a history drawn for it."""


@dataclass(frozen=True)
class GroupedFold:
    """What one fold holds out.

    Attributes:
        families: Names of generators up to their first dash, so that variants stay together.
        sources: Photo sources.
        held_out: One flag for each row of the manifest.
    """

    families: tuple[str, ...]
    sources: tuple[str, ...]
    held_out: NDArray[np.bool_]


def _shared_out(sizes: pd.Series, count: int, placed: Mapping[str, int] | None = None) -> list[list[str]]:
    """Share groups out so that the parts are about equally large: the largest first, each to the smallest part.

    Args:
        sizes: Group -> size.
        count: Parts.
        placed: Group -> part, for groups whose part is given.

    Returns:
        Groups of each part.
    """
    given = dict(placed or {})
    parts: list[list[str]] = [[] for _ in range(count)]
    totals = [0] * count
    for name, size in sorted(sizes.items(), key=lambda item: (item[0] not in given, -item[1], item[0])):
        part = given.get(str(name), totals.index(min(totals)))
        parts[part].append(str(name))
        totals[part] += int(size)
    return parts


def _companions(sources: pd.Series, families: pd.Series, repositories: pd.Series) -> dict[str, str]:
    """Find the photo sources that come from one repository with a family of generators.

    Such photographs and pictures went through one pipeline, and often show the same things. Held out apart, each would
    be judged by its companion: CelebA's photographs would pass for StarGAN's pictures, and the other way round.

    Args:
        sources: Photo source of each photograph.
        families: Family of each generated picture.
        repositories: `origin_repo` of all rows; it may be empty.

    Returns:
        Source -> family.
    """
    families_of = families.groupby(repositories).first()
    repository_of = repositories.loc[sources.index].groupby(sources).first()
    return {str(name): str(families_of[repo]) for name, repo in repository_of.items() if repo and repo in families_of}


def grouped_folds(manifest: pd.DataFrame, count: int = 4) -> list[GroupedFold]:
    """Share families and photo sources out over folds; a source is held out with the family of its repository.

    Args:
        manifest: Rows of the train split, with label, generator and source, and perhaps origin_repo.
        count: Folds.

    Returns:
        The folds; every row is held out in exactly one.

    Raises:
        DetectorError: There are fewer families or sources than folds, or rows of another split.
    """
    if not set(manifest["split"]) <= {"train", "val"}:
        raise DetectorError("only the splits train and val may be held out: choosing on test images is not choosing")
    manifest = manifest.reset_index(drop=True)
    real = (manifest["label"] == LABELS[0]).to_numpy()
    families = manifest["generator"].astype(str).str.split("-").str[0]
    sizes = families[~real].value_counts(), manifest["source"][real].value_counts()
    if min(map(len, sizes)) < count:
        raise DetectorError(f"{count} folds need as many families of generators, and as many photo sources")
    by_family = _shared_out(sizes[0], count)
    fold_of = {name: number for number, names in enumerate(by_family) for name in names}
    repositories = manifest.get("origin_repo", pd.Series("", index=manifest.index)).astype(str)
    companions = _companions(manifest["source"][real], families[~real], repositories)
    by_source = _shared_out(sizes[1], count, {name: fold_of[family] for name, family in companions.items()})
    folds = []
    for names, sources in zip(by_family, by_source, strict=True):
        held = np.where(real, manifest["source"].isin(sources), families.isin(names))
        folds.append(GroupedFold(tuple(sorted(names)), tuple(sorted(sources)), held))
    return folds


def _with_history(img: Image, row: int) -> Image:
    """Give a picture a history of its own; only its margin is cut off."""
    side = min(img.shape[-2:]) - MARGIN
    return apply_history(img, side, Histories(), item_generator(0, 7, row))


@torch.inference_mode()
def _judge(detector: PretrainedTraceDetector, images: Sequence[Image], device: str) -> NDArray[np.float64]:
    """Compute the standardised parts of the score: (N, 4)."""
    detector.eval().to(device)
    parts = np.zeros((len(images), 4))
    for shape in {img.shape for img in images}:
        places = [place for place, img in enumerate(images) if img.shape == shape]
        for start in range(0, len(places), 8):
            some = places[start : start + 8]
            stack = torch.stack([images[place] for place in some]).contiguous(memory_format=torch.channels_last)
            parts[some] = detector.member_scores(stack.to(device)).double().cpu().numpy()
    return parts


def grouped_holdout(
    images: ImageSet,
    pool: MapPool,
    config: PretrainedConfig,
    out: Path,
    *,
    learnt: NDArray[np.bool_] | None = None,
    count: int = 4,
    histories: Sequence[str] = HISTORIES,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Train once per fold on what remains, and judge what was held out.

    Args:
        images: The images of the pool.
        pool: Maps of their crops.
        config: The method.
        out: Folder for checkpoints.
        learnt: One flag for each image: learn from it, unless it is held out; all when None.
        count: Folds.
        histories: Of `HISTORIES`.
        device: Where pictures are judged.
        progress: Told what is done.

    Returns:
        For each held-out picture and history: path, label, generator, source, fold, history, and each score.
    """
    tables = []
    for number, fold in enumerate(grouped_folds(images.manifest, count)):
        detector = make_detector(config)
        assert isinstance(detector, PretrainedTraceDetector)
        learning = ~fold.held_out if learnt is None else learnt & ~fold.held_out
        folder = out / f"fold{number}-seed{config.seed}"
        detector.claim(images.subset(np.flatnonzero(learning)), folder)
        detector.fit_pool(pool, folder, learning)
        rows = np.flatnonzero(fold.held_out)
        for history in histories:
            pictures = [images.image(int(row)) for row in rows]
            if history == "drawn":
                pictures = [_with_history(img, int(row)) for img, row in zip(pictures, rows, strict=True)]
            parts = torch.from_numpy(_judge(detector, pictures, device))
            about = images.manifest.iloc[rows][["path", "label", "generator", "source"]]
            names = SCORES if config.teacher else tuple(name for name in SCORES if name != "stage1")
            scores = {name: combine(parts, name).numpy() for name in names}
            tables.append(about.assign(fold=number, history=history, **scores))
        progress(f"fold {number + 1} of {count}: without {', '.join(fold.families)} and {', '.join(fold.sources)}")
    return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame, history: str | None = None) -> list[dict[str, float | str]]:
    """Say how well each score tells held-out pictures apart.

    Args:
        table: As `grouped_holdout` returns it.
        history: Only this one; all when None.

    Returns:
        For each score: mean and worst AUC over folds, and the mean over folds of the mean AUC of their generators.
    """
    chosen = table if history is None else table[table["history"] == history]
    ranking: list[dict[str, float | str]] = []
    for score in [name for name in SCORES if name in table]:
        pooled, each = [], []
        for _, part in chosen.groupby("fold"):
            real = part[part["label"] == LABELS[0]]
            fakes = part[part["label"] == LABELS[1]]
            pooled.append(_auc(real[score], fakes[score]))
            each.append(np.mean([_auc(real[score], rows[score]) for _, rows in fakes.groupby("generator")]))
        row = {"mean": np.mean(pooled), "worst": np.min(pooled), "generators": np.mean(each)}
        ranking.append({"score": score, **{name: round(float(value), 4) for name, value in row.items()}})
    return ranking


def _auc(real: pd.Series, fake: pd.Series) -> float:
    labels = np.r_[np.zeros(len(real), int), np.ones(len(fake), int)]
    return float(auc(labels, np.r_[real, fake]))
