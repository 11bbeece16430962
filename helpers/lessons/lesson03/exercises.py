"""Exercises of lesson 03: two heads, the homogeneous term, decorrelation, and two alarms of collapse."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from helpers.course.compare import agrees, difference, unchanged_by
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.detectors.ntf.stage1_losses import decorrelation_loss, effective_rank, homogeneous_loss
from helpers.lessons.lesson03.study import spread

__all__ = ["EXERCISES", "check"]

EXACT = torch.float64

# 3.1 · Two heads

UNIT = "Divide every row by its own length: the sum of squares runs along a row, over dim=1."
SHARED = "The homogeneous embedding comes first, and only the homogeneous head makes it."
SPECIAL = "The heterogeneous head must see the features themselves, and be used."


def two_heads(features: Tensor, homogeneous: Function, heterogeneous: Function) -> tuple[Tensor, Tensor]:
    """Reference: what both heads of a `TraceEncoder` make of the backbone's features.

    Args:
        features: Float (N, D).
        homogeneous: Head: (N, D) -> (N, E).
        heterogeneous: Head: (N, D) -> (N, E).

    Returns:
        Both embeddings, unit norm, each (N, E).
    """
    return normalize(homogeneous(features), dim=1), normalize(heterogeneous(features), dim=1)


def _heads() -> tuple[Tensor, Function, Function]:
    """Features, and two heads of one layer that keep their length, so that each could follow the other."""
    features, first, second = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(4), dtype=EXACT)
    return features, lambda rows: (rows @ first).relu() + 0.1, lambda rows: (rows @ second).relu() + 0.1


def _rows_have_length_one(attempt: Function) -> str | None:
    ones = torch.ones(5, dtype=EXACT)
    found = (difference(rows.norm(dim=1), ones, 1e-5) for rows in attempt(*_heads()))
    return next((failure for failure in found if failure), None)


def _embedding_agrees(which: int) -> Callable[[Function], str | None]:
    return lambda attempt: difference(attempt(*_heads())[which], two_heads(*_heads())[which], 1e-5)


HEADS = Exercise(
    id="3.1",
    title="Two heads",
    reference=two_heads,
    properties=(
        Property("every row has length 1", _rows_have_length_one, hint=UNIT),
        Property("the homogeneous embedding agrees with the reference", _embedding_agrees(0), hint=SHARED),
        Property("the heterogeneous embedding agrees with the reference", _embedding_agrees(1), hint=SPECIAL),
    ),
    wrong_answers=(
        WrongAnswer("lengths as they come", lambda rows, shared, special: (shared(rows), special(rows)), hint=UNIT),
        WrongAnswer(
            "columns of length 1",
            lambda rows, shared, special: (normalize(shared(rows), dim=0), normalize(special(rows), dim=0)),
            hint=UNIT,
        ),
        WrongAnswer("the two exchanged", lambda rows, shared, special: two_heads(rows, special, shared), hint=SHARED),
        WrongAnswer(
            "one head on top of the other",
            lambda rows, shared, special: two_heads(rows, shared, lambda same: special(shared(same))),
            hint=SPECIAL,
        ),
        WrongAnswer("one head for both", lambda rows, shared, special: two_heads(rows, shared, shared), hint=SPECIAL),
    ),
)

# 3.2 · The homogeneous term

SAME = "Two views of one photograph share its content, and content is no trace: such pairs take no part, nor does self."
BROKEN = "Broken views belong below the line: each anchor must tell its partners from all of them."
MEAN = "Every partner has the same share of the target: take the mean of the logarithms, not the logarithm of the sum."


def _views(seed: int = 0, photographs: int = 4, broken: int = 6) -> tuple[Tensor, Tensor, Tensor, float]:
    """Unit vectors of two kept views of each photograph, and of broken views; and a temperature."""
    rows = torch.randn(2 * photographs + broken, 5, generator=torch.Generator().manual_seed(seed), dtype=EXACT)
    rows = normalize(rows, dim=1)
    return rows[: 2 * photographs], torch.arange(photographs).repeat(2), rows[2 * photographs :], 0.3


def _opened(angle: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Two photographs with two views each; the angle opens between views of one photograph and nowhere else."""
    across, along = 0.8 * math.sin(angle), 0.8 * math.cos(angle)
    kept = torch.zeros(4, 7, dtype=EXACT)
    kept[:, 0] = 0.6
    kept[0, 1], kept[2, 1] = along, along
    kept[0, 2], kept[2, 2] = across, -across
    kept[1, 3], kept[3, 3] = along, along
    kept[1, 4], kept[3, 4] = across, -across
    broken = torch.zeros(2, 7, dtype=EXACT)
    broken[0, 0], broken[1, 0], broken[1, 5] = -1.0, 0.6, 0.8
    return kept, torch.tensor([0, 1, 0, 1]), broken, 0.3


def _same_photograph_is_left_out(attempt: Function) -> str | None:
    return difference(attempt(*_opened(1.2)), attempt(*_opened(0.2)))


def _broken_views_cost(attempt: Function) -> str | None:
    kept, sources, broken, temperature = _views()
    near = normalize(broken + 2 * kept.mean(dim=0), dim=1)
    more, less = (float(attempt(kept, sources, views, temperature)) for views in (near, -near))
    return None if more > less + 0.1 else f"broken views near photographs cost {more:.3f}, far from them {less:.3f}"


def _log_shares(kept: Tensor, broken: Tensor, temperature: float, admitted: Tensor) -> Tensor:
    """Logarithms of the shares of the kept keys, where only some keys are admitted."""
    similarity = kept @ torch.cat([kept, broken]).T / temperature
    return similarity.masked_fill(~admitted, -torch.inf).log_softmax(dim=1)[:, : len(kept)]


def _partners(sources: Tensor) -> Tensor:
    return sources[:, None] != sources[None, :]


def _same_photograph_attracts(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> float:
    positives = ~torch.eye(len(kept), dtype=torch.bool)
    admitted = torch.cat([positives, positives.new_ones(len(kept), len(broken))], dim=1)
    return float(-_log_shares(kept, broken, temperature, admitted)[positives].mean())


def _broken_left_out(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> float:
    positives = _partners(sources)
    admitted = torch.cat([positives, positives.new_zeros(len(kept), len(broken))], dim=1)
    return float(-_log_shares(kept, broken, temperature, admitted)[positives].mean())


def _log_of_the_sum(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> float:
    positives = _partners(sources)
    admitted = torch.cat([positives, positives.new_ones(len(kept), len(broken))], dim=1)
    return float(-_log_shares(kept, broken, temperature, admitted).logsumexp(dim=1).mean())


HOMOGENEOUS = Exercise(
    id="3.2",
    title="The homogeneous term",
    reference=homogeneous_loss,
    properties=(
        Property("views of the same photograph take no part", _same_photograph_is_left_out, hint=SAME),
        Property("broken views cost the more, the nearer they come", _broken_views_cost, hint=BROKEN),
        Property("agrees with the reference", agrees(homogeneous_loss, lambda: _views(seed=3)), hint=MEAN),
    ),
    wrong_answers=(
        WrongAnswer("all kept views attract, the same photograph's too", _same_photograph_attracts, hint=SAME),
        WrongAnswer("broken views are left out", _broken_left_out, hint=BROKEN),
        WrongAnswer("the logarithm of the sum over partners", _log_of_the_sum, hint=MEAN),
    ),
)

# 3.3 · Decorrelation

SCALE = "A correlation has no unit: divide every column by its standard deviation."
CENTRE = "A correlation knows no offset: take the mean of every column away first."
SIGNS = "A correlation of -1 repeats as much as one of +1: square before you take the mean."


def _two_embeddings(seed: int = 0, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Two embeddings of lengths 3 and 4 that share one direction."""
    values = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed), dtype=EXACT)
    return values[:, :3] + values[:, 7:], values[:, 3:7] - 0.8 * values[:, 7:]


def _opposite_counts(attempt: Function) -> str | None:
    column = _two_embeddings()[0][:, :1]
    return difference(attempt(torch.cat([column, -column], dim=1), column), 1.0, 1e-5)


def _covariance(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    first, second = homogeneous - homogeneous.mean(dim=0), heterogeneous - heterogeneous.mean(dim=0)
    return float((first.T @ second / len(first)).square().mean())


def _without_centre(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    first, second = (rows / rows.square().mean(dim=0).sqrt() for rows in (homogeneous, heterogeneous))
    return float((first.T @ second / len(first)).square().mean())


def _signed(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    pair = (homogeneous, heterogeneous)
    first, second = ((rows - rows.mean(dim=0)) / rows.std(dim=0, unbiased=False) for rows in pair)
    return float((first.T @ second / len(first)).mean() ** 2)


DECORRELATION = Exercise(
    id="3.3",
    title="Decorrelation",
    reference=decorrelation_loss,
    properties=(
        Property(
            "an offset changes nothing",
            unchanged_by(_two_embeddings, lambda first, second: (first + 3, second - 2), 1e-5),
            hint=CENTRE,
        ),
        Property(
            "another scale changes nothing",
            unchanged_by(_two_embeddings, lambda first, second: (5 * first, second / 3), 1e-5),
            hint=SCALE,
        ),
        Property("a column and its negative both repeat it fully", _opposite_counts, hint=SIGNS),
        Property(
            "agrees with the reference",
            agrees(decorrelation_loss, lambda: _two_embeddings(5), tolerance=1e-5),
            hint="Correlate every column of one embedding with every column of the other, over all images.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("covariance in place of correlation", _covariance, hint=SCALE),
        WrongAnswer("no mean taken away", _without_centre, hint=CENTRE),
        WrongAnswer("signs cancel", _signed, hint=SIGNS),
    ),
)

# 3.4 · Two alarms

CENTRED = "Both alarms ask how far rows lie from each other, not from zero: take the mean row away first."
ENTROPY = "Weights that sum to 1, then the exponential of their entropy in nats: k equal weights must give k."
SINGULAR = "Take the singular values themselves as weights; their squares would be variances."


def alarms(embedding: Tensor) -> tuple[float, float]:
    """Reference: spread (root of the mean squared distance from the mean) and effective rank.

    Args:
        embedding: Unit-norm rows, float (N, D).

    Returns:
        Spread, 0 to 1, and rank, 1 to D.
    """
    return spread(embedding), effective_rank(embedding)


def _even(directions: int, size: int = 7) -> Tensor:
    """Rows that point both ways along some axes: spread 1, and as many directions as axes."""
    axes = torch.eye(size, dtype=EXACT)[:directions]
    return torch.cat([axes, -axes])


def _crowded(seed: int = 0) -> tuple[Tensor]:
    """Unit rows near one point, with unequal spread along the axes."""
    noise = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed), dtype=EXACT)
    steps = torch.tensor([1.0, 0.5, 0.2, 0.1, 0.05, 0.02], dtype=EXACT)
    return (normalize(torch.ones(6, dtype=EXACT) + noise * steps, dim=1),)


def _spread_near_a_point(attempt: Function) -> str | None:
    return difference(attempt(*_crowded())[0], alarms(*_crowded())[0], 1e-5)


def _counts_directions(attempt: Function) -> str | None:
    for directions in (2, 5):
        failure = difference(attempt(_even(directions))[1], float(directions), 1e-5)
        if failure:
            return f"rank of {directions} even directions: {failure}"
    return None


def _rank_of(values: Tensor, unit: float = 1.0) -> float:
    """Exponential of the entropy of some values, the entropy in units of so many nats."""
    return math.exp(float(torch.special.entr(values / values.sum()).sum()) / unit)


def _values(embedding: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(embedding - embedding.mean(dim=0))
    return values


def _uncentred(embedding: Tensor) -> tuple[float, float]:
    return float(embedding.square().sum(dim=1).mean().sqrt()), _rank_of(torch.linalg.svdvals(embedding))


ALARMS = Exercise(
    id="3.4",
    title="Two alarms",
    reference=alarms,
    properties=(
        Property("spread of rows near one point", _spread_near_a_point, hint=CENTRED),
        Property("k directions of the same length have rank k", _counts_directions, hint=ENTROPY),
        Property("agrees with the reference", agrees(alarms, lambda: _crowded(2), tolerance=1e-5), hint=SINGULAR),
    ),
    wrong_answers=(
        WrongAnswer("the mean is not taken away", _uncentred, hint=CENTRED),
        WrongAnswer("the entropy in bits", lambda rows: (spread(rows), _rank_of(_values(rows), math.log(2))), ENTROPY),
        WrongAnswer(
            "variances in place of singular values",
            lambda rows: (spread(rows), _rank_of(_values(rows).square())),
            hint=SINGULAR,
        ),
    ),
)

EXERCISES = (HEADS, HOMOGENEOUS, DECORRELATION, ALARMS)

register(EXERCISES)
