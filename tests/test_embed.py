import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from helpers.errors import NaturalTracesError
from helpers.evaluation import embeddings as embed
from helpers.evaluation.embeddings import EmbedError


def blobs(count: int = 40, classes: int = 3, spread: float = 0.05, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Directions around a few orthogonal axes of eight dimensions, class after class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    rows = np.eye(8)[labels] + spread * rng.normal(size=(count * classes, 8))
    return rows.astype(np.float32), labels


def cosine_distances(rows: NDArray, others: NDArray) -> NDArray:
    unit, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (rows, others))
    return 1 - unit.astype(np.float64) @ other.astype(np.float64).T


# Images to embeddings


def pictures(count: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 3, 8, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_embedding_is_one_row_per_image_whatever_the_batch(batch_size: int) -> None:
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    images = pictures()
    got = embed.embed_images(encode, images, batch_size)
    with torch.no_grad():
        expected = torch.stack([encode(img[None].float() / 255).flatten() for img in images]).numpy()
    assert (got.dtype, got.shape) == (np.float32, (10, 16))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(embed.embed_images(encode, (img for img in images), batch_size), got)


def test_encoder_sees_small_batches_in_range_and_no_gradients() -> None:
    seen: list[Tensor] = []

    def encode(values: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        seen.append(values)
        return values.mean((2, 3)).half()

    assert embed.embed_images(encode, pictures(), 4).dtype == np.float32
    assert [len(values) for values in seen] == [4, 4, 2]
    assert all(values.dtype == torch.float32 and values.min() >= 0 and values.max() <= 1 for values in seen)


@pytest.mark.parametrize(
    ("encode", "reason"),
    [
        (lambda values: values.mean(), "one row for each"),
        (lambda values: values.mean((1, 2, 3)), "one row for each"),
        (lambda values: values.mean((2, 3))[:1], "one row for each"),
        (lambda values: values.mean((2, 3)) / 0, "finite"),
    ],
)
def test_bad_encoders(encode, reason: str) -> None:
    with pytest.raises(EmbedError, match=reason):
        embed.embed_images(encode, pictures())


def test_bad_images_and_batches() -> None:
    def encode(values: Tensor) -> Tensor:
        return values.mean((2, 3))

    with pytest.raises(EmbedError, match="no images"):
        embed.embed_images(encode, [])
    with pytest.raises(EmbedError, match="one size"):
        embed.embed_images(encode, [pictures()[0], pictures()[0][:, :4]])
    with pytest.raises(EmbedError, match="batch size"):
        embed.embed_images(encode, pictures(), 0)
    assert issubclass(EmbedError, NaturalTracesError)


# Maps


def test_pca_agrees_with_the_singular_value_decomposition() -> None:
    rows, _ = blobs()
    got = embed.pca_map(rows)
    centred = rows.astype(np.float64) - rows.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    assert (got.kind, got.points.dtype, got.points.shape) == ("PCA", np.float32, (120, 2))
    np.testing.assert_allclose(np.abs(got.points), np.abs(centred @ axes.T), atol=1e-4)
    new = blobs(seed=1)[0]
    np.testing.assert_allclose(np.abs(got.place(new)), np.abs((new - rows.mean(0)) @ axes.T), atol=1e-4)
    np.testing.assert_allclose(got.place(rows), got.points, atol=1e-5)


@pytest.mark.slow  # numba compiles
def test_umap_repeats_by_seed_without_a_warning() -> None:
    rows, _ = blobs(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as "n_jobs value overridden by random_state"
        first, again, other = (embed.umap_map(rows, seed=seed, n_epochs=60) for seed in (3, 3, 4))
        placed = first.place(rows[:20])
    assert (first.kind, first.points.dtype, first.points.shape) == ("UMAP", np.float32, (90, 2))
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, other.points)
    np.testing.assert_array_equal(placed, again.place(rows[:20]))
    np.testing.assert_array_equal(placed, first.place(rows[:20]))  # placing leaves no trace in the map


def test_umap_does_not_depend_on_the_threads_of_linear_algebra() -> None:
    rows = np.random.default_rng(0).normal(size=(1500, 64)).astype(np.float32)
    result = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            result.append(embed.umap_map(rows, n_epochs=11).points)
    np.testing.assert_array_equal(*result)


def test_umap_keeps_blobs_apart_and_places_points_near_their_own_place() -> None:
    rows, labels = blobs()
    fitted = embed.umap_map(rows, seed=0)
    radius = max(
        np.linalg.norm(fitted.points[labels == each] - fitted.points[labels == each].mean(0), axis=1).max()
        for each in range(3)
    )
    placed = fitted.place(rows)
    assert np.linalg.norm(placed - fitted.points, axis=1).max() < radius
    new, new_labels = blobs(seed=9)
    new_places = fitted.place(new)
    centres = np.stack([fitted.points[labels == each].mean(0) for each in range(3)])
    nearest = np.linalg.norm(new_places[:, None] - centres[None], axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, new_labels)


def test_import_of_the_module_does_not_start_umap() -> None:
    code = "import sys, helpers.evaluation.embeddings; sys.exit('umap' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_maps_refuse_what_does_not_fit() -> None:
    rows, _ = blobs(5)
    with pytest.raises(EmbedError, match="neighbours"):
        embed.umap_map(rows, n_neighbours=15)
    with pytest.raises(EmbedError, match="two dimensions"):
        embed.pca_map(rows[:, :1])
    with pytest.raises(EmbedError, match="dimensions"):
        embed.pca_map(rows).place(rows[:, :4])
    with pytest.raises(EmbedError, match="finite"):
        embed.pca_map(np.where(rows > 0.9, np.nan, rows))
    with pytest.raises(EmbedError, match="shape"):
        embed.pca_map(rows[0])


def trust_by_the_definition(rows: NDArray, points: NDArray, k: int) -> float:
    high = cosine_distances(rows, rows)
    low = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    np.fill_diagonal(high, -1)
    np.fill_diagonal(low, -1)
    count, penalty = len(rows), 0
    ranks = high.argsort(1).argsort(1)  # 0 is the row itself
    for row, order in enumerate(low.argsort(1)):
        penalty += sum(max(0, ranks[row, other] - k) for other in order[1 : k + 1])
    return 1 - penalty * 2 / (count * k * (2 * count - 3 * k - 1))


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trust_agrees_with_its_definition(k: int) -> None:
    rows, _ = blobs(20)
    rng = np.random.default_rng(0)
    for points in (embed.pca_map(rows).points, rng.normal(size=(60, 2)).astype(np.float32)):
        assert embed.map_trust(rows, points, k) == pytest.approx(trust_by_the_definition(rows, points, k))


def test_trust_of_a_faithful_and_of_a_shuffled_map() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)).astype(np.float32)
    assert embed.map_trust(plane, 3 * plane, 10, metric="euclidean") == 1
    assert embed.map_trust(plane, rng.permutation(plane), 10, metric="euclidean") == pytest.approx(0.5, abs=0.05)
    with pytest.raises(EmbedError):
        embed.map_trust(plane, plane[:-1], 10)
    with pytest.raises(EmbedError):
        embed.map_trust(plane, plane, 100)


# Neighbours


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("grouped", [False, True])
def test_neighbours_agree_with_brute_force(metric: str, grouped: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    groups = np.arange(50) // 4 if grouped else np.arange(50)
    distances = (
        cosine_distances(rows, rows) if metric == "cosine" else np.linalg.norm(rows[:, None] - rows[None], axis=2)
    )
    got = embed.neighbours(rows, 7, groups=groups if grouped else None, metric=metric)
    assert got.shape == (50, 7)
    for row in range(50):
        allowed = [other for other in range(50) if groups[other] != groups[row]]
        assert got[row].tolist() == sorted(allowed, key=lambda other, row=row: distances[row, other])[:7]


def test_a_row_is_not_its_own_neighbour_even_among_copies() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    got = embed.neighbours(rows, 3)
    assert all(row not in result for row, result in enumerate(got))
    assert all(set(result // 4) == {row // 4} for row, result in enumerate(got))


def test_large_sets_are_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    whole = embed.neighbours(rows, 5)
    chunked, pieces = sklearn.metrics.pairwise_distances_chunked, []

    def small_pieces(values: NDArray, **settings: object):
        for piece in chunked(values, **(settings | {"working_memory": 0.1})):
            pieces.append(len(piece))
            yield piece

    monkeypatch.setattr("sklearn.metrics.pairwise_distances_chunked", small_pieces)
    np.testing.assert_array_equal(embed.neighbours(rows, 5), whole)
    assert len(pieces) > 3


def test_purity_of_separate_blobs_is_one() -> None:
    rows, labels = blobs(40)
    got = embed.neighbour_purity(rows, labels, 10)
    assert (got.purity.value, got.purity.low, got.purity.high) == (1, 1, 1)
    assert got.chance == pytest.approx(39 / 119)
    assert got.purity.n == 120


def test_purity_of_mixed_labels_is_chance_and_texts_do() -> None:
    rows, _ = blobs(100, classes=4)
    labels = np.random.default_rng(1).permutation(np.repeat(["real", "fake"], [300, 100]))
    got = embed.neighbour_purity(rows, labels, 10)
    # Σ n (n - 1) / (N (N - 1)) over the two classes.
    assert got.chance == pytest.approx((300 * 299 + 100 * 99) / (400 * 399))
    assert got.purity.low < got.chance < got.purity.high
    assert got.purity.value == pytest.approx(got.shares.mean())
    fakes = got.chances[labels == "fake"]
    assert np.allclose(fakes, 99 / 399)


def test_purity_can_be_counted_by_hand() -> None:
    angles = np.array([0.0, 0.1, 0.25, 1.0, 1.1, 1.25])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    got = embed.neighbour_purity(rows, list("aabbba"), 2)
    # The two nearest of each of the first three are each other, likewise of the last three.
    assert got.shares.tolist() == [0.5, 0.5, 0, 0.5, 0.5, 0]
    assert got.chances.tolist() == [0.4] * 6
    assert got.purity.value == pytest.approx(1 / 3)


def test_crops_of_one_photograph_do_not_count() -> None:
    # Every photograph is its own blob, labels go by photograph and are drawn at random: only the photograph is known.
    rng = np.random.default_rng(0)
    centres, labels = rng.normal(size=(60, 8)), rng.permutation(60) % 2
    photographs = np.repeat(np.arange(60), 5)
    rows = centres[photographs] + 0.01 * rng.normal(size=(300, 8))
    fooled = embed.neighbour_purity(rows, labels[photographs], 4)
    assert fooled.purity.low == 1
    honest = embed.neighbour_purity(rows, labels[photographs], 4, groups=photographs)
    assert honest.purity.low < honest.chance < honest.purity.high
    assert (fooled.purity.n, honest.purity.n) == (300, 60)
    # Of 295 crops of other photographs, 29 x 5 have the label.
    assert honest.chance == pytest.approx(145 / 295)
    assert honest.purity.high - honest.purity.low > 0.1


def test_interval_counts_every_pair_of_pairs_that_share_a_photograph() -> None:
    rng = np.random.default_rng(0)
    rows, labels, photographs = rng.normal(size=(24, 4)), np.arange(24) % 3 // 2, np.arange(24) // 2
    got = embed.neighbour_purity(rows, labels, 3, groups=photographs).purity
    result = embed.neighbours(rows, 3, groups=photographs)
    entries = [(row, other, float(labels[row] == labels[other])) for row in range(24) for other in result[row]]
    mean = {label: np.mean([same for row, _, same in entries if labels[row] == label]) for label in (0, 1)}
    covariance = 0.0
    for row, other, same in entries:
        for row_too, other_too, same_too in entries:
            if {photographs[row], photographs[other]} & {photographs[row_too], photographs[other_too]}:
                covariance += (same - mean[labels[row]]) * (same_too - mean[labels[row_too]])
    assert got.high - got.low == pytest.approx(2 * 1.959964 * np.sqrt(covariance) / len(entries), rel=1e-5)


@pytest.mark.parametrize("gap", [0.0, 2.0])
def test_interval_covers_the_mean_of_many_sets(gap: float) -> None:
    result = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(120) % 2
        rows = rng.normal(size=(120, 6))
        rows[:, 0] += gap * labels
        result.append(embed.neighbour_purity(rows, labels, 5, metric="euclidean").purity)
    mean = np.mean([interval.value for interval in result])
    covered = np.mean([interval.low <= mean <= interval.high for interval in result])
    assert 0.88 <= covered <= 0.99


def test_neighbours_refuse_what_does_not_fit() -> None:
    rows, labels = blobs(5)
    with pytest.raises(EmbedError, match="15 neighbours"):
        embed.neighbours(rows, 15)
    with pytest.raises(EmbedError, match="11 neighbours"):
        embed.neighbours(rows, 11, groups=labels)
    with pytest.raises(EmbedError, match="labels"):
        embed.neighbour_purity(rows, labels[:-1], 3)
    with pytest.raises(EmbedError, match="groups"):
        embed.neighbour_purity(rows, labels, 3, groups=labels[:-1])


def test_nearest_traces_agree_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    rows, bank = rng.normal(size=(20, 5)), rng.normal(size=(12, 5))
    got = embed.nearest_traces(rows, bank, 4)
    similarities = 1 - cosine_distances(rows, bank)
    for row in range(20):
        expected = sorted(range(12), key=lambda trace, row=row: -similarities[row, trace])[:4]
        assert got.indices[row].tolist() == expected
        np.testing.assert_allclose(got.similarities[row], similarities[row, expected], atol=1e-6)
    assert got.similarities.dtype == np.float32


def test_a_trace_is_nearest_to_itself_whatever_its_length() -> None:
    bank = np.random.default_rng(0).normal(size=(9, 5))
    got = embed.nearest_traces(7 * bank, bank, 1)
    assert got.indices[:, 0].tolist() == list(range(9))
    np.testing.assert_allclose(got.similarities, 1, atol=1e-6)
    assert embed.nearest_traces(np.zeros((1, 5)), bank, 9).similarities.tolist() == [[0] * 9]
    with pytest.raises(EmbedError):
        embed.nearest_traces(bank, bank, 10)
    with pytest.raises(EmbedError):
        embed.nearest_traces(bank[:, :3], bank, 1)
