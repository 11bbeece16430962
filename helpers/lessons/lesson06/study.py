"""Does a detector hold for generators it never saw? Train here, test there, for every pair and every subset.

An encoder turns all images into vectors once. A linear head on these trains in a fraction of a second, so that hundreds
of train and test sets can be compared. The encoder must not have seen the generators that are left out, or the test is
none: the zoo's encoder of stage 1 has seen photographs alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.data import catalog
from helpers.data.crops import SCALES, Photograph, area_downscale, draw_crops
from helpers.data.image_set import ImageSet
from helpers.data.images import read_image
from helpers.data.manifest import resolve
from helpers.detectors.base import batches
from helpers.detectors.linear import LinearScore
from helpers.errors import NaturalTracesError
from helpers.evaluation.metrics import accuracy_at, average_precision, threshold_of_best_accuracy

__all__ = [
    "TIERS",
    "Features",
    "GeneralizationError",
    "LeftOut",
    "extract",
    "fit_head",
    "generators_table",
    "leave_one_out",
    "leave_one_out_table",
    "mean_ap",
    "means_table",
    "means_text",
    "more_generators",
    "photograph_crops",
    "size_means",
    "train_test_matrix",
]

Floats = NDArray[np.float64]
TIERS: Mapping[str, str] = MappingProxyType(
    {"seen-source": "known photo sources", "unseen-source": "new photo sources"}
)
"""Tier of a test set's photographs -> what the lesson calls it."""


class GeneralizationError(NaturalTracesError):
    """A protocol that the images at hand do not allow."""


# Features


@dataclass(frozen=True)
class Features:
    """Vectors of images, with what each image is.

    Attributes:
        rows: float32 (N, D).
        labels: int64 (N,) 0 real, 1 fake.
        generators: str (N,) generator of a fake, "" for a real image.
        sources: str (N,) photograph of a crop, generator of a fake.
    """

    rows: Tensor
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]
    sources: NDArray[np.str_]

    def take(self, chosen: NDArray[Any]) -> "Features":
        """Keep the images of a mask (N,) or of indices, in their order."""
        index = torch.from_numpy(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)
        return Features(self.rows[index], self.labels[chosen], self.generators[chosen], self.sources[chosen])

    def against(self, generators: Iterable[str]) -> "Features":
        """Keep all real images and the fakes of some generators.

        Args:
            generators: Their names.

        Returns:
            Features with both labels.

        Raises:
            GeneralizationError: There is no real image, or no fake of one of the generators.
        """
        names = list(generators)
        if not names or (missing := set(names) - set(self.generators)):
            raise GeneralizationError(f"no fakes of {', '.join(sorted(missing)) if names else 'any generator'}")
        if not (self.labels == 0).any():
            raise GeneralizationError("no real images")
        return self.take((self.labels == 0) | np.isin(self.generators, names))


def extract(encode: Callable[[Tensor], Tensor], images: ImageSet, batch_size: int = 64) -> Features:
    """Encode every image of a set once.

    Args:
        encode: From uint8 (n, 3, H, W) to (n, D); switch networks to evaluation.
        images: Images of one size.
        batch_size: Images at a time.

    Returns:
        Features in the order of the images.
    """
    pixels = torch.stack(list(images.images()))
    with torch.no_grad():
        rows = torch.cat([encode(part).flatten(1).float() for part in batches(pixels, batch_size)])
    columns = (images.manifest[name].fillna("").to_numpy(str) for name in ("generator", "source"))
    return Features(rows, images.labels, *columns)


def photograph_crops(n: int, seed: int = 0, names: Sequence[str] | None = None) -> ImageSet:
    """Cut as many crops out of each embedded photograph, as the zoo's are cut.

    Args:
        n: Crops of each photograph.
        seed: Seed of their places.
        names: Photographs of `catalog.photographs()`; all twelve when None.

    Returns:
        Real images of 64 x 64 pixels; their source is the scene, which the two motorcycles share.
    """
    df = catalog.photographs()
    chosen = df[df["name"].isin(df["name"] if names is None else names)]
    crops = []
    for name, source, path in zip(chosen["name"], chosen["source"], chosen["path"], strict=True):
        img = read_image(resolve(path, None))
        picture = Photograph(name, source, {scale: area_downscale(img, scale) for scale in SCALES})
        crops += draw_crops([picture], n, seed)
    rows = [{"label": "real", "generator": "", "family": "", "source": crop.source} for crop in crops]
    return ImageSet.of([crop.image for crop in crops], pd.DataFrame(rows))


# Protocols


def fit_head(train: Features, strength: float = 0.1) -> LinearScore:
    """Train logistic regression on features; real and fake weigh equally.

    Args:
        train: Both labels must occur.
        strength: Inverse of the penalty on weights.

    Returns:
        The head: (n, D) -> logits (n,), 0 is "as likely real as fake".
    """
    head = LinearScore(train.rows.shape[1])
    head.fit(train.rows, train.labels, strength)
    return head


def _scores(head: LinearScore, features: Features) -> Floats:
    scores: Floats = head(features.rows).double().numpy()
    return scores


def train_test_matrix(train: Features, test: Features, groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Train one head on each group of generators and test it on each group.

    Args:
        train: Features of training images.
        test: Features of test images.
        groups: Name of a group -> its generators.

    Returns:
        AP, one row for each group trained on, one column for each group tested on.
    """
    tests = {name: test.against(members) for name, members in groups.items()}
    heads = {name: fit_head(train.against(members)) for name, members in groups.items()}
    return pd.DataFrame(
        {
            name: [average_precision(part.labels, _scores(head, part)) for head in heads.values()]
            for name, part in tests.items()
        },
        index=pd.Index(list(heads), name="trained on"),
    )


@dataclass(frozen=True)
class LeftOut:
    """What the head of all other generators says of one generator that it never saw.

    Attributes:
        generator: The one left out.
        val_labels: (M,) of validation images: photographs, and fakes of the other generators.
        val_scores: (M,) their logits.
        labels: (N,) of test images: photographs, and fakes of the one left out.
        scores: (N,) their logits.
    """

    generator: str
    val_labels: NDArray[np.int64]
    val_scores: Floats
    labels: NDArray[np.int64]
    scores: Floats


def leave_one_out(train: Features, val: Features, test: Features, names: Sequence[str]) -> list[LeftOut]:
    """Leave out each generator in turn: neither training nor validation sees it.

    Args:
        train: Features of training images.
        val: Features of validation images.
        test: Features of test images.
        names: Generators, at least two.

    Returns:
        One entry for each generator, in order.
    """
    folds = []
    for name in names:
        others = [other for other in names if other != name]
        head, known, unknown = fit_head(train.against(others)), val.against(others), test.against([name])
        folds.append(LeftOut(name, known.labels, _scores(head, known), unknown.labels, _scores(head, unknown)))
    return folds


def leave_one_out_table(left_out: Iterable[LeftOut]) -> pd.DataFrame:
    """Sum up a leave-one-out protocol by AP and by accuracy at three thresholds.

    Args:
        left_out: See `leave_one_out`.

    Returns:
        One row for each generator: `ap`; `half`, `half_real`, `half_fake`: accuracy where a probability of 0.5 decides;
        `validation`, ...: where the best threshold on validation images does; `oracle`: where the best threshold on the
        test images does, which nobody may use. Real and fake weigh equally.
    """
    rows = {}
    for part in left_out:
        chosen = {
            "half": 0.0,
            "validation": threshold_of_best_accuracy(part.val_labels, part.val_scores),
            "oracle": threshold_of_best_accuracy(part.labels, part.scores),
        }
        row = {"ap": average_precision(part.labels, part.scores)}
        for name, threshold in chosen.items():
            accuracy = accuracy_at(part.labels, part.scores, threshold)
            row |= {name: accuracy.balanced, f"{name}_real": accuracy.real, f"{name}_fake": accuracy.fake}
        rows[part.generator] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("left out")


def mean_ap(head: LinearScore, test: Features, names: Iterable[str]) -> float:
    """Average the AP over generators, each set against all real images and each weighing the same (mAP)."""
    parts = [test.against([name]) for name in names]
    return float(np.mean([average_precision(part.labels, _scores(head, part)) for part in parts]))


def more_generators(
    train: Features,
    test: Features,
    names: Sequence[str],
    *,
    sizes: Sequence[int],
    subsets: int,
    seed: int = 0,
    fakes: int | None = None,
) -> pd.DataFrame:
    """Train on random subsets of the generators, test on those outside of the subset.

    Args:
        train: Features of training images.
        test: Features of test images.
        names: Generators.
        sizes: Sizes of subsets, each below the number of generators.
        subsets: Subsets of each size.
        seed: Seed of the subsets, and of the fakes that are kept.
        fakes: Training fakes of all generators of a subset together, shared out evenly, so that more generators do not
            mean more images; all fakes when None.

    Returns:
        One row for each subset: `size`, `subset`, `ap` (mean over the generators that training did not see).

    Raises:
        GeneralizationError: A size leaves no generator to test on.
    """
    if not all(0 < size < len(names) for size in sizes):
        raise GeneralizationError(f"sizes must lie between 1 and {len(names) - 1}, so that a generator is left to test")
    rows = []
    for size in sizes:
        for subset in range(subsets):
            rng = np.random.default_rng((seed, size, subset))
            seen = set(rng.choice(list(names), size, replace=False).tolist())
            part = train.against(sorted(seen))
            head = fit_head(part if fakes is None else _thinned(part, fakes // size, rng))
            rows.append(
                {"size": size, "subset": subset, "ap": mean_ap(head, test, [n for n in names if n not in seen])}
            )
    return pd.DataFrame(rows)


def _thinned(features: Features, each: int, rng: np.random.Generator) -> Features:
    """Keep all real images, and at most `each` fakes of each generator."""
    kept = [np.flatnonzero(features.labels == 0)]
    for name in sorted(set(features.generators) - {""}):
        kept.append(rng.permutation(np.flatnonzero(features.generators == name))[:each])
    return features.take(np.sort(np.concatenate(kept)))


def size_means(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Average over the random subsets of each size.

    Args:
        table: See `more_generators`; at least two subsets of each size.
        level: Confidence level in (0, 1).

    Returns:
        One row for each size: `mean`, `low`, `high`. The interval says how far the choice of subsets among these
        generators matters; it does not speak of other generators, nor of other photographs.
    """
    groups = table.groupby("size")["ap"]
    mean, count = groups.mean(), groups.count()
    from scipy.stats import t as student  # takes a second to load

    reach = groups.std() / np.sqrt(count) * student.ppf((1 + level) / 2, count - 1)
    return pd.DataFrame({"mean": mean, "low": mean - reach, "high": mean + reach})


# Recorded reports


def means_table(reports: Mapping[str, Mapping[str, Any]], metric: str = "ap") -> pd.DataFrame:
    """Lay out the means of several recorded reports.

    Args:
        reports: Name of a detector -> `Report.to_dict()`, as `python -m helpers evaluate --json` prints it.
        metric: Of `helpers.evaluation.report.METRICS`.

    Returns:
        One row for each detector, tier of real images, and "seen" or "unseen" generators: columns `detector`, `tier`,
        `over`, `generators` (their number), `value`, `low`, `high`.
    """
    rows = [
        {
            "detector": name,
            **{key: mean[key] for key in ("tier", "over")},
            "generators": len(mean["generators"]),
            **{key: float(mean["metrics"][metric][key]) for key in ("value", "low", "high")},
        }
        for name, report in reports.items()
        for mean in report["means"]
    ]
    return pd.DataFrame(rows)


def means_text(reports: Mapping[str, Mapping[str, Any]], metric: str = "ap", over: str = "unseen") -> pd.DataFrame:
    """Lay out the means of several recorded reports for reading.

    Args:
        reports: Name of a detector -> `Report.to_dict()`.
        metric: Of `helpers.evaluation.report.METRICS`.
        over: "unseen" or "seen" generators.

    Returns:
        One row for each detector, one column for each tier of real images, by its name in `TIERS`: "0.91 [0.89, 0.93]".
    """
    table = means_table(reports, metric)
    table = table[table["over"] == over].copy()
    table["text"] = [f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in table.itertuples(index=False)]
    cells = table.pivot_table(index="detector", columns="tier", values="text", aggfunc="first")
    return cells.loc[list(reports)].rename(columns=dict(TIERS)).rename_axis(columns=None)


def generators_table(reports: Mapping[str, Mapping[str, Any]], tier: str, metric: str = "ap") -> pd.DataFrame:
    """Lay out one number of several recorded reports by generator.

    Args:
        reports: Name of a detector -> `Report.to_dict()`.
        tier: Of the real images.
        metric: Of `helpers.evaluation.report.METRICS`.

    Returns:
        One row for each detector, one column for each generator.
    """
    return pd.DataFrame(
        {
            name: {
                row["generator"]: float(row["metrics"][metric]["value"])
                for row in report["generators"]
                if row["tier"] == tier
            }
            for name, report in reports.items()
        }
    ).T
