"""Exercises of lesson 06: average precision, a temperature, a bootstrap that draws photographs."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from helpers.course.compare import agrees, difference
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.evaluation.metrics import average_precision, balanced_weights, cluster_weights

__all__ = ["EXERCISES", "check"]

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]


def _scored(reals: int = 60, fakes: int = 25, seed: int = 0, scale: float = 1.0) -> tuple[Labels, Numbers]:
    """Labels and scores of a fair detector, in an order that tells nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [reals, fakes]))
    return labels, scale * (rng.normal(size=reals + fakes) + 1.2 * labels - 0.6)


def _copied(labels: Labels, scores: Numbers) -> tuple[Labels, Numbers]:
    """The same set with every real image five times."""
    times = np.where(labels == 0, 5, 1)
    return np.repeat(labels, times), np.repeat(scores, times)


# ---------------------------------------------------------------- 6.1

ORDER = "A fake should have a high score: which images does the strictest threshold accept first?"
BALANCE = "Count shares of a class, not images: the share of fakes, and of reals, at or above a threshold."
TIES = "Images of equal score pass the threshold together: walk over the different scores, not over images."
STEPS = "Multiply each rise of the recall by the precision at that threshold, as it is: neither averaged nor smoothed."


def _perfect(attempt: Function) -> str | None:
    return difference(attempt(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.3, 0.2, 0.8, 0.9])), 1.0)


def _real_copies(attempt: Function) -> str | None:
    return difference(attempt(*_copied(*_scored())), attempt(*_scored()))


def _constant(attempt: Function) -> str | None:
    return difference(attempt(np.repeat([1, 0], [30, 50]), np.zeros(80)), 0.5)


def _image_by_image(labels: Labels, scores: Numbers) -> float:
    """Ignores ties: each image is a threshold of its own."""
    ranked = labels[np.argsort(-scores, kind="stable")]
    recall, alarms = np.cumsum(ranked == 1) / (labels == 1).sum(), np.cumsum(ranked == 0) / (labels == 0).sum()
    return float((np.diff(recall, prepend=0) * recall / (recall + alarms)).sum())


def _trapezoid(labels: Labels, scores: Numbers) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=balanced_weights(labels))
    return float(auc(recall, precision)) if len(np.unique(scores)) > 1 else 0.5


PRECISION = Exercise(
    id="6.1",
    title="Average precision that does not count heads",
    reference=average_precision,
    properties=(
        Property("a perfect ranking has AP 1", _perfect, hint=ORDER),
        Property("five copies of every real image change nothing", _real_copies, hint=BALANCE),
        Property("a constant score has AP 0.5", _constant, hint=TIES),
        Property("agrees with the reference", agrees(average_precision, _scored), hint=STEPS),
    ),
    wrong_answers=(
        WrongAnswer("low scores first", lambda y, s: average_precision(y, -s), hint=ORDER),
        WrongAnswer("counts images", lambda y, s: float(average_precision_score(y, s)), hint=BALANCE),
        WrongAnswer("image by image", _image_by_image, hint=TIES),
        WrongAnswer("trapezoids", _trapezoid, hint=STEPS),
    ),
)

# ---------------------------------------------------------------- 6.2

DIVIDE = "The probability is sigmoid(logit / T): logits that are three times too large need a T three times as large."
WEIGH = "Weigh with `balanced_weights(labels)`, so that real and fake count equally."
BOTH_WAYS = "T below 1 must be possible too: a detector may be too timid."
LOSS = "Minimise the weighted sum of log(1 + exp(-logit / T)) over fakes, and of log(1 + exp(logit / T)) over reals."


def temperature(labels: Labels, logits: Numbers) -> float:
    """Find the T for which sigmoid(logits / T) has the least balanced log-loss: the reference of exercise 6.2."""
    weights, signs = balanced_weights(labels), 2 * np.asarray(labels) - 1

    def loss(log_t: float) -> float:
        return float(weights @ np.logaddexp(0, -signs * logits / np.exp(log_t)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x))


def _bold() -> tuple[Labels, Numbers]:
    return _scored(200, 120, seed=7, scale=6.0)


def _timid() -> tuple[Labels, Numbers]:
    return _scored(200, 120, seed=8, scale=0.5)


def _grows(attempt: Function) -> str | None:
    labels, logits = _bold()
    return difference(attempt(labels, 3 * logits) / attempt(labels, logits), 3.0, 1e-3)


def _copies(attempt: Function) -> str | None:
    return difference(attempt(*_copied(*_bold())), attempt(*_bold()), 1e-3)


def _by_counts(labels: Labels, logits: Numbers) -> float:
    signs = 2 * labels - 1

    def loss(log_t: float) -> float:
        return float(np.logaddexp(0, -signs * logits / np.exp(log_t)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x))


TEMPERATURE = Exercise(
    id="6.2",
    title="A temperature from validation images",
    reference=temperature,
    properties=(
        Property("logits three times as large have three times the temperature", _grows, hint=DIVIDE),
        Property("five copies of every real image change nothing", _copies, hint=WEIGH),
        Property("a timid detector gets a temperature below 1", agrees(temperature, _timid, 1e-3), hint=BOTH_WAYS),
        Property("agrees with the reference", agrees(temperature, _bold, 1e-3), hint=LOSS),
    ),
    wrong_answers=(
        WrongAnswer("the inverse", lambda labels, logits: 1 / temperature(labels, logits), hint=DIVIDE),
        WrongAnswer("counts images", _by_counts, hint=WEIGH),
        WrongAnswer("only cools", lambda labels, logits: max(1.0, temperature(labels, logits)), hint=BOTH_WAYS),
    ),
)

# ---------------------------------------------------------------- 6.3

WHOLE = "Draw names of photographs, then take all rows that carry a drawn name."
AS_MANY = "Draw as many photographs as there are; one that is drawn twice brings its rows twice."
AGAIN = "Draw with replacement: without it, every draw holds each photograph once, and nothing varies."
EQUAL = "Every photograph has the same chance, however many crops it has: draw from the different names."
GENERATOR = "Use `rng`, and nothing else, for chance."


def cluster_draw(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows for one round of the cluster bootstrap: the reference of exercise 6.3."""
    weights, _ = cluster_weights(groups, n_draws=1, seed=int(rng.integers(2**32)))
    return np.repeat(np.arange(len(groups)), next(weights).astype(np.int64))


def _groups() -> NDArray[np.str_]:
    """Eight photographs with 1 to 8 crops, mixed."""
    names = np.repeat([f"photograph {index}" for index in range(8)], np.arange(1, 9))
    return np.random.default_rng(2).permutation(names)


def _times(attempt: Function, draws: int) -> Numbers:
    """How often each row comes in each draw: (draws, rows)."""
    groups, rng = _groups(), np.random.default_rng(3)
    found = [np.asarray(attempt(groups.copy(), rng)) for _ in range(draws)]
    return np.stack([np.bincount(rows, minlength=len(groups)) for rows in found]).astype(np.float64)


def _come_whole(attempt: Function) -> str | None:
    times, groups = _times(attempt, 20), _groups()
    split = sum(len(np.unique(row[groups == name])) > 1 for row in times for name in np.unique(groups))
    return f"{split} times, some crops of a photograph came more often than others" if split else None


def _number_drawn(attempt: Function) -> str | None:
    groups = _groups()
    _, first = np.unique(groups, return_index=True)
    drawn = _times(attempt, 20)[:, first].sum(axis=1)
    return None if (drawn == 8).all() else f"of 8 photographs, a draw took {drawn.min():g} to {drawn.max():g}"


def _varies(attempt: Function) -> str | None:
    return None if _times(attempt, 20).max() > 1 else "in 20 draws, no photograph came twice"


def _equal_chance(attempt: Function) -> str | None:
    mean = _times(attempt, 600).mean(axis=0)
    return None if np.abs(mean - 1).max() < 0.25 else f"rows come {mean.min():.2f} to {mean.max():.2f} times on average"


def _repeats(attempt: Function) -> str | None:
    first, second = (np.sort(np.asarray(attempt(_groups(), np.random.default_rng(5)))) for _ in range(2))
    return None if np.array_equal(first, second) else "two generators with one seed gave different draws"


def _named_by_row(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    drawn = rng.choice(groups, len(np.unique(groups)))
    return np.concatenate([np.flatnonzero(groups == name) for name in drawn])


def _once_each(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    names = np.unique(groups)
    return np.flatnonzero(np.isin(groups, rng.choice(names, len(names))))


def _shuffled(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    return np.concatenate([np.flatnonzero(groups == name) for name in rng.permutation(np.unique(groups))])


DRAW = Exercise(
    id="6.3",
    title="Draw photographs, not crops",
    reference=cluster_draw,
    properties=(
        Property("a photograph comes with all its crops", _come_whole, hint=WHOLE),
        Property("a draw has as many photographs as the data", _number_drawn, hint=AS_MANY),
        Property("a photograph can come twice", _varies, hint=AGAIN),
        Property("photographs are equally likely", _equal_chance, hint=EQUAL),
        Property("the generator decides", _repeats, hint=GENERATOR),
    ),
    wrong_answers=(
        WrongAnswer("draws crops", lambda groups, rng: rng.integers(0, len(groups), len(groups)), hint=WHOLE),
        WrongAnswer("drops what comes twice", _once_each, hint=AS_MANY),
        WrongAnswer("only shuffles", _shuffled, hint=AGAIN),
        WrongAnswer("draws names of rows", _named_by_row, hint=EQUAL),
    ),
)

EXERCISES = (PRECISION, TEMPERATURE, DRAW)

register(EXERCISES)
