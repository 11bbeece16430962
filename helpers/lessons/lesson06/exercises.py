"""Exercises of lesson 06: average precision, a temperature, a bootstrap that draws photographs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from helpers.course.compare import agrees, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.evaluation.metrics import auc, average_precision, balanced_weights, cluster_weights

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
AREA = "You have the area under the ROC curve: AP sums precision over recall, not recall over false alarms."
AT_BAR = "An image *at* the bar lies above it: compare with >=, not with >."
FIRST_RISE = "The first rise starts from a recall of 0: `numpy.diff` needs `prepend=0`."
TRAPEZOID = (
    "Between two levels nothing is measured: take the precision at each level as it is, not the mean of neighbours."
)
STEPS = "Multiply each rise of the recall by the precision at that threshold, as it is: neither averaged nor smoothed."


def _perfect(attempt: Function) -> str | None:
    return difference(attempt(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.3, 0.2, 0.8, 0.9])), 1.0)


def _real_copies(attempt: Function) -> str | None:
    return difference(attempt(*_copied(*_scored())), attempt(*_scored()))


def _tied() -> tuple[Labels, Numbers]:
    """Few different scores, and a fake among the lowest."""
    labels, scores = _scored()
    labels[scores.argmin()] = 1
    return labels, scores.round()


def _constant(attempt: Function) -> str | None:
    return difference(attempt(np.repeat([1, 0], [30, 50]), np.zeros(80)), 0.5)


def _image_by_image(labels: Labels, scores: Numbers) -> float:
    """Ignores ties: each image is a threshold of its own."""
    ranked = labels[np.argsort(-scores, kind="stable")]
    recall, alarms = np.cumsum(ranked == 1) / (labels == 1).sum(), np.cumsum(ranked == 0) / (labels == 0).sum()
    return float((np.diff(recall, prepend=0) * recall / (recall + alarms)).sum())


def _trapezoid(labels: Labels, scores: Numbers) -> float:
    from sklearn import metrics

    precision, recall, _ = metrics.precision_recall_curve(labels, scores, sample_weight=balanced_weights(labels))
    return float(metrics.auc(recall, precision)) if len(np.unique(scores)) > 1 else 0.5


def _curve(labels: Labels, scores: Numbers, strict: bool = False) -> tuple[Numbers, Numbers]:
    """Recall and precision at each level, from the top."""
    above = np.greater if strict else np.greater_equal
    levels = np.unique(scores)[::-1]
    recall = np.array([above(scores[labels == 1], level).mean() for level in levels])
    alarms = np.array([above(scores[labels == 0], level).mean() for level in levels])
    return recall, recall / np.maximum(recall + alarms, 1e-12)


def _above_the_bar(labels: Labels, scores: Numbers) -> float:
    recall, precision = _curve(labels, scores, strict=True)
    return float((np.diff(recall, prepend=0) * precision).sum())


def _without_first_rise(labels: Labels, scores: Numbers) -> float:
    recall, precision = _curve(labels, scores)
    return float((np.diff(recall) * precision[1:]).sum())


def _envelope(labels: Labels, scores: Numbers) -> float:
    recall, precision = _curve(labels, scores)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * best).sum())


def _level_by_level(labels: Labels, scores: Numbers) -> float:
    """A right answer in loops."""
    fakes, reals, total, before = sum(labels == 1), sum(labels == 0), 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        recall = sum(1 for label, score in zip(labels, scores, strict=True) if label and score >= level) / fakes
        alarms = sum(1 for label, score in zip(labels, scores, strict=True) if not label and score >= level) / reals
        total, before = total + (recall - before) * recall / (recall + alarms), recall
    return total


def _library_with_weights(labels: Labels, scores: Numbers) -> float:
    return _library(labels, scores, sample_weight=balanced_weights(labels))


def _library(labels: Labels, scores: Numbers, **options: Any) -> float:  # noqa: ANN401
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores, **options))


def _mean_over_fakes(labels: Labels, scores: Numbers) -> float:
    """A right answer: the mean, over fakes, of the precision at each fake's own score."""
    fakes, reals = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    recall = 1 - np.searchsorted(fakes, fakes) / len(fakes)
    alarms = 1 - np.searchsorted(reals, fakes) / len(reals)
    return float(np.mean(recall / (recall + alarms)))


PRECISION = Exercise(
    id="6.1",
    is_used=True,
    title="Average precision that does not count heads",
    reference=average_precision,
    properties=(
        Property("AP is no AUC", unlike(auc, _scored, "the AUC"), hint=AREA),
        Property("the bar itself counts", unlike(_above_the_bar, _tied, "a bar that excludes"), hint=AT_BAR),
        Property("the first rise counts", unlike(_without_first_rise, _scored, "a sum from level 2"), hint=FIRST_RISE),
        Property("no trapezoids", unlike(_trapezoid, _scored, "the trapezoid rule"), hint=TRAPEZOID),
        Property("a perfect ranking has AP 1", _perfect, hint=ORDER),
        Property("five copies of every real image change nothing", _real_copies, hint=BALANCE),
        Property("a constant score has AP 0.5", _constant, hint=TIES),
        Property("agrees with the reference", agrees(average_precision, _scored), hint=STEPS),
    ),
    wrong_answers=(
        WrongAnswer("low scores first", lambda y, s: average_precision(y, -s), hint=ORDER),
        WrongAnswer("counts images", _library, hint=BALANCE),
        WrongAnswer("image by image", _image_by_image, hint=TIES),
        WrongAnswer("trapezoids", _trapezoid, hint=TRAPEZOID),
        WrongAnswer("the best precision to the right", _envelope, hint=STEPS),
        WrongAnswer("the area under the ROC curve", auc, hint=AREA),
        WrongAnswer("above, not at", _above_the_bar, hint=AT_BAR),
        WrongAnswer("no first rise", _without_first_rise, hint=FIRST_RISE),
    ),
    right_answers=(
        RightAnswer("in loops", _level_by_level),
        RightAnswer("scikit-learn with balanced weights", _library_with_weights),
        RightAnswer("mean precision over fakes", _mean_over_fakes),
    ),
)

# ---------------------------------------------------------------- 6.2

DIVIDE = "The probability is sigmoid(logit / T): logits that are three times too large need a T three times as large."
WEIGH = "Weigh with `balanced_weights(labels)`, so that real and fake count equally."
LOGARITHM = "You searched over log T: return its exponential."
SIGNS = "Labels are 0 and 1, signs are -1 and 1: with the labels as signs, photographs have no say."
SQUARES = "That minimises the squared error of the probabilities: the log-loss is asked for."
VALUE = "You return the loss at its minimum: return the place of the minimum, `.x`."
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


def _minimum(loss: Callable[[float], float]) -> float:
    optimum = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(optimum.x))


def _labels_as_signs(labels: Labels, logits: Numbers) -> float:
    weights = balanced_weights(labels)
    return _minimum(lambda log_t: float(weights @ np.logaddexp(0, -labels * logits / np.exp(log_t))))


def _least_squares(labels: Labels, logits: Numbers) -> float:
    weights = balanced_weights(labels)
    return _minimum(lambda log_t: float(weights @ np.square(expit(logits / np.exp(log_t)) - labels)))


def _least_loss(labels: Labels, logits: Numbers) -> float:
    weights, signs = balanced_weights(labels), 2 * np.asarray(labels) - 1
    return float(weights @ np.logaddexp(0, -signs * logits / temperature(labels, logits)))


def _no_weights_needed(labels: Labels, logits: Numbers) -> float:
    """A right answer: mean of the two classes' mean losses, searched over T itself."""

    def loss(t: float) -> float:
        fake, real = logits[labels == 1] / t, logits[labels == 0] / t
        return float(np.logaddexp(0, -fake).mean() + np.logaddexp(0, real).mean())

    return float(minimize_scalar(loss, bounds=(0.02, 60), method="bounded", options={"xatol": 1e-7}).x)


def _one_coefficient(labels: Labels, logits: Numbers) -> float:
    """A right answer: logistic regression on the logit alone, without a shift and without a penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e9, fit_intercept=False, class_weight="balanced", tol=1e-9, max_iter=1000)
    return float(1 / model.fit(logits[:, None], labels).coef_[0, 0])


TEMPERATURE = Exercise(
    id="6.2",
    is_used=True,
    title="A temperature from validation images",
    reference=temperature,
    properties=(
        Property(
            "T, not its logarithm",
            unlike(lambda *a: np.log(temperature(*a)), _bold, "log T", tolerance=1e-3),
            hint=LOGARITHM,
        ),
        Property("T, not the loss", unlike(_least_loss, _bold, "the least loss", tolerance=1e-3), hint=VALUE),
        Property(
            "both classes count",
            unlike(_labels_as_signs, _bold, "labels 0 and 1 as signs", tolerance=1e-3),
            hint=SIGNS,
        ),
        Property("the log-loss decides", unlike(_least_squares, _bold, "least squares", tolerance=1e-3), hint=SQUARES),
        Property("logits three times as large have three times the temperature", _grows, hint=DIVIDE),
        Property("five copies of every real image change nothing", _copies, hint=WEIGH),
        Property("a timid detector gets a temperature below 1", agrees(temperature, _timid, 1e-3), hint=BOTH_WAYS),
        Property("agrees with the reference", agrees(temperature, _bold, 1e-3), hint=LOSS),
    ),
    wrong_answers=(
        WrongAnswer("the inverse", lambda labels, logits: 1 / temperature(labels, logits), hint=DIVIDE),
        WrongAnswer("counts images", _by_counts, hint=WEIGH),
        WrongAnswer("only cools", lambda labels, logits: max(1.0, temperature(labels, logits)), hint=BOTH_WAYS),
        WrongAnswer("the logarithm", lambda labels, logits: float(np.log(temperature(labels, logits))), hint=LOGARITHM),
        WrongAnswer("labels as signs", _labels_as_signs, hint=SIGNS),
        WrongAnswer("least squares", _least_squares, hint=SQUARES),
        WrongAnswer("the loss instead of its place", _least_loss, hint=VALUE),
    ),
    right_answers=(
        RightAnswer("two means, searched over T", _no_weights_needed),
        RightAnswer("a logistic regression without shift", _one_coefficient),
    ),
)

# ---------------------------------------------------------------- 6.3

WHOLE = "Draw names of photographs, then take all rows that carry a drawn name."
AS_MANY = "Draw as many photographs as there are; one that is drawn twice brings its rows twice."
AGAIN = "Draw with replacement: without it, every draw holds each photograph once, and nothing varies."
EQUAL = "Every photograph has the same chance, however many crops it has: draw from the different names."
GENERATOR = "Use `rng`, and nothing else, for chance."
ROWS = "Return row numbers, integers that index the data: neither names nor a mask of True and False."
FRESH = "A generator made inside gives the same draw every time: `rng` goes on from draw to draw."


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
    drawn = [np.asarray(attempt(groups.copy(), rng)) for _ in range(draws)]
    return np.stack([np.bincount(rows, minlength=len(groups)) for rows in drawn]).astype(np.float64)


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


def _row_numbers(attempt: Function) -> str | None:
    rows = np.asarray(attempt(_groups(), np.random.default_rng(1)))
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        return f"expected a list of integers, got {rows.ndim} dimension(s) of {rows.dtype}"
    inside = (rows >= 0) & (rows < len(_groups()))
    return None if inside.all() else f"row {rows[~inside][0]} of {len(_groups())} rows"


def _goes_on(attempt: Function) -> str | None:
    rng = np.random.default_rng(4)
    draws = {tuple(np.asarray(attempt(_groups(), rng)).tolist()) for _ in range(5)}
    return None if len(draws) > 1 else "five draws in a row are the same"


def _own_generator(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    return cluster_draw(groups, np.random.default_rng(0))


def _unseeded(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    return cluster_draw(groups, np.random.default_rng())


def _photograph_by_photograph(groups: NDArray[np.str_], rng: np.random.Generator) -> list[int]:
    """A right answer in loops."""
    names = sorted(set(groups))
    rows: list[int] = []
    for _ in names:
        name = names[rng.integers(len(names))]
        rows.extend(row for row, group in enumerate(groups) if group == name)
    return rows


def _by_groupby(groups: NDArray[np.str_], rng: np.random.Generator) -> NDArray[Any]:
    """A right answer with pandas."""
    members = list(pd.Series(groups).groupby(groups).indices.values())
    return np.concatenate([members[place] for place in rng.integers(0, len(members), len(members))])


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
    is_used=True,
    title="Draw photographs, not crops",
    reference=cluster_draw,
    properties=(
        Property("the draw consists of row numbers", _row_numbers, hint=ROWS),
        Property("every draw is new", _goes_on, hint=FRESH),
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
        WrongAnswer("returns names", lambda groups, rng: rng.choice(np.unique(groups), 8), hint=ROWS),
        WrongAnswer("returns a mask", lambda groups, rng: np.isin(groups, rng.choice(np.unique(groups), 8)), hint=ROWS),
        WrongAnswer("a generator made inside", _own_generator, hint=FRESH),
        WrongAnswer("another source of chance", _unseeded, hint=GENERATOR),
    ),
    right_answers=(
        RightAnswer("in loops", _photograph_by_photograph),
        RightAnswer("with pandas", _by_groupby),
    ),
)

EXERCISES = (PRECISION, TEMPERATURE, DRAW)

register(EXERCISES)
