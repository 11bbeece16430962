"""Exercises of lesson 03: two heads, the homogeneous term, decorrelation, and two alarms of collapse."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from helpers.course.compare import agrees, difference, unchanged_by, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.detectors.ntf.stage1_losses import decorrelation_loss, effective_rank, homogeneous_loss
from helpers.lessons.lesson03.study import spread

__all__ = ["EXERCISES", "check"]

EXACT = torch.float64

# 3.1 · Two heads

UNIT = "Divide every row by its own length: the sum of squares runs along a row, over dim=1."
COLUMNS = "Rows are images: normalise along a row, over dim=1, not down a column."
WHOLE = "Every row has a length of its own: without dim=1 you divide by the length of the whole table."
SUMS = "The length of a row is the root of its sum of squares, not the sum of its sizes."
SQUARES = "A root is missing: divide by the root of the sum of squares."
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
    differences = (difference(rows.norm(dim=1), ones, 1e-5) for rows in attempt(*_heads()))
    return next((failure for failure in differences if failure), None)


def _embedding_agrees(which: int) -> Callable[[Function], str | None]:
    return lambda attempt: difference(attempt(*_heads())[which], two_heads(*_heads())[which], 1e-5)


def _both(divide: Callable[[Tensor], Tensor]) -> Function:
    """Make an answer that divides the rows of both heads in its own way."""
    return lambda rows, shared, special: (divide(shared(rows)), divide(special(rows)))


_down_a_column = _both(lambda rows: normalize(rows, dim=0))
_whole_table = _both(lambda rows: rows / rows.norm())
_sum_of_sizes = _both(lambda rows: normalize(rows, p=1, dim=1))
_no_root = _both(lambda rows: rows / rows.square().sum(dim=1, keepdim=True))


def _row_by_row(features: Tensor, homogeneous: Function, heterogeneous: Function) -> list[Tensor]:
    return [
        torch.stack([row / math.sqrt(row @ row) for row in head(features)]) for head in (homogeneous, heterogeneous)
    ]


HEADS = Exercise(
    id="3.1",
    title="Two heads",
    reference=two_heads,
    properties=(
        Property("along a row", unlike(_down_a_column, _heads, "columns of length 1"), hint=COLUMNS),
        Property("each row for itself", unlike(_whole_table, _heads, "a whole table of length 1"), hint=WHOLE),
        Property("squares make a length", unlike(_sum_of_sizes, _heads, "sizes that sum to 1"), hint=SUMS),
        Property("a length is a root", unlike(_no_root, _heads, "a division by the sum of squares"), hint=SQUARES),
        Property("every row has length 1", _rows_have_length_one, hint=UNIT),
        Property("the homogeneous embedding agrees with the reference", _embedding_agrees(0), hint=SHARED),
        Property("the heterogeneous embedding agrees with the reference", _embedding_agrees(1), hint=SPECIAL),
    ),
    wrong_answers=(
        WrongAnswer("lengths as they come", lambda rows, shared, special: (shared(rows), special(rows)), hint=UNIT),
        WrongAnswer("columns of length 1", _down_a_column, hint=COLUMNS),
        WrongAnswer("one length for all rows", _whole_table, hint=WHOLE),
        WrongAnswer("the sum of sizes as length", _sum_of_sizes, hint=SUMS),
        WrongAnswer("the root is forgotten", _no_root, hint=SQUARES),
        WrongAnswer("the two exchanged", lambda rows, shared, special: two_heads(rows, special, shared), hint=SHARED),
        WrongAnswer(
            "one head on top of the other",
            lambda rows, shared, special: two_heads(rows, shared, lambda same: special(shared(same))),
            hint=SPECIAL,
        ),
        WrongAnswer("one head for both", lambda rows, shared, special: two_heads(rows, shared, shared), hint=SPECIAL),
    ),
    right_answers=(
        RightAnswer("divided by the norm", _both(lambda rows: rows / torch.linalg.norm(rows, dim=1)[:, None])),
        RightAnswer("row by row, as a list", _row_by_row),
    ),
)

# 3.2 · The homogeneous term

SAME = "Two views of one photograph share its content, and content is no trace: such pairs take no part, nor does self."
BROKEN = "Broken views belong below the line: each anchor must tell its partners from all of them."
DIVIDE = "Similarities are divided by the temperature: a small temperature sharpens."
COLD = "Divide the similarities by the temperature before they are raised."
MINUS = "The loss is minus the mean logarithm: it falls when partners come nearer."
ROWS = "First average over the partners of each view, then over views: a view with many partners counts no more."
ANCHORS = "Broken views stand below the line only: no row of the mean belongs to one."
BELOW = "Partners stand below the line too, beside the broken views: both are candidates."
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


def _crowded_views() -> tuple[Tensor, Tensor, Tensor, float]:
    """Views of three photographs, with three, two and one view each, so that they have unequally many partners."""
    kept, _, broken, temperature = _views(seed=3, photographs=3)
    return kept, torch.tensor([0, 0, 0, 1, 1, 2]), broken, temperature


def _mean_over_pairs(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> float:
    positives = _partners(sources)
    admitted = torch.cat([positives, positives.new_ones(len(kept), len(broken))], dim=1)
    return float(-_log_shares(kept, broken, temperature, admitted)[positives].mean())


def _times_temperature(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    return homogeneous_loss(kept, sources, broken, 1 / temperature)


def _without_temperature(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    return homogeneous_loss(kept, sources, broken, 1.0)


def _plus(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    return -homogeneous_loss(kept, sources, broken, temperature)


def _broken_as_anchors(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    every = torch.cat([kept, broken])
    similarity = (every @ every.T / temperature).exp()
    partners = torch.zeros(len(every), len(every), dtype=torch.bool)
    partners[:, : len(kept)] = True
    partners[: len(kept), : len(kept)] = _partners(sources)
    below = (similarity * partners).sum(dim=1) + similarity[:, len(kept) :].sum(dim=1)
    shares = (similarity / below[:, None]).log().masked_fill(~partners, 0)
    return -(shares.sum(dim=1) / partners.sum(dim=1)).mean()


def _only_broken_below(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    partners = _partners(sources)
    below = (kept @ broken.T / temperature).logsumexp(dim=1, keepdim=True)
    shares = (kept @ kept.T / temperature - below).masked_fill(~partners, 0)
    return -(shares.sum(dim=1) / partners.sum(dim=1)).mean()


def _with_loops(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> float:
    total = 0.0
    for view, source in zip(kept, sources.tolist(), strict=True):
        partners = [other for other, name in zip(kept, sources.tolist(), strict=True) if name != source]
        near = [math.exp(float(view @ partner) / temperature) for partner in partners]
        below = sum(near) + sum(math.exp(float(view @ far) / temperature) for far in broken)
        total -= sum(math.log(value / below) for value in near) / len(near)
    return total / len(kept)


def _with_exponentials(kept: Tensor, sources: Tensor, broken: Tensor, temperature: float) -> Tensor:
    partners = (sources[:, None] != sources[None, :]).double()
    near, far = (kept @ kept.T / temperature).exp(), (kept @ broken.T / temperature).exp()
    below = (near * partners).sum(dim=1) + far.sum(dim=1)
    return -((near / below[:, None]).log() * partners / partners.sum(dim=1, keepdim=True)).sum(dim=1).mean()


def _unlike_3_2(mistake: Function, what: str) -> Callable[[Function], str | None]:
    return unlike(mistake, _crowded_views, what)


HOMOGENEOUS = Exercise(
    id="3.2",
    title="The homogeneous term",
    reference=homogeneous_loss,
    properties=(
        Property("the temperature divides", _unlike_3_2(_times_temperature, "a product with it"), hint=DIVIDE),
        Property("the temperature takes part", _unlike_3_2(_without_temperature, "temperature 1"), hint=COLD),
        Property("the loss is not negative", _unlike_3_2(_plus, "the other sign"), hint=MINUS),
        Property(
            "the mean over each view's partners first", _unlike_3_2(_mean_over_pairs, "one mean over all pairs"), ROWS
        ),
        Property("broken views are no anchors", _unlike_3_2(_broken_as_anchors, "broken views as anchors"), ANCHORS),
        Property("partners stand below the line", _unlike_3_2(_only_broken_below, "broken views alone below"), BELOW),
        Property("views of the same photograph take no part", _same_photograph_is_left_out, hint=SAME),
        Property("broken views cost the more, the nearer they come", _broken_views_cost, hint=BROKEN),
        Property("agrees with the reference", agrees(homogeneous_loss, _crowded_views), hint=MEAN),
    ),
    wrong_answers=(
        WrongAnswer("all kept views attract, the same photograph's too", _same_photograph_attracts, hint=SAME),
        WrongAnswer("broken views are left out", _broken_left_out, hint=BROKEN),
        WrongAnswer("the logarithm of the sum over partners", _log_of_the_sum, hint=MEAN),
        WrongAnswer("one mean over all pairs", _mean_over_pairs, hint=ROWS),
        WrongAnswer("multiplied by the temperature", _times_temperature, hint=DIVIDE),
        WrongAnswer("the temperature is forgotten", _without_temperature, hint=COLD),
        WrongAnswer("the sign", _plus, hint=MINUS),
        WrongAnswer("broken views as anchors", _broken_as_anchors, hint=ANCHORS),
        WrongAnswer("only broken views below the line", _only_broken_below, hint=BELOW),
    ),
    right_answers=(
        RightAnswer("loops over views and partners", _with_loops),
        RightAnswer("exponentials and weights", _with_exponentials),
    ),
)

# 3.3 · Decorrelation

SCALE = "A correlation has no unit: divide every column by its standard deviation."
CENTRE = "A correlation knows no offset: take the mean of every column away first."
BIASED = "`std` divides by n - 1 by default, your product by n: use the same for both."
ALONG = "Mean and deviation belong to a column: take them over the images, dim=0."
SIZES = "The squared correlations are asked for, not their sizes."
INSIDE = "Only correlations between the two embeddings count, not those within one."
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


def _standard(rows: Tensor, dim: int = 0, correction: int = 0) -> Tensor:
    """Take the mean away and divide by the deviation."""
    return (rows - rows.mean(dim=dim, keepdim=True)) / rows.std(dim=dim, keepdim=True, correction=correction)


def _uneven_deviation(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    first, second = (_standard(rows, correction=1) for rows in (homogeneous, heterogeneous))
    return float((first.T @ second / len(first)).square().mean())


def _along_rows(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    first, second = (_standard(rows, dim=1) for rows in (homogeneous, heterogeneous))
    return float((first.T @ second / len(first)).square().mean())


def _mean_of_sizes(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    first, second = _standard(homogeneous), _standard(heterogeneous)
    return float((first.T @ second / len(first)).abs().mean())


def _within_too(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    return float(torch.corrcoef(torch.cat([homogeneous, heterogeneous], dim=1).T).square().mean())


def _by_corrcoef(homogeneous: Tensor, heterogeneous: Tensor) -> float:
    both = np.corrcoef(homogeneous.numpy(), heterogeneous.numpy(), rowvar=False)
    width = homogeneous.shape[1]
    return float((both[:width, width:] ** 2).mean())


def _column_by_column(homogeneous: Tensor, heterogeneous: Tensor) -> Tensor:
    terms = [
        torch.nn.functional.cosine_similarity(x - x.mean(), y - y.mean(), dim=0) ** 2
        for x in homogeneous.T
        for y in heterogeneous.T
    ]
    return torch.stack(terms).mean()


def _unlike_3_3(mistake: Function, what: str) -> Callable[[Function], str | None]:
    return unlike(mistake, _two_embeddings, what, 1e-5)


DECORRELATION = Exercise(
    id="3.3",
    title="Decorrelation",
    reference=decorrelation_loss,
    properties=(
        Property("one count for both", _unlike_3_3(_uneven_deviation, "n - 1 here and n there"), hint=BIASED),
        Property("columns are standardised", _unlike_3_3(_along_rows, "standardised rows"), hint=ALONG),
        Property("correlations are squared", _unlike_3_3(_mean_of_sizes, "sizes, not squares"), hint=SIZES),
        Property("between the two only", _unlike_3_3(_within_too, "correlations within one too"), hint=INSIDE),
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
        WrongAnswer("the deviation by n - 1, the product by n", _uneven_deviation, hint=BIASED),
        WrongAnswer("rows in place of columns", _along_rows, hint=ALONG),
        WrongAnswer("sizes in place of squares", _mean_of_sizes, hint=SIZES),
        WrongAnswer("correlations within an embedding count too", _within_too, hint=INSIDE),
    ),
    right_answers=(
        RightAnswer("NumPy's corrcoef, one block of it", _by_corrcoef),
        RightAnswer("cosines of centred columns, one by one", _column_by_column),
    ),
)

# 3.4 · Two alarms

CENTRED = "Both alarms ask how far rows lie from each other, not from zero: take the mean row away first."
FIRST = "Return the spread first, then the rank."
ROOT = "The spread is a distance: take the root of the mean squared distance."
DISTANCE = "Square the distances, then take the mean, then the root: the mean distance is a little less."
COUNT = "Divide by the number of rows: `var` and `std` divide by one less."
PLAIN = "The rank is the exponential of the entropy, so that it counts directions."
BITS = "Entropy and exponential need the same base: with log2, raise 2; with the natural logarithm, raise e."
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


def _even(directions: int) -> Tensor:
    """Rows that point both ways along every axis: spread 1, as many directions as axes, no singular value of 0."""
    axes = torch.eye(directions, dtype=EXACT)
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


def _exchanged(embedding: Tensor) -> tuple[float, float]:
    return effective_rank(embedding), spread(embedding)


def _squared_spread(embedding: Tensor) -> tuple[float, float]:
    return spread(embedding) ** 2, effective_rank(embedding)


def _mean_distance(embedding: Tensor) -> tuple[float, float]:
    return float((embedding - embedding.mean(dim=0)).norm(dim=1).mean()), effective_rank(embedding)


def _one_less(embedding: Tensor) -> tuple[float, float]:
    return float(embedding.var(dim=0).sum().sqrt()), effective_rank(embedding)


def _entropy_itself(embedding: Tensor) -> tuple[float, float]:
    return spread(embedding), math.log(effective_rank(embedding))


def _raw_weights(embedding: Tensor) -> tuple[float, float]:
    return spread(embedding), math.exp(float(torch.special.entr(_values(embedding)).sum()))


def _in_bits(embedding: Tensor) -> tuple[float, float]:
    return spread(embedding), _rank_of(_values(embedding), math.log(2))


def _by_p_log_p(embedding: Tensor) -> tuple[Tensor, Tensor]:
    centred = embedding - embedding.mean(0)
    p = torch.linalg.svdvals(centred)
    p = p / p.sum()
    return (centred**2).sum(1).mean().sqrt(), torch.exp(-(p * p.log()).sum())


def _by_eigenvalues(embedding: Tensor) -> tuple[float, float]:
    rows = embedding.numpy() - embedding.numpy().mean(axis=0)
    sizes = np.sqrt(np.linalg.eigvalsh(rows.T @ rows).clip(min=1e-30))
    shares = sizes / sizes.sum()
    return float(np.sqrt(rows.var(axis=0).sum())), float(2 ** -(shares * np.log2(shares)).sum())


def _unlike_3_4(mistake: Function, what: str) -> Callable[[Function], str | None]:
    return unlike(mistake, _crowded, what, 1e-5)


def _part_unlike(part: int, mistake: Function, what: str) -> Callable[[Function], str | None]:
    """Make a test of one of the two numbers, whatever the other is."""
    test = unlike(lambda rows: mistake(rows)[part], _crowded, what, 1e-5)
    return lambda attempt: test(lambda rows: attempt(rows)[part])


def _spread_unlike(mistake: Function, what: str) -> Callable[[Function], str | None]:
    return _part_unlike(0, mistake, what)


def _rank_unlike(mistake: Function, what: str) -> Callable[[Function], str | None]:
    return _part_unlike(1, mistake, what)


ALARMS = Exercise(
    id="3.4",
    title="Two alarms",
    reference=alarms,
    properties=(
        Property("spread first", _unlike_3_4(_exchanged, "rank first"), hint=FIRST),
        Property("the spread is a root", _spread_unlike(_squared_spread, "the mean squared distance"), hint=ROOT),
        Property("squares are averaged", _spread_unlike(_mean_distance, "the mean distance"), hint=DISTANCE),
        Property("all rows count", _spread_unlike(_one_less, "a division by one row less"), hint=COUNT),
        Property("the rank is an exponential", _rank_unlike(_entropy_itself, "the entropy itself"), hint=PLAIN),
        Property("one base", _rank_unlike(_in_bits, "an entropy in bits"), hint=BITS),
        Property("spread of rows near one point", _spread_near_a_point, hint=CENTRED),
        Property("k directions of the same length have rank k", _counts_directions, hint=ENTROPY),
        Property("agrees with the reference", agrees(alarms, lambda: _crowded(2), tolerance=1e-5), hint=SINGULAR),
    ),
    wrong_answers=(
        WrongAnswer("the mean is not taken away", _uncentred, hint=CENTRED),
        WrongAnswer("rank first", _exchanged, hint=FIRST),
        WrongAnswer("the spread without its root", _squared_spread, hint=ROOT),
        WrongAnswer("the mean distance", _mean_distance, hint=DISTANCE),
        WrongAnswer("divided by one row less", _one_less, hint=COUNT),
        WrongAnswer("the entropy without its exponential", _entropy_itself, hint=PLAIN),
        WrongAnswer("the entropy in bits", _in_bits, hint=BITS),
        WrongAnswer("weights that do not sum to 1", _raw_weights, hint=ENTROPY),
        WrongAnswer(
            "variances in place of singular values",
            lambda rows: (spread(rows), _rank_of(_values(rows).square())),
            hint=SINGULAR,
        ),
    ),
    right_answers=(
        RightAnswer("-(p * p.log()).sum(), tensors returned", _by_p_log_p),
        RightAnswer("NumPy, eigenvalues, and 2 to the entropy in bits", _by_eigenvalues),
    ),
)

EXERCISES = (HEADS, HOMOGENEOUS, DECORRELATION, ALARMS)

register(EXERCISES)
