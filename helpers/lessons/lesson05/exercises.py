"""Exercises of lesson 05: trustworthiness from ranks, neighbour purity, and new images on an old map."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.course.compare import agrees, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register

__all__ = ["EXERCISES", "check"]

Floats = NDArray[np.float64]
Places = NDArray[Any]
Test = Callable[[Function], str | None]

# 5.1 · Trustworthiness from ranks

FORGIVE = "A neighbour on the map whose rank in the embedding is at most k costs nothing: only what exceeds k counts."
ROLES = "Who are the suspects? The neighbours on the map; their ranks in the embedding are the evidence."
ONE_SORT = "One `argsort` says who is in place 3; ranks say in which place image 3 is: sort twice."
FROM_ONE = "The nearest *other* image has rank 1: the image itself holds rank 0, so do not subtract one more."
STRANGERS = "A stranger costs what exceeds k, not 1: one from rank 40 costs more than one from rank 17."
NORMALISED = "Mind the factor before the sum: 2 / (N k (2N - 3k - 1)), and T is 1 minus all of it."
FARTHEST = "The neighbours are those of *smallest* distance: which end of the sorted row do you take?"
ITSELF = "Is every image its own nearest neighbour in your list? Leave it out, so that its nearest other has rank 1."


def trust_from_ranks(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    """Reference: trustworthiness of a map by the ranks of its neighbours.

    Args:
        embedding_distances: (N, N), of all pairs in the embedding; 0 on the diagonal only.
        map_distances: (N, N), of all pairs on the map; 0 on the diagonal only.
        k: Size of the neighbourhood, below N / 2.

    Returns:
        Number in [0, 1].
    """
    count = len(embedding_distances)
    ranks = embedding_distances.argsort(axis=1).argsort(axis=1)
    near = map_distances.argsort(axis=1)[:, 1 : k + 1]
    excess = np.take_along_axis(ranks, near, axis=1) - k
    return float(1 - 2 * excess.clip(min=0).sum() / (count * k * (2 * count - 3 * k - 1)))


def _distances(rows: Floats) -> Floats:
    return np.asarray(np.linalg.norm(rows[:, None] - rows[None], axis=2), np.float64)


def _folded(seed: int = 0, count: int = 60) -> tuple[Floats, Floats, int]:
    """A square of points, and a map that keeps one of its sides: strangers come together, few neighbours part."""
    rows = np.random.default_rng(seed).uniform(size=(count, 2))
    return _distances(rows), _distances(rows[:, :1]), 5


def _perfect(attempt: Function) -> str | None:
    embedding, _, k = _folded()
    return difference(attempt(embedding, embedding * 3, k), 1.0)


def _folds_cost_trust(attempt: Function) -> str | None:
    """On a folded map trust is below continuity; the attempt must say which is which."""
    embedding, flat, k = _folded()
    trust, continuity = float(attempt(embedding, flat, k)), float(attempt(flat, embedding, k))
    return None if trust < continuity else f"folding gave {trust:.3f}, unfolding {continuity:.3f}, expected less"


def _all_ranks_cost(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    count = len(embedding_distances)
    ranks = embedding_distances.argsort(axis=1).argsort(axis=1)
    near = map_distances.argsort(axis=1)[:, 1 : k + 1]
    return float(1 - 2 * np.take_along_axis(ranks, near, axis=1).sum() / (count * k * (2 * count - 3 * k - 1)))


def _with_itself(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    count = len(embedding_distances)
    ranks = embedding_distances.argsort(axis=1).argsort(axis=1)
    excess = np.take_along_axis(ranks, map_distances.argsort(axis=1)[:, :k], axis=1) - k
    return float(1 - 2 * excess.clip(min=0).sum() / (count * k * (2 * count - 3 * k - 1)))


def _parts(embedding_distances: Floats, map_distances: Floats, k: int) -> tuple[Places, Places, float]:
    """Ranks in the embedding, map order without the image itself, and the factor before the sum."""
    count = len(embedding_distances)
    ranks = embedding_distances.argsort(axis=1).argsort(axis=1)
    return ranks, map_distances.argsort(axis=1)[:, 1:], 2 / (count * k * (2 * count - 3 * k - 1))


def _costs(ranks: Places, near: Places, k: int) -> Floats:
    return np.asarray((np.take_along_axis(ranks, near, axis=1) - k).clip(min=0), np.float64)


def _sorted_once(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    _, order, factor = _parts(embedding_distances, map_distances, k)
    return float(1 - factor * _costs(embedding_distances.argsort(axis=1), order[:, :k], k).sum())


def _ranks_from_zero(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    ranks, order, factor = _parts(embedding_distances, map_distances, k)
    return float(1 - factor * _costs(ranks - 1, order[:, :k], k).sum())


def _counted(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    ranks, order, factor = _parts(embedding_distances, map_distances, k)
    return float(1 - factor * (_costs(ranks, order[:, :k], k) > 0).sum())


def _share_of_cost(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    ranks, order, _ = _parts(embedding_distances, map_distances, k)
    return float(1 - _costs(ranks, order[:, :k], k).sum() / (len(ranks) * k))


def _farthest(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    ranks, order, factor = _parts(embedding_distances, map_distances, k)
    return float(1 - factor * _costs(ranks, order[:, -k:], k).sum())


def _image_by_image(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    """A right answer in loops."""
    count, cost = len(embedding_distances), 0
    for i in range(count):
        others = [j for j in range(count) if j != i]
        known = sorted(others, key=lambda j: embedding_distances[i, j])
        for j in sorted(others, key=lambda j: map_distances[i, j])[:k]:
            cost += max(0, known.index(j) + 1 - k)
    return 1 - 2 * cost / (count * k * (2 * count - 3 * k - 1))


def _with_rankdata(embedding_distances: Floats, map_distances: Floats, k: int) -> float:
    """A right answer from ranks alone, nothing sorted."""
    count = len(embedding_distances)
    from scipy.stats import rankdata

    ranks, places = (rankdata(rows, axis=1) - 1 for rows in (embedding_distances, map_distances))
    excess = np.maximum(ranks - k, 0)[(places >= 1) & (places <= k)]
    return float(1 - excess.sum() * 2 / (count * k) / (2 * count - 3 * k - 1))


TRUST = Exercise(
    id="5.1",
    is_used=True,
    title="Trustworthiness from ranks",
    reference=trust_from_ranks,
    properties=(
        Property("neighbours are near", unlike(_farthest, _folded, "the farthest on the map"), hint=FARTHEST),
        Property("ranks are places", unlike(_sorted_once, _folded, "one argsort"), hint=ONE_SORT),
        Property("the nearest other has rank 1", unlike(_ranks_from_zero, _folded, "ranks from 0"), hint=FROM_ONE),
        Property("strangers cost by rank", unlike(_counted, _folded, "a count of strangers"), hint=STRANGERS),
        Property("the sum is scaled", unlike(_share_of_cost, _folded, "a mean cost"), hint=NORMALISED),
        Property(
            "the result is 1 minus the cost",
            unlike(lambda *a: 1 - trust_from_ranks(*a), _folded, "the cost alone"),
            hint="You return what was lost; trustworthiness is what is left of 1.",
        ),
        Property("an enlarged copy is fully trusted", _perfect, hint=FORGIVE),
        Property("a folded map is trusted less than it is continuous", _folds_cost_trust, hint=ROLES),
        Property("agrees with the reference", agrees(trust_from_ranks, lambda: _folded(3)), hint=ITSELF),
    ),
    wrong_answers=(
        WrongAnswer("every rank costs", _all_ranks_cost, hint=FORGIVE),
        WrongAnswer("map and embedding exchanged", lambda e, m, k: trust_from_ranks(m, e, k), hint=ROLES),
        WrongAnswer("an image is its own neighbour", _with_itself, hint=ITSELF),
        WrongAnswer("one argsort for the ranks", _sorted_once, hint=ONE_SORT),
        WrongAnswer("ranks begin at 0", _ranks_from_zero, hint=FROM_ONE),
        WrongAnswer("strangers are counted", _counted, hint=STRANGERS),
        WrongAnswer("a mean cost", _share_of_cost, hint=NORMALISED),
        WrongAnswer("the farthest on the map", _farthest, hint=FARTHEST),
    ),
    right_answers=(
        RightAnswer("in loops", _image_by_image),
        RightAnswer("by rankdata", _with_rankdata),
    ),
)

# 5.2 · Neighbours from elsewhere

NEAREST = "Which end of the sorted similarities holds the nearest? `argsort` puts the smallest first."
SAME_PHOTOGRAPH = "Crops of one photograph resemble each other whatever the detector learnt: forbid all of them."
BELOW = "Similarities may be negative, so 0 is no forbidding value: what is smaller than every number?"
ON_BOTH = "Among the admitted, the first is already another photograph's image: do not leave it out."
OF_NAMES = "You compare photographs: the question is whether the neighbours' *labels* agree."
SHARE = "A share lies between 0 and 1: divide the agreements by all N * k neighbours."
FILL = "Forbid first, then take the nearest k: every image has k neighbours, all from other photographs."


def purity_elsewhere(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    """Reference: mean share of the k nearest images of other photographs that have the image's own label.

    Args:
        similarities: (N, N), higher is nearer.
        labels: (N,) names.
        photographs: (N,) names; images of one name are never each other's neighbours.
        k: Size of the neighbourhood.

    Returns:
        Number in [0, 1].
    """
    allowed = np.where(photographs[:, None] == photographs[None, :], -np.inf, similarities)
    near = np.argsort(-allowed, axis=1, kind="stable")[:, :k]
    return float((labels[near] == labels[:, None]).mean())


def _clusters(
    labels: str, photographs: str, seed: int = 0, repeats: int = 6
) -> tuple[Floats, NDArray[Any], NDArray[Any], int]:
    """Tight clusters of directions, one per letter; each cluster's label and photograph are given by letters."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(12, 12)))[0][: len(labels)]
    rows = np.repeat(centres, repeats, axis=0) + 0.02 * rng.normal(size=(repeats * len(labels), 12))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    spread = [np.repeat(list(letters), repeats) for letters in (labels, photographs)]
    return rows @ rows.T, spread[0], spread[1], 4


def _own_cluster(attempt: Function) -> str | None:
    """Every image a photograph of its own, every cluster a label: most neighbours agree."""
    similarities, labels, _, k = _clusters("abc", "xyz")
    purity = float(attempt(similarities, labels, np.arange(len(labels)), k))
    return None if purity > 0.5 else f"expected nearly 1, got {purity:.2f}"


def _other_photographs(attempt: Function) -> str | None:
    """Each label has one photograph, so that every admitted neighbour has another label."""
    return difference(attempt(*_clusters("abc", "xyz")), 0.0)


def _always_k(attempt: Function) -> str | None:
    """One label everywhere: all of the k neighbours agree, however many crops were forbidden."""
    return difference(attempt(*_clusters("aaa", "xyz")), 1.0)


def _mixed() -> tuple[Floats, NDArray[Any], NDArray[Any], int]:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 8))
    return rows @ rows.T, rng.choice(["real", "fake"], 60), rng.choice(list("abcdefghij"), 60), 7


def _only_itself(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    return purity_elsewhere(similarities, labels, np.arange(len(labels)), k)


def _forbidden_last(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    near = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    admitted = photographs[near] != photographs[:, None]
    return float(((labels[near] == labels[:, None]) & admitted).mean())


def _negative() -> tuple[Floats, NDArray[Any], NDArray[Any], int]:
    similarities, labels, photographs, k = _mixed()
    return similarities - 100, labels, photographs, k


def _forbidden_zero(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    masked = np.where(photographs[:, None] == photographs[None, :], 0.0, similarities)
    return float((labels[np.argsort(-masked, axis=1)[:, :k]] == labels[:, None]).mean())


def _without_first(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    masked = np.where(photographs[:, None] == photographs[None, :], -np.inf, similarities)
    return float((labels[np.argsort(-masked, axis=1)[:, 1 : k + 1]] == labels[:, None]).mean())


def _agreements(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    return purity_elsewhere(similarities, labels, photographs, k) * len(labels) * k


def _mean_neighbours(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    return purity_elsewhere(similarities, labels, photographs, k) * k


def _image_after_image(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    """A right answer in loops."""
    shares = []
    for row, label, photograph in zip(similarities, labels, photographs, strict=True):
        others = [j for j in range(len(labels)) if photographs[j] != photograph]
        near = sorted(others, key=lambda j: row[j], reverse=True)[:k]
        shares.append(sum(labels[j] == label for j in near) / k)
    return float(np.mean(shares))


def _partitioned(similarities: Floats, labels: NDArray[Any], photographs: NDArray[Any], k: int) -> float:
    """A right answer that sorts nothing, on a copy with infinities."""
    masked = np.array(similarities, dtype=float)
    masked[np.equal.outer(photographs, photographs)] = -np.inf
    near = np.argpartition(masked, -k, axis=1)[:, -k:]
    return float(np.count_nonzero(labels[near] == labels[:, None]) / near.size)


PURITY = Exercise(
    id="5.2",
    is_used=True,
    title="Neighbours from elsewhere",
    reference=purity_elsewhere,
    properties=(
        Property("a share, not a count", unlike(_agreements, _mixed, "the number of agreements"), hint=SHARE),
        Property(
            "a share of all neighbours",
            unlike(_mean_neighbours, _mixed, "agreements for each image"),
            hint="You divide by the images alone: every image has k neighbours.",
        ),
        Property(
            "the labels are compared",
            unlike(lambda s, _, p, k: purity_elsewhere(s, p, p, k), _mixed, "a comparison of photographs"),
            hint=OF_NAMES,
        ),
        Property("the nearest admitted counts", unlike(_without_first, _mixed, "neighbours 2 to k + 1"), hint=ON_BOTH),
        Property("negative similarities do", unlike(_forbidden_zero, _negative, "forbidding by 0"), hint=BELOW),
        Property("tight clusters of one label are pure", _own_cluster, hint=NEAREST),
        Property("crops of one photograph do not count", _other_photographs, hint=SAME_PHOTOGRAPH),
        Property("k neighbours remain", _always_k, hint=FILL),
        Property("agrees with the reference", agrees(purity_elsewhere, _mixed), hint="Take the mean over all N * k."),
    ),
    wrong_answers=(
        WrongAnswer("the farthest", lambda s, *rest: purity_elsewhere(-s, *rest), hint=NEAREST),
        WrongAnswer("only the image itself is forbidden", _only_itself, hint=SAME_PHOTOGRAPH),
        WrongAnswer("forbidden neighbours are dropped afterwards", _forbidden_last, hint=FILL),
        WrongAnswer("forbidden by 0", _forbidden_zero, hint=BELOW),
        WrongAnswer("the first admitted is left out", _without_first, hint=ON_BOTH),
        WrongAnswer("photographs are compared", lambda s, _, p, k: purity_elsewhere(s, p, p, k), hint=OF_NAMES),
        WrongAnswer("a count", _agreements, hint=SHARE),
    ),
    right_answers=(
        RightAnswer("in loops", _image_after_image),
        RightAnswer("by argpartition", _partitioned),
    ),
)

# 5.3 · New images on an old map

OLD_MEAN = "From which mean do you measure? The map belongs to the old images: a new image must not move its centre."
OLD_AXES = "The axes belong to the old images too: the place of an image must not depend on who comes with it."
CENTRED = "Axes of largest variance go through the mean: subtract it before you decompose, and from the new rows too."
LAST = "`eigh` sorts its values upwards: the main axes are the *last* columns."
FIRST_LAST = "The longest axis comes first: your two columns stand in the wrong order."
COLUMNS = "The axes are the *rows* of the last factor of `svd`, not its columns."
NO_SCALING = "A projection keeps lengths along its axes: do not divide by the singular values."


def pca_places(old: Floats, new: Floats) -> Floats:
    """Reference: places of new rows on the plane of the two main axes of old rows.

    Args:
        old: (N, D), what the map is made of.
        new: (M, D), what is placed on it.

    Returns:
        (M, 2); the sign of each column is free.
    """
    from sklearn.decomposition import PCA

    return np.asarray(PCA(2, svd_solver="full").fit(old).transform(new), np.float64)


def _rows(seed: int = 0) -> tuple[Floats, Floats]:
    """Old rows around one centre, new rows around another."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(6, 6)) * np.array([3, 2, 1, 0.5, 0.3, 0.1])[:, None]
    return rng.normal(size=(40, 6)) @ mixing + 1, rng.normal(size=(9, 6)) @ mixing + 3


def _places(attempt: Function, old: Floats, new: Floats) -> Floats:
    return np.abs(np.asarray(attempt(old, new), np.float64))


def _one_stays_away(attempt: Function) -> str | None:
    old, new = _rows()
    places = _places(attempt, old, new[:1])
    return difference(places, np.abs(pca_places(old, new[:1])), 1e-6) if np.allclose(places, 0) else None


def _company_is_free(attempt: Function) -> str | None:
    old, new = _rows()
    return difference(_places(attempt, old, new)[:1], _places(attempt, old, new[:1]), 1e-6)


def _same_places(attempt: Function) -> str | None:
    old, new = _rows(4)
    return difference(_places(attempt, old, new), np.abs(pca_places(old, new)), 1e-6)


Placing = Callable[[Floats, Floats], Floats]


def _not_like(mistake: Placing, what: str) -> Test:
    """Test that the places are not those of a known mistake, whatever their signs."""

    def test(attempt: Function) -> str | None:
        old, new = _rows(4)
        same = difference(_places(attempt, old, new), _places(mistake, old, new), 1e-6) is None
        return f"your places are those of {what}" if same else None

    return test


def _uncentred(old: Floats, new: Floats) -> Floats:
    return np.asarray(new @ np.linalg.svd(old, full_matrices=False)[2][:2].T)


def _least_axes(old: Floats, new: Floats) -> Floats:
    mean = old.mean(axis=0)
    return np.asarray((new - mean) @ np.linalg.eigh(np.cov(old.T))[1][:, :2])


def _columns_of_factor(old: Floats, new: Floats) -> Floats:
    mean = old.mean(axis=0)
    return np.asarray((new - mean) @ np.linalg.svd(old - mean, full_matrices=False)[2][:, :2])


def _by_eigenvectors(old: Floats, new: Floats) -> Floats:
    """A right answer from the covariance."""
    centred = old - old.mean(axis=0)
    vectors = np.linalg.eigh(centred.T @ centred)[1]
    return np.asarray((new - old.mean(axis=0)) @ vectors[:, [-1, -2]])


def _row_by_row(old: Floats, new: Floats) -> Floats:
    """A right answer in loops, with the other kind of singular value decomposition."""
    mean = old.mean(axis=0)
    left = np.linalg.svd((old - mean).T)[0]
    return np.array([[float(np.dot(row - mean, left[:, axis])) for axis in (0, 1)] for row in new])


def _own_mean(old: Floats, new: Floats) -> Floats:
    return pca_places(old - old.mean(0), new - new.mean(0))


def _joint(old: Floats, new: Floats) -> Floats:
    return pca_places(np.concatenate([old, new]), new)


def _whitened(old: Floats, new: Floats) -> Floats:
    from sklearn.decomposition import PCA

    return np.asarray(PCA(2, svd_solver="full", whiten=True).fit(old).transform(new), np.float64)


PLACES = Exercise(
    id="5.3",
    is_used=True,
    title="New images on an old map",
    reference=pca_places,
    properties=(
        Property("centred", _not_like(_uncentred, "rows that were not centred"), hint=CENTRED),
        Property("the main axes", _not_like(_least_axes, "the axes of least variance"), hint=LAST),
        Property(
            "the longest axis first",
            _not_like(lambda old, new: pca_places(old, new)[:, ::-1], "axes in the wrong order"),
            hint=FIRST_LAST,
        ),
        Property("axes are rows", _not_like(_columns_of_factor, "columns of the last factor"), hint=COLUMNS),
        Property("a single far image does not land in the middle", _one_stays_away, hint=OLD_MEAN),
        Property("an image's place does not depend on its company", _company_is_free, hint=OLD_AXES),
        Property("agrees with the reference, up to signs", _same_places, hint=NO_SCALING),
    ),
    wrong_answers=(
        WrongAnswer("measured from the mean of the new", _own_mean, hint=OLD_MEAN),
        WrongAnswer("axes of old and new together", _joint, hint=OLD_AXES),
        WrongAnswer("divided by the spread", _whitened, hint=NO_SCALING),
        WrongAnswer("not centred", _uncentred, hint=CENTRED),
        WrongAnswer("the first eigenvectors", _least_axes, hint=LAST),
        WrongAnswer("the last eigenvectors, upwards", lambda old, new: pca_places(old, new)[:, ::-1], hint=FIRST_LAST),
        WrongAnswer("columns of the last factor", _columns_of_factor, hint=COLUMNS),
    ),
    right_answers=(
        RightAnswer("by eigenvectors of the covariance", _by_eigenvectors),
        RightAnswer("in loops", _row_by_row),
    ),
)

EXERCISES = (TRUST, PURITY, PLACES)

register(EXERCISES)
