"""What each part of stage 1 is worth on the zoo: one change at a time, the same photographs, several seeds.

Every variant trains an encoder on photographs alone, makes natural traces of it, and ranks test images by their
proximity to these traces: crops of photographs of two scenes that nobody has seen, beside fakes of twelve generators
that the encoder has never seen either, and beside broken copies of held-out photographs.

Taught in: notebook 03.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from helpers.detector import DetectorConfig
from helpers.embed import neighbour_purity
from helpers.evaluation import Mean, Row, compare, evaluate
from helpers.generators import RECIPES
from helpers.metrics import Interval
from helpers.networks import build_backbone
from helpers.trace_mapping import TraceEncoder, TraceTerms, map_traces, natural_traces
from helpers.traces import decorrelation_loss, effective_rank, proximity
from helpers.training_data import ImageSet, PhotographViews
from helpers.views import BREAKERS
from helpers.zoo_sets import zoo_set

__all__ = ["FULL", "VARIANTS", "Remembered", "Variant", "broken_copies", "fresh_encoder", "spread", "study"]

TIER = "unseen-source"
"""The test photographs are of scenes that training never saw."""
BROKEN_COPIES = 64
"""Test photographs that are broken in each way; the others stand beside them."""


@dataclass(frozen=True)
class Variant:
    """One way to train stage 1.

    Attributes:
        terms: Weights that differ from those of `TraceTerms`.
        breakers: Ways to break traces; none: no broken views at all.
        trained: Whether the encoder is trained at all.
    """

    terms: Mapping[str, float] = field(default_factory=dict)
    breakers: tuple[str, ...] = tuple(BREAKERS)
    trained: bool = True


FULL = "all four terms"
ALONE = MappingProxyType({"heterogeneous": 0.0, "decorrelation": 0.0, "variance": 0.0})
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        FULL: Variant(),
        "the homogeneous term alone": Variant(ALONE),
        "attraction alone": Variant(ALONE, breakers=()),
        "without the homogeneous term": Variant({"homogeneous": 0.0}),
        "without broken views": Variant(breakers=()),
        "without the heterogeneous term": Variant({"heterogeneous": 0.0}),
        "without decorrelation": Variant({"decorrelation": 0.0}),
        "without the variance floor": Variant({"variance": 0.0}),
        "not trained": Variant(trained=False),
        **{f"broken by {name} alone": Variant(breakers=(name,)) for name in BREAKERS},
    }
)
"""What the ablation compares; the first is the method."""


class Remembered(Dataset[dict[str, Tensor]]):
    """Views that are made once and used by every variant of a seed, so that only the named change differs.

    Args:
        views: Where they come from; item and epoch determine a view.
        broken: Keep the broken views.
    """

    def __init__(self, views: PhotographViews, broken: bool = True) -> None:
        self.views, self.broken, self.epoch = views, broken, 0
        self.known: dict[tuple[int, int], dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        key = (self.epoch, index)
        if key not in self.known:
            self.views.epoch = self.epoch
            self.known[key] = self.views[index]
        example = self.known[key]
        return example if self.broken else {**example, "broken": example["broken"][:0]}

    def without_broken(self) -> "Remembered":
        """Share these views, but drop the broken ones."""
        other = Remembered(self.views, broken=False)
        other.known = self.known
        return other


def fresh_encoder(config: DetectorConfig) -> TraceEncoder:
    """Make the encoder of a configuration; its weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return TraceEncoder(build_backbone(config.backbone, config.view), config.embedding)


def broken_copies(images: ImageSet, breaker: str, rows: Sequence[int]) -> Tensor:
    """Break some images in one way; the settings depend on the row alone.

    Args:
        images: Square images of one even size.
        breaker: One of `BREAKERS`.
        rows: Which images.

    Returns:
        uint8 (len(rows), 3, S, S).
    """
    seeded = torch.Generator().manual_seed
    return torch.stack([BREAKERS[breaker](images.image(row), seeded(row)) for row in rows])


def spread(embedding: Tensor) -> float:
    """How far rows of unit norm lie from their mean: the second alarm, for the collapse that the rank does not see.

    Args:
        embedding: Unit-norm rows, float (N, D).

    Returns:
        Root of the mean squared distance from the mean: 0 for a single point, 1 for rows whose mean is zero.

    Taught in: notebook 03.
    """
    return float((embedding - embedding.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def study(
    config: DetectorConfig,
    seeds: Sequence[int],
    folder: Path,
    *,
    variants: Mapping[str, Variant] = VARIANTS,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train every variant with every seed and see what its traces tell apart.

    Args:
        config: Settings of stage 1: backbone, view, steps, crops, number of prototypes.
        seeds: One run each.
        folder: For checkpoints.
        variants: What to compare; the first is the one that the others are compared with.
        progress: Told what is done.

    Returns:
        Settings and results, for JSON. Of each variant: `mean` (AUC over the twelve generators), `difference` (the
        first variant minus this one, paired), `generators` and `broken` (AUC of each); and per run `rank`, `spread`,
        `scene` and `correlation`.

    Taught in: notebook 03.
    """
    torch.set_num_threads(1)  # the same numbers on every machine with this kind of processor
    train, test = zoo_set("train", ()), zoo_set("test")
    everything = _test_images(test)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for seed in seeds:
        own = replace(config, seed=seed)
        pools: dict[tuple[str, ...], Remembered] = {}
        for name, variant in variants.items():
            encoder = _trained(variant, own, train, pools, folder / f"{seed}" / name.replace(" ", "-"))
            runs[name].append(_measured(encoder, own, train, test, everything))
            progress(f"seed {seed}: {name}")
    fakes = test.manifest[test.manifest["label"] == "fake"]
    return {
        "seeds": list(seeds),
        "steps": config.mapping_steps,
        "photographs_per_step": max(config.batch_size // 4, 4),
        "size": config.size,
        "prototypes": config.prototypes,
        "train_scenes": sorted(set(train.manifest["source"])),
        "test_scenes": sorted(set(test.manifest["source"]) - set(RECIPES)),
        "photographs": int((test.manifest["label"] == "real").sum()),
        "fakes_each": int(fakes.groupby("generator").size().iloc[0]),
        "broken_each": BROKEN_COPIES,
        "resampled": "image",
        "enlarges": {name: RECIPES[name].enlarges for name in fakes["generator"].unique()},
        "variants": list(_entries(runs, variants, test)),
    }


def _test_images(test: ImageSet) -> dict[str, Tensor]:
    """Stack the test images, and broken copies of the first photographs: "test" or name of a breaker -> images."""
    copies = {name: broken_copies(test, name, range(BROKEN_COPIES)) for name in BREAKERS}
    return {"test": torch.stack(list(test.images())), **copies}


def _trained(
    variant: Variant, config: DetectorConfig, train: ImageSet, pools: dict[tuple[str, ...], Remembered], out: Path
) -> TraceEncoder:
    """Train one variant with the views of its seed."""
    encoder = fresh_encoder(config)
    if not variant.trained:
        return encoder.eval()
    kinds = variant.breakers or tuple(BREAKERS)
    if kinds not in pools:
        pools[kinds] = Remembered(PhotographViews(train, config.augmentation, config.seed, kinds=kinds))
    views = pools[kinds] if variant.breakers else pools[kinds].without_broken()
    settings = config.fit_config(config.mapping_steps, max(config.batch_size // 4, 4))
    terms = TraceTerms(**variant.terms)
    return map_traces(encoder, train, settings, out, terms=terms, learning_rate=config.learning_rate, views=views)


@torch.inference_mode()
def _measured(
    encoder: TraceEncoder, config: DetectorConfig, train: ImageSet, test: ImageSet, images: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Measure what one encoder tells apart: scores, ranks, and how much either embedding knows of the scene."""
    bank = natural_traces(encoder, train, config.augmentation, count=config.prototypes, seed=config.seed)
    found = {name: _embeddings(encoder, stack) for name, stack in images.items()}
    reals = torch.from_numpy(np.flatnonzero(test.labels == 0))
    homogeneous, heterogeneous = (embedding[reals] for embedding in found["test"])
    copies = torch.cat([found[name][0] for name in BREAKERS])
    return {
        "scores": {name: -proximity(embedding, bank).double().numpy() for name, (embedding, _) in found.items()},
        "rank": {
            "photographs": effective_rank(homogeneous),
            "photographs and broken copies": effective_rank(torch.cat([homogeneous, copies])),
            "heterogeneous": effective_rank(heterogeneous),
        },
        "spread": {
            "photographs": spread(homogeneous),
            "photographs and broken copies": spread(torch.cat([homogeneous, copies])),
            "heterogeneous": spread(heterogeneous),
        },
        "correlation": float(decorrelation_loss(homogeneous, heterogeneous)),
        "scene": {
            "homogeneous": _scene_purity(homogeneous, test, reals),
            "heterogeneous": _scene_purity(heterogeneous, test, reals),
        },
    }


def _embeddings(encoder: TraceEncoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embed a stack of images, 64 at a time: homogeneous and heterogeneous."""
    homogeneous, heterogeneous = zip(*(encoder(part) for part in torch.split(images, 64)), strict=True)
    return torch.cat(homogeneous), torch.cat(heterogeneous)


def _scene_purity(embedding: Tensor, test: ImageSet, rows: Tensor) -> float:
    """Share of the five nearest neighbours of a photograph's crop that show the same scene."""
    scenes = test.manifest["source"].iloc[rows.numpy()].to_numpy()
    return neighbour_purity(embedding.numpy(), scenes, n_neighbours=5).purity.value


def _entries(
    runs: Mapping[str, list[dict[str, Any]]], variants: Mapping[str, Variant], test: ImageSet
) -> Iterator[dict[str, Any]]:
    """Turn measurements into one record per variant."""
    known: dict[str, Any] = {"seen_generators": (), "seen_sources": ()}
    zoo = {name: [_zoo_table(run["scores"]["test"], test) for run in found] for name, found in runs.items()}
    first = next(iter(variants))
    for name, found in runs.items():
        # An AUC asks for no threshold, so any will do.
        report = evaluate(zoo[name], [0.0] * len(found), **known)
        broken = evaluate([_broken_table(run["scores"], test) for run in found], [0.0] * len(found), **known)
        apart = None if name == first else compare(zoo[first], zoo[name], **known)
        yield {
            "name": name,
            "terms": dict(variants[name].terms),
            "breakers": list(variants[name].breakers),
            "mean": _auc(report.mean(TIER, "unseen")),
            "difference": _auc(apart.mean(TIER, "unseen")) if apart else None,
            "generators": {row.generator: _auc(row) for row in report.rows},
            "broken": {row.generator: _auc(row) for row in broken.rows},
            "rank": _per_run(found, "rank"),
            "spread": _per_run(found, "spread"),
            "scene": _per_run(found, "scene"),
            "correlation": [round(run["correlation"], 4) for run in found],
        }


def _per_run(runs: Sequence[Mapping[str, Any]], part: str) -> dict[str, list[float]]:
    return {name: [round(run[part][name], 3) for run in runs] for name in runs[0][part]}


def _auc(part: Mean | Row) -> dict[str, Any]:
    found: Interval = part.metrics["auc"]
    interval: dict[str, Any] = {key: round(getattr(found, key), 4) for key in ("value", "low", "high")}
    return {**interval, "per_run": [round(v, 4) for v in part.per_run["auc"]]} if isinstance(part, Mean) else interval


def _zoo_table(scores: NDArray[np.float64], test: ImageSet) -> pd.DataFrame:
    return test.manifest.assign(score=scores, probability=0.5)


def _broken_table(scores: Mapping[str, NDArray[np.float64]], test: ImageSet) -> pd.DataFrame:
    """Scores of broken copies of the first photographs, as fakes, beside the photographs that were not broken."""
    whole = test.manifest.assign(score=scores["test"], probability=0.5)
    reals = whole[whole["label"] == "real"].iloc[BROKEN_COPIES:]
    copies = [
        whole.iloc[:BROKEN_COPIES].assign(label="fake", generator=name, family="breaker", score=scores[name])
        for name in BREAKERS
    ]
    parts = [table.assign(path=table["path"] + f"/{name}") for name, table in zip(BREAKERS, copies, strict=True)]
    return pd.concat([reals, *parts], ignore_index=True)
