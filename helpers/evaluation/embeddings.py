"""What an embedding learnt, and how far a picture of it can be trusted.

An *embedding* is a float32 array (N, D), one row per image, from any encoder or detector. Two maps bring it to the
plane: PCA, which is linear and keeps distances as well as two axes can, and UMAP, which keeps neighbours and bends the
rest. Two numbers judge them: trustworthiness asks whether neighbours on the map are neighbours in the embedding, and
neighbour purity asks, without any map, whether neighbours share a label.

UMAP is imported when the first map is made, because its compiler takes seconds to start.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from threadpoolctl import threadpool_limits
from torch import Tensor

from helpers.data.images import Image, to_float
from helpers.errors import NaturalTracesError
from helpers.evaluation.metrics import Interval

__all__ = [
    "EmbedError",
    "Map",
    "NearestTraces",
    "Purity",
    "embed_images",
    "map_trust",
    "nearest_traces",
    "neighbour_purity",
    "neighbours",
    "pca_map",
    "umap_map",
]

Floats = NDArray[np.float32]


class EmbedError(NaturalTracesError):
    """An embedding, a map or a question about neighbours that makes no sense; the message says why."""


# Images to embeddings


def embed_images(
    encode: Callable[[Tensor], Tensor],
    images: Iterable[Image],
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Floats:
    """Embed images, batch by batch, without gradients.

    Args:
        encode: From float32 (n, 3, H, W) in 0..1 to (n, D) (further dimensions are flattened). Switch networks to
            evaluation, so that a row does not depend on its batch.
        images: uint8 (3, H, W), all of one size; a list, a tensor (N, 3, H, W) or a generator.
        batch_size: Images at a time, at least 1.
        device: Where the batches go.

    Returns:
        float32 (N, D), in the order of the images.

    Raises:
        EmbedError: There are no images, their sizes differ, or the encoder returns other than finite rows.
    """
    rows = [_embed(encode, batch, device) for batch in _batches(images, batch_size)]
    if not rows:
        raise EmbedError("there are no images to embed")
    return np.concatenate(rows)


def _batches(images: Iterable[Image], batch_size: int) -> Iterator[list[Image]]:
    if batch_size < 1:
        raise EmbedError(f"the batch size must be positive, got {batch_size}")
    rest = iter(images)
    while batch := list(islice(rest, batch_size)):
        if len({tuple(img.shape) for img in batch}) > 1:
            raise EmbedError("all images of a batch must have one size; crop them first")
        yield batch


def _embed(encode: Callable[[Tensor], Tensor], batch: list[Image], device: torch.device | str) -> Floats:
    with torch.inference_mode():
        vectors = encode(to_float(torch.stack(batch)).to(device))
    if vectors.ndim < 2 or len(vectors) != len(batch):
        raise EmbedError(f"the encoder made {tuple(vectors.shape)} of {len(batch)} images, and needs one row for each")
    rows: Floats = vectors.flatten(1).float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise EmbedError("the encoder returned values that are not finite")
    return rows


def _checked(embedding: ArrayLike, least: int = 1) -> Floats:
    rows = np.asarray(embedding, np.float32)
    if rows.ndim != 2 or len(rows) < least or rows.shape[1] < 1:
        raise EmbedError(f"needs an embedding (N, D) of at least {least} rows, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise EmbedError("the embedding holds values that are not finite")
    return rows


# Maps


@dataclass(frozen=True)
class Map:
    """A picture of an embedding in the plane, which can take in further images.

    Attributes:
        kind: "PCA" or "UMAP".
        points: float32 (N, 2), the places of the images that it was fitted to.
        dimensions: Of the embedding.
        model: The fitted estimator of scikit-learn or umap-learn.
    """

    kind: str
    points: Floats
    dimensions: int
    model: Any

    def place(self, embedding: ArrayLike) -> Floats:
        """Find the places of images that the map was not fitted to; the map does not change.

        Args:
            embedding: (M, D), from the same encoder.

        Returns:
            float32 (M, 2). UMAP's places repeat for the same rows in the same call, but depend a little on which rows
            are placed together.

        Raises:
            EmbedError: Other dimensions than the map was fitted to.
        """
        rows = _checked(embedding)
        if rows.shape[1] != self.dimensions:
            raise EmbedError(f"the map was fitted to {self.dimensions} dimensions, got {rows.shape[1]}")
        with threadpool_limits(1):
            return np.asarray(self.model.transform(rows), np.float32)


def pca_map(embedding: ArrayLike) -> Map:
    """Project an embedding on its two main axes.

    Args:
        embedding: (N, D), N and D at least 2.

    Returns:
        The map; `model.explained_variance_ratio_` says how much of the variance it shows.

    Raises:
        EmbedError: The embedding is too small.
    """
    from sklearn.decomposition import PCA

    rows = _checked(embedding, least=2)
    if rows.shape[1] < 2:
        raise EmbedError("a map needs at least two dimensions")
    model = PCA(2, svd_solver="full").fit(rows)
    return Map("PCA", np.asarray(model.transform(rows), np.float32), rows.shape[1], model)


def umap_map(
    embedding: ArrayLike,
    *,
    n_neighbours: int = 15,
    min_distance: float = 0.1,
    metric: str = "cosine",
    seed: int = 0,
    n_epochs: int | None = None,
) -> Map:
    """Lay out an embedding so that neighbours stay neighbours (UMAP), repeatably: one seed, one thread.

    It starts from PCA instead of the default spectral layout: that keeps the coarse arrangement, and needs no connected
    graph of neighbours (Kobak and Linderman, Nature Biotechnology 39 (2021), doi 10.1038/s41587-020-00809-z).

    Args:
        embedding: (N, D).
        n_neighbours: How many neighbours (the point itself counted) each point should keep, 2..N - 1: few show
            splinters, many the coarse shape.
        min_distance: How close points may lie on the map, 0..1: a matter of looks.
        metric: Distance in the embedding, as umap-learn calls it.
        seed: Seed of the layout.
        n_epochs: Rounds of the layout; umap-learn's choice when None (500 for up to 10,000 points).

    Returns:
        The map.

    Raises:
        EmbedError: Too few rows for so many neighbours.

    Source: McInnes, Healy and Melville, arXiv 1802.03426.
    """
    rows = _checked(embedding, least=3)
    if not 2 <= n_neighbours < len(rows):
        raise EmbedError(f"{n_neighbours} neighbours do not fit {len(rows)} rows")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # it misses TensorFlow, which this needs not
        from umap import UMAP
    model = UMAP(
        n_neighbors=n_neighbours,
        min_dist=min_distance,
        metric=metric,
        n_epochs=n_epochs,
        init="pca",
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,  # a fixed seed allows one thread only; saying so spares a warning
    )
    # The layout is chaotic: the last digit of the linear algebra, which hangs on its threads, moves points visibly.
    with threadpool_limits(1):
        points = np.asarray(model.fit_transform(rows), np.float32)
    return Map("UMAP", points, rows.shape[1], model)


def map_trust(embedding: ArrayLike, points: ArrayLike, n_neighbours: int = 15, metric: str = "cosine") -> float:
    """Compute the trustworthiness of a map: are neighbours on the map neighbours in the embedding?

    Every wrong neighbour on the map costs as much as its rank in the embedding exceeds `n_neighbours`.

    Args:
        embedding: (N, D).
        points: (N, 2).
        n_neighbours: Size of the neighbourhood, below N / 2.
        metric: Distance in the embedding; on the map it is Euclidean.

    Returns:
        Number in [0, 1]; 1 means that no stranger was put among the neighbours. About 0.5 for points at random.

    Raises:
        EmbedError: Lengths differ, or too few rows.

    Source: Venna and Kaski, ICANN 2001, doi 10.1007/3-540-44668-0_68.
    """
    from sklearn.manifold import trustworthiness

    rows, places = _checked(embedding), _checked(points)
    if len(rows) != len(places) or not 1 <= n_neighbours < len(rows) / 2:
        raise EmbedError(f"{n_neighbours} neighbours, {len(rows)} rows and {len(places)} points do not fit")
    return float(trustworthiness(rows, places, n_neighbors=n_neighbours, metric=metric))


# Neighbours


def neighbours(
    embedding: ArrayLike, n_neighbours: int = 10, *, groups: ArrayLike | None = None, metric: str = "cosine"
) -> NDArray[np.int64]:
    """Find the nearest other rows of every row, exactly.

    Args:
        embedding: (N, D).
        n_neighbours: How many, at least 1.
        groups: (N,) such as the photograph; rows of one group are never each other's neighbours. When None, only the
            row itself is left out.
        metric: Distance, as scikit-learn calls it.

    Returns:
        int64 (N, n_neighbours), nearest first; of equally near rows the first.

    Raises:
        EmbedError: A row has too few others outside its group.
    """
    from sklearn.metrics import pairwise_distances_chunked

    rows = _checked(embedding)
    names = _codes(np.arange(len(rows)) if groups is None else groups, len(rows), "groups")
    others = len(rows) - np.bincount(names)
    if not 1 <= n_neighbours <= others.min():
        raise EmbedError(f"{n_neighbours} neighbours wanted, but a row may have only {others.min()} outside its group")
    nearest, start = [], 0
    for distances in pairwise_distances_chunked(rows, metric=metric, working_memory=64):
        own = names[start : start + len(distances), None] == names[None, :]
        order = np.argsort(np.where(own, np.inf, distances), axis=1, kind="stable")
        nearest.append(order[:, :n_neighbours])
        start += len(distances)
    return np.concatenate(nearest).astype(np.int64)


@dataclass(frozen=True)
class Purity:
    """How often neighbours share a label.

    Attributes:
        purity: Mean share over all rows, with its interval.
        chance: What the same rows have when neighbours are drawn at random from those admitted.
        shares: float64 (N,), share of each row's neighbours that have its label.
        chances: float64 (N,), the same by chance.
    """

    purity: Interval
    chance: float
    shares: NDArray[np.float64]
    chances: NDArray[np.float64]


def neighbour_purity(
    embedding: ArrayLike,
    labels: ArrayLike,
    n_neighbours: int = 10,
    *,
    groups: ArrayLike | None = None,
    metric: str = "cosine",
    level: float = 0.95,
) -> Purity:
    """Compute the share of the nearest rows that have the row's own label (any column: label, generator, source).

    The interval is normal, with a variance that knows that both ends of a pair are shared: a row speaks once through
    its own neighbours, and again wherever it is a neighbour. (A bootstrap of rows with fixed neighbours forgets the
    second, and is too narrow.) It speaks of other images in this embedding, not of another training.

    Args:
        embedding: (N, D).
        labels: (N,) texts or numbers.
        n_neighbours: Size of the neighbourhood.
        groups: (N,) such as the photograph. Rows of one group are not counted as neighbours, because crops of one
            photograph resemble each other whatever the label, and they count as one for the interval. When None, every
            row stands alone; take that for labels that are themselves groups.
        metric: Distance, as scikit-learn calls it.
        level: Confidence level in (0, 1).

    Returns:
        Purity with its interval (`n` counts groups), and its chance level.

    Raises:
        EmbedError: Lengths differ, or a row has too few others.

    Source: the variance is that of Aronow, Samii and Assenova, Political Analysis 23 (2015), doi 10.1093/pan/mpv018,
    with the mean of each label taken out, as the numbers of each label are given.
    """
    from scipy.stats import norm

    rows = _checked(embedding)
    codes = _codes(labels, len(rows), "labels")
    clusters = np.arange(len(rows)) if groups is None else _codes(groups, len(rows), "groups")
    nearest = neighbours(rows, n_neighbours, groups=clusters, metric=metric)
    same = (codes[nearest] == codes[:, None]).astype(np.float64)
    value, margin = float(same.mean()), float(norm.ppf((1 + level) / 2)) * _pair_error(same, nearest, codes, clusters)
    interval = Interval(value, max(0.0, value - margin), min(1.0, value + margin), level, int(clusters.max()) + 1)
    chances = _chances(codes, clusters)
    return Purity(interval, float(chances.mean()), same.mean(1), chances)


def _pair_error(
    same: NDArray[np.float64], nearest: NDArray[np.int64], codes: NDArray[np.int64], clusters: NDArray[np.int64]
) -> float:
    """Compute the standard error of a mean over pairs of rows, whose clusters are what was drawn independently."""
    shares = same.mean(1)
    surplus = same - (np.bincount(codes, shares) / np.bincount(codes))[codes][:, None]
    own, other = np.broadcast_to(clusters[:, None], nearest.shape), clusters[nearest]
    ends = np.minimum(own, other).ravel(), np.maximum(own, other).ravel()
    count = int(clusters.max()) + 1
    pairs = coo_matrix((surplus.ravel(), ends), shape=(count, count)).tocsr()  # sums the entries of each pair
    by_cluster = np.asarray(pairs.sum(0)).ravel() + np.asarray(pairs.sum(1)).ravel()
    # All pairs of entries that share a cluster; those that share both were counted twice.
    variance = np.square(by_cluster).sum() - np.square(pairs.data).sum()
    return float(np.sqrt(max(variance, 0.0)) / same.size)


def _chances(codes: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute, for each row, the share of its label among all rows outside its cluster."""
    pairs = codes * (int(clusters.max()) + 1) + clusters
    same_label, same_cluster, same_both = (np.bincount(each)[each] for each in (codes, clusters, pairs))
    return np.asarray((same_label - same_both) / (len(codes) - same_cluster), np.float64)


def _codes(values: ArrayLike, count: int, name: str) -> NDArray[np.int64]:
    """Number the different values of a column."""
    column = np.asarray(values)
    if column.shape != (count,):
        raise EmbedError(f"{name} needs one entry for each of {count} rows, got shape {column.shape}")
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


class NearestTraces(NamedTuple):
    """Nearest rows of a bank: int64 (N, count) indices and float32 (N, count) cosine similarities, nearest first."""

    indices: NDArray[np.int64]
    similarities: Floats


def nearest_traces(embedding: ArrayLike, bank: ArrayLike, count: int = 5) -> NearestTraces:
    """Find the natural traces, or the photographs, that lie nearest to each image.

    Args:
        embedding: (N, D); rows of zeros are similar to nothing.
        bank: (K, D), prototypes of `helpers.detectors.ntf.stage1_losses.prototypes` or embeddings of photographs.
        count: How many, 1..K.

    Returns:
        Indices into the bank and cosine similarities in [-1, 1].

    Raises:
        EmbedError: Dimensions differ, or the bank is too small.
    """
    rows, traces = _checked(embedding), _checked(bank)
    if rows.shape[1] != traces.shape[1] or not 1 <= count <= len(traces):
        raise EmbedError(f"cannot find {count} of {traces.shape} traces for images of {rows.shape[1]} dimensions")
    similarities = _unit(rows) @ _unit(traces).T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    return NearestTraces(order.astype(np.int64), np.take_along_axis(similarities, order, axis=1))


def _unit(rows: Floats) -> Floats:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)
