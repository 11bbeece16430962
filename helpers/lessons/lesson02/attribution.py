"""Which generator made an image? A linear classifier on residual spectra, and what its answers are worth.

A plain logistic regression reads the spectrum of a residual. It is fitted on the zoo's training images, its strength is
chosen on the validation images, and it is scored on the test images. Image number i of every generator starts from the
same random stream, and all images of one number lie in one split. Intervals therefore resample numbers, not images.

The same features carry a second question: does a detector that knows one generator find another one?
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor

from helpers.data.crops import draw_crops, stack, zoo_photographs
from helpers.data.images import to_uint8
from helpers.data.protocol import Protocol, matched_view
from helpers.data.seeds import item_generator
from helpers.evaluation.metrics import Interval, auc, cluster_bootstrap, wilson_interval
from helpers.generators import load, zoo_crops, zoo_images
from helpers.statistics.residuals import RESIDUALS, fingerprint, fingerprint_correlation, residual_levels

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = [
    "POST_PROCESSING",
    "STRENGTHS",
    "Attribution",
    "choose",
    "colour_features",
    "fit",
    "measure_attribution",
    "nearest_fingerprint",
    "pool_spectra",
    "score",
    "sorted_by_likeness",
    "spectrum_features",
    "transfer",
]

STRENGTHS = (0.001, 0.01, 0.1)
"""Candidates for C of the logistic regression: small values hold the weights small."""

Features = Mapping[str, NDArray[np.float64]]
"""Name of a generator -> its images as rows of numbers, in the order of their number."""


# Views: what happens to an image before it is looked at


def matched_jpeg(images: Tensor, seed: int = 0) -> Tensor:
    """Take the matched protocol's last step: JPEG of quality 80 to 96; image i gets the same settings in every set.

    Args:
        images: uint8, (n, 3, 64, 64).
        seed: Seed of the settings.

    Returns:
        uint8, same shape.
    """
    protocol = Protocol(crop=images.shape[-1])
    return torch.stack([matched_view(img, protocol, item_generator(seed, 0, i)) for i, img in enumerate(images)])


def shrunk_and_enlarged(images: Tensor, share: float = 0.75) -> Tensor:
    """Shrink images by averaging and bilinear weights, then enlarge them bicubically to their old size.

    Args:
        images: uint8, (n, 3, H, W).
        share: Side of the small image over that of the large one.

    Returns:
        uint8, same shape.
    """
    size = (round(images.shape[-2] * share), round(images.shape[-1] * share))
    small = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    large = F.interpolate(small, size=images.shape[-2:], mode="bicubic")
    return to_uint8(large)


POST_PROCESSING: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"unchanged": lambda images: images, "matched JPEG": matched_jpeg, "shrunk and enlarged": shrunk_and_enlarged}
)
"""What happens to images before they are attributed."""


# Features


def spectrum_features(images: Tensor, residual: str = "denoising") -> NDArray[np.float64]:
    """Describe images by the spectrum of a residual, in decibels, averaged over 2 x 2 cells.

    Args:
        images: uint8, (n, 3, H, W), sides that are multiples of 4.
        residual: One of `helpers.statistics.residuals.RESIDUALS`.

    Returns:
        (n, H W / 8); one half of the plane, as the other half mirrors it.
    """
    return pool_spectra(residual_levels(images, residual))


def pool_spectra(levels: Tensor) -> NDArray[np.float64]:
    """Average spectra over 2 x 2 cells and keep one half.

    Args:
        levels: float, (n, H, W), as `helpers.statistics.residuals.residual_levels` makes them.

    Returns:
        (n, H W / 8).
    """
    half = levels[:, :, levels.shape[-1] // 2 :]
    pooled: NDArray[np.float64] = F.avg_pool2d(half[:, None], 2).flatten(1).double().numpy()
    return pooled


def colour_features(images: Tensor) -> NDArray[np.float64]:
    """Describe images by thumbnails of 8 x 8 pixels: what content and colour alone give away.

    Args:
        images: uint8, (n, 3, H, W), sides that are multiples of 8.

    Returns:
        (n, 192), 0..255.
    """
    small = F.avg_pool2d(images.float(), (images.shape[-2] // 8, images.shape[-1] // 8))
    thumbnails: NDArray[np.float64] = small.flatten(1).double().numpy()
    return thumbnails


# The classifier


@dataclass(frozen=True)
class Attribution:
    """How well generators were named.

    Attributes:
        accuracy: Share of right names; `n` counts numbers, the clusters of the bootstrap.
        names: The generators, in the order of rows and columns.
        confusion: Row: true generator; column: named generator; entries count images.
    """

    accuracy: Interval
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]


def fit(features: Features, strength: float = 0.01) -> "Pipeline":
    """Fit a logistic regression that names the group of a row.

    Args:
        features: Two groups or more.
        strength: C of the regression; small values hold the weights small.

    Returns:
        The fitted classifier; `predict` gives names.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
    return model.fit(np.concatenate(list(features.values())), _names(features))


def _names(features: Features) -> NDArray[np.str_]:
    return np.repeat(list(features), [len(rows) for rows in features.values()])


def choose(train: Features, val: Features, strengths: Sequence[float] = STRENGTHS) -> "tuple[Pipeline, float]":
    """Fit with each strength and keep the classifier that does best on the validation images.

    Args:
        train: Groups to fit on.
        val: The same groups, other images.
        strengths: Candidates; of equals the first (smallest weights) is kept.

    Returns:
        The classifier and its strength.
    """
    rows, names = np.concatenate(list(val.values())), _names(val)
    fitted = [(fit(train, strength), strength) for strength in strengths]
    return max(fitted, key=lambda entry: float(entry[0].score(rows, names)))


def score(model: "Pipeline", test: Features, *, n_draws: int = 1000, seed: int = 0) -> Attribution:
    """Name the generator of test images, and count.

    Args:
        model: From `fit` or `choose`.
        test: Generator -> rows; row i of every generator has the same number.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Accuracy with its 95 % interval over numbers, and the confusion matrix.
    """
    return _attribution([model.predict(rows) for rows in test.values()], tuple(test), n_draws, seed)


def _attribution(named: list[NDArray[np.str_]], names: tuple[str, ...], n_draws: int, seed: int) -> Attribution:
    """Count names that were given to the images of each generator."""
    hits = np.concatenate([answers == name for name, answers in zip(names, named, strict=True)])
    numbers = np.concatenate([np.arange(len(answers)) for answers in named])
    accuracy = cluster_bootstrap(lambda rows: float(hits[rows].mean()), numbers, n_draws=n_draws, seed=seed)
    confusion = tuple(tuple(int((answers == name).sum()) for name in names) for answers in named)
    return Attribution(accuracy, names, confusion)


def nearest_fingerprint(
    train: Mapping[str, Tensor], test: Mapping[str, Tensor], *, n_draws: int = 1000, seed: int = 0
) -> Attribution:
    """Name the generator whose fingerprint correlates most with a residual, as for cameras; nothing is fitted.

    Args:
        train: Generator -> residuals, float (n, c, H, W), that fingerprints are averaged from.
        test: Generator -> residuals to be named; residual i of every generator has the same number.
        n_draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Accuracy with its 95 % interval over numbers, and the confusion matrix.

    Source: Marra, Gragnaniello, Verdoliva, Poggi, MIPR 2019 (arXiv 1812.11842).
    """
    names = np.array(list(train))
    prints = torch.stack([fingerprint(residuals) for residuals in train.values()])
    named = [names[fingerprint_correlation(rows, prints).argmax(dim=1).numpy()] for rows in test.values()]
    return _attribution(named, tuple(test), n_draws, seed)


def transfer(
    real: tuple[NDArray[np.float64], NDArray[np.float64]], train: Features, test: Features, strength: float = 0.01
) -> NDArray[np.float64]:
    """Teach one detector per generator what is fake, and try it on all generators.

    Args:
        real: Rows of photographs for fitting, and of other photographs for testing.
        train: Generator -> rows for fitting.
        test: Generator -> rows for testing.
        strength: See `fit`.

    Returns:
        (generators, generators) AUC: row, the generator that the detector knows; column, the one that it meets. Below
        0.5 the detector holds what it meets for more real than photographs.
    """
    areas = np.zeros((len(train), len(test)))
    for row, known in enumerate(train.values()):
        model = fit({"0 real": real[0], "1 fake": known}, strength)
        baseline = model.decision_function(real[1])
        for column, met in enumerate(test.values()):
            scores = np.concatenate([baseline, model.decision_function(met)])
            areas[row, column] = auc(np.repeat([0, 1], [len(baseline), len(met)]), scores)
    return areas


def sorted_by_likeness(areas: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order generators so that those that detectors treat alike lie side by side.

    Args:
        areas: (k, k), as made by `transfer`.

    Returns:
        int (k,), an order for rows and columns: leaves of an average-linkage tree over rows and columns together.
    """
    order: NDArray[np.intp] = leaves_list(linkage(np.hstack([areas, areas.T]), "average", optimal_ordering=True))
    return order


# The study behind the numbers of lesson 02

CROPS_SEED = 700
"""Seed of the held-out crops that detectors are tested on and generators redraw."""


def measure_attribution(
    residuals: Sequence[str] = tuple(RESIDUALS), *, crops: int = 128, seed: int = 0
) -> dict[str, Any]:
    """Measure attribution on the shipped zoo: each residual and view, controls, redrawn photographs, transfer.

    Args:
        residuals: Names of residuals.
        crops: How many crops of held-out photographs stand for real images, and half of them are redrawn.
        seed: Seed of bootstrap draws and of the shuffled control.

    Returns:
        Plain values for JSON; every accuracy has a 95 % interval.
    """
    splits = {split: zoo_images(split) for split in ("train", "val", "test")}
    held_out = stack(draw_crops(zoo_photographs("val") + zoo_photographs("test"), crops, CROPS_SEED))
    results, models, strengths = [], {}, {}
    for residual in residuals:
        described = {
            view: {
                split: {name: spectrum_features(change(images), residual) for name, images in groups.items()}
                for split, groups in splits.items()
            }
            for view, change in POST_PROCESSING.items()
        }
        for view, features in described.items():
            model, strength = choose(features["train"], features["val"])
            models[residual, view] = model
            for seen in dict.fromkeys((view, "unchanged")):
                accuracy = score(models[residual, seen], features["test"], seed=seed)
                head = {"residual": residual, "view": view, "fitted on": seen}
                results.append({**head, **asdict(accuracy)})
                strengths[f"{residual}, {view}"] = strength
    return {
        "chance": 1 / len(splits["test"]),
        "images per generator": {split: len(next(iter(groups.values()))) for split, groups in splits.items()},
        "strengths": strengths,
        "attribution": results,
        "controls": _controls(splits, seed),
        "fingerprints": {residual: _fingerprints(splits, residual, seed) for residual in residuals},
        "redrawn": {
            residual: _redrawn(models[residual, "unchanged"], held_out[: crops // 2], residual, seed)
            for residual in residuals
        },
        "transfer": {
            residual: {view: _transfer(splits, held_out, residual, view) for view in ("unchanged", "matched JPEG")}
            for residual in residuals
        },
    }


def _controls(splits: Mapping[str, Mapping[str, Tensor]], seed: int) -> dict[str, Any]:
    """What colours and content alone give away, and what shuffled names do."""
    colours = {s: {name: colour_features(x) for name, x in groups.items()} for s, groups in splits.items()}
    model, _ = choose(colours["train"], colours["val"])
    spectra = {s: {name: spectrum_features(x) for name, x in groups.items()} for s, groups in splits.items()}
    rows = np.concatenate(list(spectra["train"].values()))
    mixed = np.split(rows[np.random.default_rng(seed).permutation(len(rows))], len(spectra["train"]))
    shuffled = fit(dict(zip(spectra["train"], mixed, strict=True)))
    return {
        "thumbnails of 8 x 8 pixels": asdict(score(model, colours["test"], seed=seed).accuracy),
        "names shuffled before fitting": asdict(score(shuffled, spectra["test"], seed=seed).accuracy),
    }


def _moved(images: Tensor) -> Tensor:
    return torch.roll(images, (1, 1), dims=(2, 3))


def _fingerprints(splits: Mapping[str, Mapping[str, Tensor]], residual: str, seed: int) -> dict[str, Any]:
    """Accuracy of the nearest fingerprint, unchanged and under changes."""
    function = RESIDUALS[residual]
    changes: dict[str, Callable[[Tensor], Tensor]] = {**POST_PROCESSING, "moved by one pixel": _moved}
    train = {name: function(images) for name, images in splits["train"].items()}
    return {
        view: asdict(
            nearest_fingerprint(train, {n: function(change(x)) for n, x in splits["test"].items()}, seed=seed).accuracy
        )
        for view, change in changes.items()
    }


def _redrawn(model: "Pipeline", crops: Tensor, residual: str, seed: int) -> dict[str, Any]:
    """How often the generator is named that drew a photograph again; it was fitted on no such image."""
    hits = {}
    for name in zoo_images("test"):
        generator = load(name)
        if generator.can_redraw:
            named = model.predict(spectrum_features(generator.resynthesise(crops, CROPS_SEED), residual))
            hits[name] = named == name
    joined, numbers = np.concatenate(list(hits.values())), np.tile(np.arange(len(crops)), len(hits))
    total = cluster_bootstrap(lambda rows: float(joined[rows].mean()), numbers, seed=seed)
    each = {name: asdict(wilson_interval(int(right.sum()), len(right))) for name, right in hits.items()}
    return {"all": asdict(total), **each}


def _transfer(splits: Mapping[str, Mapping[str, Tensor]], held_out: Tensor, residual: str, view: str) -> dict[str, Any]:
    """AUC of detectors that know one generator, on each generator."""

    def describe(images: Tensor) -> NDArray[np.float64]:
        return spectrum_features(POST_PROCESSING[view](images), residual)

    train = {name: describe(images) for name, images in splits["train"].items()}
    test = {name: describe(images) for name, images in splits["test"].items()}
    areas = transfer((describe(zoo_crops()), describe(held_out)), train, test)
    own = np.eye(len(areas), dtype=bool)
    return {
        "names": list(train),
        "auc": areas.round(4).tolist(),
        "own generator, mean": float(areas[own].mean()),
        "other generators, mean": float(areas[~own].mean()),
        "other generators, lowest": float(areas[~own].min()),
    }
