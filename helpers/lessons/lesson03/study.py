"""Ablation study of stage 1 on the zoo: one change at a time, the same photographs, several seeds.

A small encoder is trained for a minute at most on views of photographs alone. Natural traces are made of it, and test
images are ranked by their proximity to these traces: crops of photographs of two scenes that nobody has seen, beside
fakes of twelve generators that the encoder has never seen either, and beside broken copies of held-out photographs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from helpers.data.image_set import ImageSet
from helpers.detectors.crops import Augmentation, PhotographViews
from helpers.detectors.networks import TraceNet, build_backbone
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceMapping, TraceTerms
from helpers.detectors.ntf.stage1_losses import decorrelation_loss, effective_rank, prototypes, proximity
from helpers.evaluation.embeddings import neighbour_purity
from helpers.evaluation.metrics import Interval, auc
from helpers.evaluation.report import Mean, Row, compare, evaluate
from helpers.generators import RECIPES
from helpers.generators.sets import zoo_set
from helpers.pixels.views import BREAKERS

__all__ = [
    "FULL",
    "PIXEL_DIFFUSION",
    "VARIANTS",
    "Settings",
    "Variant",
    "bank_of",
    "broken_copies",
    "embeddings",
    "layer_table",
    "small_encoder",
    "spread",
    "study",
    "train_briefly",
    "view_pool",
    "without_broken",
]

Pool = dict[str, Tensor]
"""Views: "first" and "second", kept, uint8 (N, 3, S, S); "broken", uint8 (N, 2, 3, S, S); "row", (N,), of what."""

TIER = "unseen-source"
"""The test photographs are of scenes that training never saw."""
BROKEN_COPIES = 64
"""Test photographs that are broken in each way; the others stand beside them."""
PIXEL_DIFFUSION = ("ddpm", "cosine", "edm", "flow", "dit")
"""Generators that take noise away from an image of full size; the other seven enlarge a small picture."""


@dataclass(frozen=True)
class Settings:
    """A stage 1 that takes seconds.

    Attributes:
        widths: Channels of the layers of the TraceNet.
        embedding: Length of either embedding.
        steps: Steps of training.
        photographs: Photographs per step, with four views each.
        pool: Draws of a photograph with its four views, made once.
        prototypes: Size of the bank of natural traces.
        augmentation: How views are cut and encoded.
    """

    widths: tuple[int, ...] = (8, 16, 24)
    embedding: int = 16
    steps: int = 60
    photographs: int = 8
    pool: int = 160
    prototypes: int = 8
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(size=56, jpeg=0.3, qualities=(70, 96)))


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


def small_encoder(seed: int, settings: Settings | None = None) -> TraceEncoder:
    """Make an encoder that sees six high-pass filters of an image; its weights depend on the seed alone."""
    chosen = settings or Settings()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TraceEncoder(build_backbone("tracenet", "bank", widths=chosen.widths), chosen.embedding)


@torch.inference_mode()
def layer_table(encoder: TraceEncoder, img: Tensor) -> pd.DataFrame:
    """Follow one image through an encoder.

    Args:
        encoder: With a TraceNet as backbone; it is left in evaluation mode.
        img: uint8 (3, H, W).

    Returns:
        One row per step, from the view to the heads: `shape` of what it returns, and `weights` that it learns.
    """
    encoder.eval()
    body = encoder.backbone.body
    assert isinstance(body, TraceNet)
    layers, values = [], encoder.backbone.view(img[None])
    layers.append(("six high-pass filters", values, 0))
    for number, first in enumerate(range(0, len(body.layers), 3), start=1):
        layer = body.layers[first : first + 3]
        values = layer(values)
        layers.append((f"convolution {number}", values, _weights(layer)))
    features = encoder.backbone(img[None])
    layers.append(("mean and deviation of each channel", features, 0))
    for name in ("homogeneous", "heterogeneous"):
        head = getattr(encoder, name)
        layers.append((f"{name} head", head(features), _weights(head)))
    rows = [{"step": step, "shape": tuple(made.shape[1:]), "weights": weights} for step, made, weights in layers]
    return pd.DataFrame(rows).set_index("step")


def _weights(module: nn.Module) -> int:
    """Count what a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def view_pool(
    photographs: ImageSet, seed: int, breakers: tuple[str, ...] = tuple(BREAKERS), settings: Settings | None = None
) -> Pool:
    """Make kept and broken views of photographs once, for all variants of a seed.

    Args:
        photographs: Only the real rows are used.
        seed: Of all choices.
        breakers: Ways to break traces.
        settings: Number and size of the views.

    Returns:
        The pool.
    """
    chosen = settings or Settings()
    views = PhotographViews(photographs, chosen.augmentation, seed, kinds=breakers)
    pool: Pool = default_collate([views[index] for index in range(chosen.pool)])
    return pool


def without_broken(pool: Pool) -> Pool:
    """Drop the broken views of a pool."""
    return {**pool, "broken": pool["broken"][:, :0]}


def train_briefly(
    encoder: TraceEncoder, pool: Pool, terms: TraceTerms, seed: int, settings: Settings | None = None
) -> pd.DataFrame:
    """Train an encoder on a pool of views, at a constant learning rate.

    Args:
        encoder: It is trained in place, and left in evaluation mode.
        pool: Views of photographs.
        terms: Weights of the loss.
        seed: Of the order of the photographs.
        settings: Steps and photographs per step.

    Returns:
        One row per step: `loss`, each term, and `spread` and `rank` of the kept views' homogeneous embedding.
    """
    chosen, generator = settings or Settings(), torch.Generator().manual_seed(seed)
    task, seen, log = TraceMapping(encoder, terms), [], []
    optimizer = task.optimizers()["main"]
    hook = encoder.register_forward_hook(lambda module, inputs, output: seen.append(output[0].detach()))
    for _ in range(chosen.steps):
        rows = torch.randperm(len(pool["row"]), generator=generator)[: chosen.photographs]
        losses = task.losses("main", {name: values[rows] for name, values in pool.items()}, generator)
        optimizer.zero_grad()
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        kept = seen.pop()[: 2 * len(rows)]
        measured = {name: float(value.detach()) for name, value in losses.items()}
        log.append({**measured, "spread": spread(kept), "rank": effective_rank(kept)})
    hook.remove()
    encoder.eval()
    return pd.DataFrame(log)


@torch.inference_mode()
def bank_of(encoder: TraceEncoder, pool: Pool, settings: Settings | None = None) -> Tensor:
    """Gather the natural traces from the first kept views of a pool: float32 (prototypes, size), unit norm."""
    generator = torch.Generator().manual_seed(0)
    return prototypes(encoder.traces(pool["first"]), (settings or Settings()).prototypes, generator)


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
    """
    return float((embedding - embedding.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def study(
    seeds: Sequence[int],
    *,
    variants: Mapping[str, Variant] = VARIANTS,
    settings: Settings | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train every variant with every seed and see what its traces tell apart.

    Args:
        seeds: One run each.
        variants: What to compare; the first is the one that the others are compared with.
        settings: How long and on what.
        progress: Told what is done.

    Returns:
        Settings and results, for JSON. Of each variant: `mean` (AUC over the twelve generators), `difference` (the
        first variant minus this one, paired), `generators` and `broken` (AUC of each); and per run `rank`, `spread`,
        `scene` and `correlation`.
    """
    torch.set_num_threads(1)  # the same numbers on every machine with this kind of processor
    chosen, train, test = settings or Settings(), zoo_set("train", ()), zoo_set("test")
    images = _test_images(test)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for seed in seeds:
        pools: dict[tuple[str, ...], Pool] = {}
        for name, variant in variants.items():
            kinds = variant.breakers or tuple(BREAKERS)
            if kinds not in pools:
                pools[kinds] = view_pool(train, seed, kinds, chosen)
            pool, encoder = pools[kinds], small_encoder(seed, chosen)
            if variant.trained:
                seen = pool if variant.breakers else without_broken(pool)
                train_briefly(encoder, seen, TraceTerms(**variant.terms), seed, chosen)
            runs[name].append(_measured(encoder.eval(), bank_of(encoder, pool, chosen), test, images))
            progress(f"seed {seed}: {name}")
    fakes = test.manifest[test.manifest["label"] == "fake"]
    return {
        "seeds": list(seeds),
        "settings": asdict(chosen),
        "train_scenes": sorted(set(train.manifest["source"])),
        "test_scenes": sorted(set(test.manifest["source"]) - set(RECIPES)),
        "photographs": int((test.manifest["label"] == "real").sum()),
        "fakes_each": int(fakes.groupby("generator").size().iloc[0]),
        "broken_each": BROKEN_COPIES,
        "resampled": "image",
        "variants": list(_entries(runs, variants, test)),
    }


def _test_images(test: ImageSet) -> dict[str, Tensor]:
    """Stack the test images, and broken copies of the first photographs: "test" or name of a breaker -> images."""
    copies = {name: broken_copies(test, name, range(BROKEN_COPIES)) for name in BREAKERS}
    return {"test": torch.stack(list(test.images())), **copies}


@torch.inference_mode()
def _measured(encoder: TraceEncoder, bank: Tensor, test: ImageSet, images: Mapping[str, Tensor]) -> dict[str, Any]:
    """Measure what one encoder tells apart: scores, ranks, and how much either embedding knows of the scene."""
    embedded = {name: embeddings(encoder, stack) for name, stack in images.items()}
    reals = torch.from_numpy(np.flatnonzero(test.labels == 0))
    homogeneous, heterogeneous = (embedding[reals] for embedding in embedded["test"])
    copies = torch.cat([embedded[name][0] for name in BREAKERS])
    return {
        "scores": {name: -proximity(embedding, bank).double().numpy() for name, (embedding, _) in embedded.items()},
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


def embeddings(encoder: TraceEncoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embed images, 64 at a time.

    Args:
        encoder: In evaluation mode.
        images: uint8 (N, 3, H, W).

    Returns:
        Homogeneous and heterogeneous embeddings, unit norm, each (N, size).
    """
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
    zoo = {name: [_zoo_table(run["scores"]["test"], test) for run in variant] for name, variant in runs.items()}
    first = next(iter(variants))
    for name, variant in runs.items():
        # An AUC asks for no threshold, so any will do.
        report = evaluate(zoo[name], [0.0] * len(variant), **known)
        broken = evaluate([_broken_table(run["scores"], test) for run in variant], [0.0] * len(variant), **known)
        apart = None if name == first else compare(zoo[first], zoo[name], **known)
        yield {
            "name": name,
            "terms": dict(variants[name].terms),
            "breakers": list(variants[name].breakers),
            "mean": _auc(report.mean(TIER, "unseen")),
            "difference": _auc(apart.mean(TIER, "unseen")) if apart else None,
            "generators": {row.generator: {**_auc(row), "per_run": _areas(zoo[name], row)} for row in report.rows},
            "broken": {row.generator: _auc(row) for row in broken.rows},
            "rank": _per_run(variant, "rank"),
            "spread": _per_run(variant, "spread"),
            "scene": _per_run(variant, "scene"),
            "correlation": [round(run["correlation"], 4) for run in variant],
        }


def _per_run(runs: Sequence[Mapping[str, Any]], part: str) -> dict[str, list[float]]:
    return {name: [round(run[part][name], 3) for run in runs] for name in runs[0][part]}


def _auc(part: Mean | Row) -> dict[str, Any]:
    area: Interval = part.metrics["auc"]
    interval: dict[str, Any] = {key: round(getattr(area, key), 4) for key in ("value", "low", "high")}
    return {**interval, "per_run": [round(v, 4) for v in part.per_run["auc"]]} if isinstance(part, Mean) else interval


def _areas(tables: Sequence[pd.DataFrame], row: Row) -> list[float]:
    """AUC of one generator in each run."""
    labels = (tables[0]["label"] == "fake").to_numpy()
    rows = ~labels | (tables[0]["generator"] == row.generator).to_numpy()
    return [round(auc(labels[rows].astype(int), table["score"].to_numpy()[rows]), 4) for table in tables]


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
