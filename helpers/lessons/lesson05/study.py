"""The study of lesson 05: one set of images, embedded before training, after stage 1 and after stage 2.

What UMAP makes of them is recorded in data/results/embeddings_zoo.json by `python -m helpers embeddings`, because its
compiler alone takes about as long as the rest of the lesson. Everything else is quick enough to be computed again.

Beside the three honest embeddings stand two that make pretty pictures: a UMAP that was told the labels, and a linear
map that knows its training images by heart.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from helpers.data.catalog import data_dir
from helpers.data.crops import draw_crops, zoo_photographs
from helpers.data.image_set import ImageSet
from helpers.data.images import to_float
from helpers.data.manifest import SPLITS
from helpers.detectors.base import Detector
from helpers.detectors.ntf.detector import NaturalTraceDetector
from helpers.detectors.registry import load_detector, make_detector, weights_hash
from helpers.errors import NaturalTracesError
from helpers.evaluation.embeddings import (
    Floats,
    embed_images,
    map_trust,
    nearest_traces,
    neighbour_purity,
    pca_map,
    umap_map,
)
from helpers.evaluation.metrics import Interval, ranking_intervals
from helpers.generators import RECIPES, zoo_images
from helpers.generators import load as load_generator
from helpers.generators.sets import zoo_set

__all__ = [
    "RECORD",
    "STAGES",
    "StudyError",
    "contest",
    "continuity",
    "gap",
    "measure_embeddings",
    "memorise",
    "points_of",
    "purities",
    "read_record",
    "redrawn_crops",
    "representatives",
    "stage_embeddings",
    "stage_encoders",
    "study_detector",
    "study_set",
    "supervised_map",
    "training_votes",
]

RECORD = "embeddings_zoo.json"
STAGES = ("random weights", "stage 1", "stage 2")
"""An encoder that learnt nothing, one that saw photographs only, and one that saw fakes of four generators too."""
PER_GROUP = 24
"""Crops per photograph, and images per generator."""
CROP_SEED = 505
NEIGHBOURS = 10
STRIP = tuple((count, distance) for distance in (0.0, 0.5) for count in (3, 15, 60))
"""Settings of UMAP that are compared: neighbours and least distance."""
REDRAWER = "latent"
"""The generator that draws photographs again; no detector of the course has learnt from it."""


class StudyError(NaturalTracesError):
    """The recorded study is missing, or belongs to another detector."""


# What is looked at


def study_detector() -> NaturalTraceDetector:
    """Load the detector that was trained on four generators of the zoo."""
    detector = load_detector(data_dir() / "detectors" / "zoo")
    if not isinstance(detector, NaturalTraceDetector):
        raise StudyError("data/detectors/zoo holds another kind of detector")
    return detector


def study_set(detector: Detector) -> ImageSet:
    """Gather the images: 24 crops of each of the eight everyday photographs, 24 test images of each generator.

    Args:
        detector: Its card says which photographs and generators it has learnt from.

    Returns:
        480 images, 64 x 64, with columns label, generator, family, source (photograph or generator), split, and `seen`:
        whether the detector learnt from this photograph or generator. No image itself was learnt from; crops of a
        seen photograph may overlap with crops that were.
    """
    rows: list[dict[str, Any]] = []
    images: list[Tensor] = []
    for split in SPLITS:
        pictures = zoo_photographs(split)
        for scene in sorted({picture.source for picture in pictures}):
            crops = draw_crops([picture for picture in pictures if picture.source == scene], PER_GROUP, CROP_SEED)
            images += [crop.image for crop in crops]
            rows += [{"label": "real", "generator": "", "family": "", "source": scene, "split": split}] * PER_GROUP
    for name, stack in zoo_images("test").items():
        row = {"label": "fake", "generator": name, "family": RECIPES[name].family, "source": name, "split": "test"}
        images += list(stack[:PER_GROUP])
        rows += [row] * PER_GROUP
    df = pd.DataFrame(rows)
    return ImageSet.of(images, df.assign(seen=df["source"].isin(detector.history["sources"])))


def redrawn_crops(images: ImageSet) -> tuple[NDArray[np.int64], Tensor]:
    """Let a generator draw the crops of the test photographs again: same content, other pixels.

    Args:
        images: Of `study_set`.

    Returns:
        Rows of the originals, and the redrawn crops, uint8 (n, 3, 64, 64), in the same order.
    """
    df = images.manifest
    rows = np.flatnonzero((df["label"] == "real") & (df["split"] == "test"))
    originals = torch.stack([images.image(int(row)) for row in rows])
    return rows.astype(np.int64), load_generator(REDRAWER).resynthesise(originals, seed=0)


# Embeddings


def stage_encoders(detector: NaturalTraceDetector) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name the encoder of each stage; all three have the same architecture.

    Args:
        detector: A trained detector.

    Returns:
        Entry of `STAGES` -> function from (n, 3, H, W) in 0..1 to unit-norm (n, d).
    """
    fresh = make_detector(detector.config).eval()
    assert isinstance(fresh, NaturalTraceDetector)
    untrained, mapped, student = fresh.teacher, detector.teacher.eval(), detector.eval()
    encoders: tuple[Callable[[Tensor], Tensor], ...] = (untrained.traces, mapped.traces, student.embed)
    return {stage: _scaled(encode) for stage, encode in zip(STAGES, encoders, strict=True)}


def _scaled(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Networks take 0..255, `embed_images` gives 0..1."""
    return lambda images: encode(images * 255)


def stage_embeddings(detector: NaturalTraceDetector, images: ImageSet) -> dict[str, Floats]:
    """Embed a set at every stage: entry of `STAGES` -> float32 (N, d)."""
    return {stage: embed_images(encode, images.images()) for stage, encode in stage_encoders(detector).items()}


def representatives(detector: NaturalTraceDetector, images: ImageSet, embedding: ArrayLike) -> NDArray[np.int64]:
    """Find for each natural trace the crop of a training photograph that lies nearest to it, each crop once.

    A trace is a mean of many crops and no picture itself, so this is only the best that can be shown.

    Args:
        detector: Holds the bank of traces.
        images: Of `study_set`.
        embedding: (N, d), of stage 1, where the traces were made.

    Returns:
        int64 (K,), rows of `images`.
    """
    df = images.manifest
    rows = np.flatnonzero((df["label"] == "real") & (df["split"] == "train"))
    order = rows[nearest_traces(detector.bank.numpy(), np.asarray(embedding)[rows], len(rows)).indices]
    chosen: list[int] = []
    for candidates in order:
        chosen.append(next(int(row) for row in candidates if row not in chosen))
    return np.array(chosen, np.int64)


# Two ways to a pretty picture


def supervised_map(embedding: ArrayLike, labels: ArrayLike, seed: int = 0) -> Floats:
    """Lay out an embedding by a UMAP that is told the labels: islands whatever the embedding holds.

    Args:
        embedding: (N, D).
        labels: (N,) numbers; equal ones attract.
        seed: Seed of the layout.

    Returns:
        float32 (N, 2).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it misses TensorFlow, which this needs not
        from umap import UMAP
    with threadpool_limits(1):
        model = UMAP(n_neighbors=15, metric="cosine", init="pca", random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(np.asarray(embedding), y=np.asarray(labels)), np.float32)


@dataclass(frozen=True)
class Memoriser:
    """A linear map from pixels to one number per class that fits its training images all but exactly.

    Attributes:
        weights: float64 (pixels, classes).
        classes: Names, sorted.
    """

    weights: Tensor
    classes: tuple[str, ...]

    def embed(self, images: Tensor) -> Floats:
        """uint8 (n, 3, H, W) -> float32 (n, classes)."""
        return np.asarray((pixel_rows(images) @ self.weights).numpy(), np.float32)


def pixel_rows(images: Tensor) -> Tensor:
    """Flatten images to rows of centred pixels: uint8 (n, 3, H, W) -> float64 (n, pixels)."""
    return to_float(images).flatten(1).double() - 0.45


def memorise(images: Tensor, classes: ArrayLike, ridge: float = 1.0) -> Memoriser:
    """Learn training images by heart: least squares from pixels to classes, with far more pixels than images.

    Args:
        images: uint8 (n, 3, H, W).
        classes: (n,) names.
        ridge: Strength of the regularisation.

    Returns:
        The map.
    """
    names, codes = np.unique(np.asarray(classes, dtype=str), return_inverse=True)
    rows, wanted = pixel_rows(images), torch.eye(len(names), dtype=torch.float64)[torch.from_numpy(codes)]
    shares = torch.linalg.solve(rows @ rows.T + ridge * torch.eye(len(rows), dtype=torch.float64), wanted)
    return Memoriser(rows.T @ shares, tuple(names.tolist()))


# Measures


def gap(points: ArrayLike, labels: ArrayLike) -> float:
    """Measure how pretty a map is: the silhouette of its labels, -1..1; 1 when each label is one tight island."""
    from sklearn.metrics import silhouette_score  # takes a second to load

    return float(silhouette_score(np.asarray(points), np.asarray(labels)))


def contest(
    record: Mapping[str, Any], images: ImageSet, train: ImageSet
) -> tuple[list[NDArray[np.float64]], list[NDArray[Any]]]:
    """Choose the three maps of the contest that opens the lesson; the lesson says at its end what they are.

    Args:
        record: See `read_record`.
        images: The set of the study.
        train: What the detector that knows its images by heart was fitted to.

    Returns:
        Points (N, 2) of each map, and the labels (N,) of its images.
    """
    told, memoriser, honest = record["told"], record["memoriser"], record["strip"][4]
    maps = [points_of(one["points"]) for one in (told, memoriser, honest)]
    return maps, [images.labels, train.labels, images.labels]


def continuity(embedding: ArrayLike, points: ArrayLike, n_neighbours: int = 15) -> float:
    """Compute the continuity of a map: trustworthiness with the roles exchanged.

    Args:
        embedding: (N, D), rows of unit norm.
        points: (N, 2).
        n_neighbours: Size of the neighbourhood, below N / 2.

    Returns:
        Number in [0, 1]; 1 means that no neighbours were torn apart.

    Source: Venna and Kaski, ICANN 2001, doi 10.1007/3-540-44668-0_68.
    """
    return map_trust(points, embedding, n_neighbours, metric="euclidean")


def purities(images: ImageSet, embedding: ArrayLike) -> dict[str, dict[str, Any]]:
    """Compute four neighbour purities of an embedding.

    Args:
        images: Of `study_set`.
        embedding: (N, d).

    Returns:
        "label" (real or fake, crops of one photograph never counted), "label, unseen" (the same among photographs and
        generators that the detector never saw), "generator" (fakes alone), "photograph" (reals alone) ->
        value, low, high, level, n, chance.
    """
    df, rows = images.manifest, np.asarray(embedding)
    real, unseen = (df["label"] == "real").to_numpy(), ~df["seen"].to_numpy(bool)
    alone = np.array([str(number) for number in range(len(df))])
    photograph = np.where(real, df["source"], alone)
    everything = np.ones(len(df), bool)
    questions = {
        "label": (df["label"], everything, photograph),
        "label, unseen": (df["label"], unseen, photograph),
        "generator": (df["generator"], ~real, alone),
        "photograph": (df["source"], real, alone),
    }
    entries = {}
    for name, (labels, chosen, groups) in questions.items():
        purity = neighbour_purity(rows[chosen], labels.to_numpy()[chosen], NEIGHBOURS, groups=groups[chosen])
        entries[name] = {**asdict(purity.purity), "chance": purity.chance}
    return entries


def training_votes(embedding: ArrayLike, known: ArrayLike, known_labels: ArrayLike) -> NDArray[np.float64]:
    """Score images by their neighbours among the training images, whatever the embedding.

    Args:
        embedding: (N, d).
        known: (M, d), training images.
        known_labels: (M,) 0 real, 1 fake.

    Returns:
        (N,), share of fakes among the ten nearest.
    """
    near = nearest_traces(embedding, known, NEIGHBOURS).indices
    return np.asarray(np.asarray(known_labels, np.float64)[near].mean(1), np.float64)


def unseen_auc(images: ImageSet, scores: ArrayLike) -> Interval:
    """Compute the AUC on photographs and generators that the detector never saw; photographs are drawn whole."""
    df = images.manifest
    unseen = ~df["seen"].to_numpy(bool)
    groups = np.where(df["label"] == "real", df["source"], df["path"])[unseen]
    return ranking_intervals(images.labels[unseen], np.asarray(scores)[unseen], groups)["auc"]


# The record


def measure_embeddings(progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Make the whole study.

    Args:
        progress: Is told what comes next.

    Returns:
        What `read_record` reads: see its keys in the lesson.
    """
    detector = study_detector()
    images = study_set(detector)
    train = zoo_set("train", detector.history["generators"], reals=320)
    progress("embeddings")
    known = stage_embeddings(detector, train)
    embeddings = stage_embeddings(detector, images)
    record: dict[str, Any] = {
        "weights_sha256": weights_sha256(),
        "images": len(images),
        "training_images": len(train),
        "stages": {},
    }
    for stage, embedding in embeddings.items():
        progress(f"UMAP, {stage}")
        umap = umap_map(embedding)
        record["stages"][stage] = {
            **judged(embedding, umap.points, images.labels),
            "pca_trust": map_trust(embedding, pca_map(embedding).points),
            "purity": purities(images, embedding),
            "vote_auc": asdict(unseen_auc(images, training_votes(embedding, known[stage], train.labels))),
        }
    final = embeddings[STAGES[2]]
    record["stages"][STAGES[2]]["redrawn"] = as_columns(_redrawn_places(detector, images, umap.place))
    record["score_auc"] = asdict(unseen_auc(images, detector.score(images.images())))
    record["strip"] = []
    for count, distance in STRIP:
        progress(f"UMAP, {count} neighbours, distance {distance}")
        points = umap_map(final, n_neighbours=count, min_distance=distance).points
        setting = {"n_neighbours": count, "min_distance": distance}
        record["strip"].append({**setting, **judged(final, points, images.labels)})
    progress("pretty pictures")
    return {**record, **_pretty(images, train, embeddings[STAGES[0]])}


def _redrawn_places(
    detector: NaturalTraceDetector, images: ImageSet, place: Callable[[ArrayLike], Floats]
) -> NDArray[Any]:
    """Place the redrawn crops on a map that was made without them."""
    crops = redrawn_crops(images)[1]
    return place(embed_images(stage_encoders(detector)[STAGES[2]], crops))


def _pretty(images: ImageSet, train: ImageSet, untrained: Floats) -> dict[str, Any]:
    """Record the two pretty pictures, and what the detectors behind them are worth."""
    told = supervised_map(untrained, images.labels)
    learnt = memorise(torch.stack(list(train.images())), class_names(train.manifest))
    by_heart = learnt.embed(torch.stack(list(train.images())))
    points = umap_map(by_heart, metric="euclidean", min_distance=0.0).points
    scores = -learnt.embed(torch.stack(list(images.images())))[:, learnt.classes.index("real")]
    return {
        "told": judged(untrained, told, images.labels),
        "memoriser": {
            "points": as_columns(points),
            "trust": map_trust(by_heart, points, metric="euclidean"),
            "gap": gap(points, train.labels),
            "auc": asdict(unseen_auc(images, scores)),
        },
    }


def class_names(df: pd.DataFrame) -> NDArray[Any]:
    """Name each image's class: "real" or its generator."""
    return np.where(df["label"] == "real", "real", df["generator"])


def judged(embedding: ArrayLike, points: NDArray[Any], labels: ArrayLike) -> dict[str, Any]:
    """Give a map's points, rounded to hundredths, and its trust, continuity and gap."""
    rounded = np.round(np.asarray(points, np.float64), 2)
    return {
        "points": as_columns(rounded),
        "trust": map_trust(embedding, rounded),
        "continuity": continuity(embedding, rounded),
        "gap": gap(rounded, labels),
    }


def as_columns(points: NDArray[Any]) -> dict[str, list[float]]:
    """Turn points (N, 2) into what JSON holds compactly; `points_of` turns it back."""
    rounded = np.round(np.asarray(points, np.float64), 2)
    return {"x": rounded[:, 0].tolist(), "y": rounded[:, 1].tolist()}


def points_of(columns: Mapping[str, Any]) -> NDArray[np.float64]:
    """Read recorded points: (N, 2)."""
    return np.column_stack([columns["x"], columns["y"]]).astype(np.float64)


def weights_sha256() -> str:
    """Compute the hash of the detector's weights, by which a record knows its detector."""
    return weights_hash(data_dir() / "detectors" / "zoo")


def read_record() -> dict[str, Any]:
    """Read the recorded study.

    Returns:
        Keys: `stages` (stage -> points, trust, continuity, gap, pca_trust, purity, vote_auc; stage 2 also `redrawn`),
        `score_auc`, `strip` (one entry per setting), `told` and `memoriser` (the two pretty pictures).

    Raises:
        StudyError: It is missing, or of another detector than the one that ships.
    """
    path = data_dir() / "results" / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise StudyError(f"{RECORD} cannot be read; run `python -m helpers embeddings record`") from None
    if record.get("weights_sha256") != weights_sha256():
        raise StudyError(f"{RECORD} belongs to another detector; run `python -m helpers embeddings record`")
    return record
