"""Do generators differ more than photographs do? Variance between groups, cell by cell of a spectrum.

The mean spectrum of a group of images varies from group to group: from photograph to photograph, because each shows
something else, and from generator to generator, because each leaves its own marks. Their ratio is the question. A group
mean also varies by chance, as it is taken over finitely many images; that share is subtracted.

Theory says where to look. Enlarging by a factor k lays copies of a spectrum side by side, so the strongest wave of an
image, its mean brightness, comes back at multiples of 1 / k cycles per pixel. `replica_cells` finds these places.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.data.catalog import photograph, photographs
from helpers.data.crops import draw_crops, stack, zoo_photographs
from helpers.data.images import random_crop
from helpers.data.places import data_dir
from helpers.evaluation.metrics import Interval
from helpers.generators import RECIPES, zoo_images
from helpers.lessons.lesson02.attribution import POST_PROCESSING
from helpers.statistics.residuals import residual_levels

__all__ = [
    "PLACES",
    "between_variance",
    "measure_variance_ratios",
    "places",
    "recorded_ratios",
    "replica_cells",
    "ring_cells",
    "scenes",
    "variance_ratio",
]

Group = NDArray[np.float64]
"""(images, cells)."""

PLACES = ("halves", "quarters", "eighths", "elsewhere")
"""Parts of a spectrum, see `places`."""


def replica_cells(side: int, factor: int) -> Tensor:
    """Mark the places where enlarging by a factor puts copies of the mean brightness.

    Args:
        side: Side of the spectrum, a multiple of `factor`.
        factor: Enlargement.

    Returns:
        bool, (side, side): both frequencies are multiples of 1 / factor; frequency 0 in the middle, not marked.
    """
    step = torch.arange(side) - side // 2
    on = step % (side // factor) == 0
    marked = on[:, None] & on[None]
    marked[side // 2, side // 2] = False
    return marked


def places(side: int = 64) -> dict[str, Tensor]:
    """Divide a spectrum by what upsampling predicts.

    Args:
        side: Side of the spectrum, a multiple of 8.

    Returns:
        Name of `PLACES` -> bool (side, side). Halves are multiples of 1/2 cycles per pixel, which every doubling
        reaches; quarters and eighths are those that only the earlier doublings reach; elsewhere is all but these and
        their neighbours, beyond 0.25 cycles per pixel, where content is weak.
    """
    halves, quarters, eighths = (replica_cells(side, factor) for factor in (2, 4, 8))
    near = torch.nn.functional.max_pool2d(eighths[None].float(), 3, 1, 1)[0] > 0
    fine = frequencies(side) > 0.25
    return {"halves": halves, "quarters": quarters & ~halves, "eighths": eighths & ~quarters, "elsewhere": fine & ~near}


def frequencies(side: int) -> Tensor:
    """Spatial frequency of each cell in cycles per pixel: (side, side), 0 in the middle."""
    axis = torch.fft.fftshift(torch.fft.fftfreq(side))
    return torch.hypot(axis[:, None], axis[None])


def ring_cells(side: int, edges: Sequence[float]) -> list[Tensor]:
    """Mark the cells of rings.

    Args:
        side: Side of the spectrum.
        edges: Ascending frequencies in cycles per pixel; a ring holds edge <= frequency < next edge.

    Returns:
        One bool (side, side) per ring.
    """
    frequency = frequencies(side)
    return [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]


def between_variance(groups: Sequence[Group]) -> NDArray[np.float64]:
    """Estimate how much the means of groups vary beyond chance.

    Args:
        groups: Two or more, each (images, cells) with at least two images.

    Returns:
        (cells,) variance of the groups' means, less the share that comes from their finite number of images. It is
        unbiased, and so can fall below 0 where groups do not differ.

    Source: The one-way random-effects model, e.g. Searle, Casella, McCulloch, Variance components, 1992, section 3.6.
    """
    return _component(*_moments(groups))


def _moments(groups: Sequence[Group]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each group, and the variance that this mean has by chance: (groups, cells) each."""
    means = np.stack([group.mean(axis=0) for group in groups])
    chance = np.stack([group.var(axis=0, ddof=1) / len(group) for group in groups])
    return means, chance


def _component(means: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    component: NDArray[np.float64] = means.var(axis=0, ddof=1) - chance.mean(axis=0)
    return component


def variance_ratio(
    generators: Sequence[Group],
    photographs: Sequence[Group],
    cells: Mapping[str, NDArray[np.bool_]],
    *,
    n_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Divide the variance between generators by that between photographs, summed over some cells.

    The interval resamples whole groups, since a new generator or photograph is what the ratio should hold for. With
    eight photographs it is wide, and should be.

    Args:
        generators: One group per generator.
        photographs: One group per photograph.
        cells: Name -> which cells count, (cells,).
        n_draws: Bootstrap draws.
        level: Confidence level.
        seed: Seed of the draws.

    Returns:
        Name -> ratio with its percentile interval; `n` counts groups of both kinds. 1 means that two generators differ
        as much as two photographs.
    """
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in cells}
    moments = [_moments(groups) for groups in (generators, photographs)]
    for _ in range(n_draws):
        above, below = (_resampled(*parts, rng) for parts in moments)
        for name, chosen in cells.items():
            draws[name].append(_ratio(above, below, chosen))
    above, below = between_variance(generators), between_variance(photographs)
    count, ends = len(generators) + len(photographs), [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for name, chosen in cells.items():
        low, high = np.quantile(draws[name], ends)
        intervals[name] = Interval(_ratio(above, below, chosen), float(low), float(high), level, count)
    return intervals


def _resampled(
    means: NDArray[np.float64], chance: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw as many groups as there are, with replacement, and estimate again: (cells,)."""
    chosen = rng.integers(0, len(means), len(means))
    return _component(means[chosen], chance[chosen])


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64], cells: NDArray[np.bool_]) -> float:
    """Ratio of two sums; variances below 0 count as 0, and a ratio to nothing is infinite."""
    above, below = max(float(top[cells].sum()), 0.0), max(float(bottom[cells].sum()), 0.0)
    return above / below if below > 0 else float("inf")


# The study behind the numbers of lesson 02

RING_EDGES = tuple(edge / 16 for edge in range(13))
"""Rings of 1/16 cycles per pixel; the last one holds the corner of the spectrum alone."""


def scenes(count: int = 128, seed: int = 300, *, native: bool = False) -> dict[str, Tensor]:
    """Crop each everyday photograph of the catalog; four of the eight scenes were never shown to a generator.

    Args:
        count: Crops per scene.
        seed: Seed of the crops.
        native: Crop at native size, instead of reduced by averaging as the zoo's crops are.

    Returns:
        Scene -> uint8, (count, 3, 64, 64).
    """
    if native:
        df = photographs()
        df = df[df["scene"] == "everyday"].drop_duplicates("source")
        rng = torch.Generator().manual_seed(seed)
        images = {source: photograph(name) for source, name in zip(df["source"], df["name"], strict=True)}
        return {name: torch.stack([random_crop(img, 64, rng) for _ in range(count)]) for name, img in images.items()}
    pictures = [picture for split in ("train", "val", "test") for picture in zoo_photographs(split)]
    names = list(dict.fromkeys(picture.source for picture in pictures))
    return {name: stack(draw_crops([p for p in pictures if p.source == name], count, seed)) for name in names}


SURVEYED = ("difference", "median", "denoising")
"""Residuals of the study. Every linear one gives the same ratios, as its filter shifts all levels alike."""


def recorded_ratios(view: str) -> dict[str, dict[str, Interval]]:
    """Read what `python -m helpers zoo variance` found of denoising residuals, against photographs.

    Args:
        view: One of `helpers.lessons.lesson02.attribution.POST_PROCESSING`.

    Returns:
        "GANs" and "diffusion" -> place -> ratio.
    """
    record = json.loads((data_dir() / "results" / "variance_zoo.json").read_text(encoding="utf-8"))["ratios"]
    asked = {"residual": "denoising", "view": view, "over": "photographs"}
    rows = {row["of"]: row for row in record if row.items() >= asked.items()}
    titles = {"GANs": "GANs", "diffusion": "diffusion models"}
    return {name: {place: Interval(**rows[of][place]) for place in PLACES} for name, of in titles.items()}


def measure_variance_ratios(
    residuals: Sequence[str] = SURVEYED, *, count: int = 128, n_draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compare the shipped generators with photographs: each residual, with and without JPEG, by place and by ring.

    Args:
        residuals: Names of residuals.
        count: Images per group, generator or photograph, at most 128.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Plain values for JSON; every ratio has a 95 % interval.
    """
    images = {name: shipped[:count] for name, shipped in zoo_images().items()}
    sets = {
        "generators": images,
        "photographs": scenes(count),
        "photographs at native size": scenes(count, native=True),
    }
    sets["the same photographs again"] = {
        str(number): stack(draw_crops(zoo_photographs("train"), count, 500 + number)) for number in range(len(images))
    }
    cells = {"everywhere": torch.ones(64, 64, dtype=torch.bool), **places(64)}
    cells |= {f"ring {number}": ring for number, ring in enumerate(ring_cells(64, RING_EDGES))}
    masks = {name: marked.flatten().numpy() for name, marked in cells.items()}
    results = []
    for residual in residuals:
        for view in ("unchanged", "matched JPEG"):
            groups = {
                title: {
                    name: residual_levels(POST_PROCESSING[view](x), residual).flatten(1).double().numpy()
                    for name, x in group.items()
                }
                for title, group in sets.items()
            }
            results += [{"residual": residual, "view": view, **row} for row in _rows(groups, masks, n_draws, seed)]
    return {"images per group": count, "ring edges": list(RING_EDGES), "ratios": results}


def _rows(
    groups: Mapping[str, Mapping[str, Group]], masks: Mapping[str, NDArray[np.bool_]], n_draws: int, seed: int
) -> list[dict[str, Any]]:
    """Ratios of one residual and view: all generators and each family against photographs, and chance against them."""
    fakes = groups["generators"]
    families = {kind: [rows for name, rows in fakes.items() if RECIPES[name].family == kind] for kind in FAMILIES}
    photographs, native = (list(groups[title].values()) for title in ("photographs", "photographs at native size"))
    again = list(groups["the same photographs again"].values())
    pairs = {
        ("generators", "photographs"): (list(fakes.values()), photographs),
        ("GANs", "photographs"): (families["gan"], photographs),
        ("diffusion models", "photographs"): (families["diffusion"], photographs),
        ("generators", "photographs at native size"): (list(fakes.values()), native),
        ("the same photographs again", "photographs"): (again, photographs),
    }
    rows = []
    for (top, bottom), (above, below) in pairs.items():
        ratios = variance_ratio(above, below, masks, n_draws=n_draws, seed=seed)
        rows.append({"of": top, "over": bottom, **{name: asdict(ratio) for name, ratio in ratios.items()}})
    return rows


FAMILIES = ("gan", "diffusion")
