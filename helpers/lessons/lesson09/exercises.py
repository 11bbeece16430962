"""Exercises of lesson 09: the likelihood ratio, the posterior, the p-value, and the gaps of a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helpers.course.compare import agrees, completes, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.evaluation.metrics import Conformal
from helpers.evaluation.metrics import posterior as package_posterior
from helpers.lessons.lesson09.study import QUESTIONS, window_ratio
from helpers.lessons.lesson09.study import card_gaps as package_gaps

__all__ = ["EXERCISES", "QUESTIONS", "check"]

Scores = Sequence[float]

# 9.1 · The likelihood ratio

SHARES = "The classes may have different sizes: compare shares of each class, not counts."
UPRIGHT = "Above 1 must mean that generated pictures get such a score more often: what stands on top?"
EACH_COUNT = "Also in a full window each count is one more, and each size two more."
ONE_MORE = "A window without a photograph must not divide by zero: add 1 to each count, and 2 to each size."
NEAR = "Only scores near the new one count, on both sides: all that are higher are another question, that of a p-value."


def likelihood_ratio(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    """Reference: share of generated pictures near a score, divided by the share of photographs there.

    Args:
        score: The new score.
        photographs: Known scores of photographs.
        generated: Known scores of generated pictures.
        width: Scores at most this far away count.

    Returns:
        (1 + generated in the window) / (2 + generated), divided by the same for photographs.
    """
    return window_ratio(score, photographs, generated, width)


def _known() -> tuple[float, list[float], list[float], float]:
    rng = np.random.default_rng(9)
    return 1.0, rng.normal(0, 1, 60).tolist(), rng.normal(2, 1, 25).tolist(), 0.4


def _empty_window() -> tuple[float, list[float], list[float], float]:
    return 5.0, [0.0, 0.5, 1.0], [4.9, 2.0], 0.2


def _inside(known: Scores, score: float, width: float) -> int:
    return sum(abs(value - score) <= width for value in known)


def _counts(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    return (1 + _inside(generated, score, width)) / (1 + _inside(photographs, score, width))


def _upside_down(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    return 1 / window_ratio(score, photographs, generated, width)


def _plain(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    shares = [_inside(known, score, width) / len(known) for known in (generated, photographs)]
    return shares[0] / shares[1]


def _tails(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    del width
    tops = [(1 + sum(value >= score for value in known)) / (2 + len(known)) for known in (generated, photographs)]
    return tops[0] / tops[1]


def _with_numpy(score: float, photographs: Scores, generated: Scores, width: float) -> np.float64:
    inside = [np.abs(np.array(known) - score) <= width for known in (generated, photographs)]
    top, bottom = ((flags.sum() + 1) / (flags.size + 2) for flags in inside)
    return np.float64(top / bottom)


def _with_loops(score: float, photographs: Scores, generated: Scores, width: float) -> float:
    result = 1.0
    for known, power in ((generated, 1), (photographs, -1)):
        count = 1
        for value in known:
            if score - width <= value <= score + width:
                count += 1
        result *= (count / (len(known) + 2)) ** power
    return result


def _with_torch(score: float, photographs: Scores, generated: Scores, width: float) -> torch.Tensor:
    def share(known: Scores) -> torch.Tensor:
        values = torch.tensor(known, dtype=torch.float64)
        return (((values - score).abs() <= width).sum() + 1) / (len(known) + 2)

    return share(generated).double() / share(photographs).double()


RATIO = Exercise(
    id="9.1",
    is_used=True,
    title="The likelihood ratio",
    reference=likelihood_ratio,
    properties=(
        Property("an empty window is no error", completes(_empty_window, ZeroDivisionError), hint=ONE_MORE),
        Property("shares are compared", unlike(_counts, _known, "counts"), hint=SHARES),
        Property("above 1 speaks for generated", unlike(_upside_down, _known, "the ratio upside down"), hint=UPRIGHT),
        Property("a window counts", unlike(_tails, _known, "all scores at or above the new one"), hint=NEAR),
        Property("one more in each count", unlike(_plain, _known, "shares without the 1 and the 2"), hint=EACH_COUNT),
        Property(
            "agrees with the reference",
            agrees(likelihood_ratio, _known, 1e-5),
            hint="For each class (1 + known scores in the window) / (2 + known scores); generated over photographs.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("counts", _counts, hint=SHARES),
        WrongAnswer("upside down", _upside_down, hint=UPRIGHT),
        WrongAnswer("a division by zero", _plain, hint=ONE_MORE),
        WrongAnswer("tails", _tails, hint=NEAR),
    ),
    right_answers=(
        RightAnswer("with NumPy", _with_numpy),
        RightAnswer("in loops", _with_loops),
        RightAnswer("with torch", _with_torch),
    ),
)

# 9.2 · The posterior

PRIOR = "The same ratio must mean less where few pictures are generated: where does the base rate enter?"
ODDS = "Bayes multiplies odds, not probabilities: turn the base rate into odds first."
BACK = "Odds may exceed 1, a probability may not: turn the odds back."


def posterior(base_rate: float, ratio: float) -> float:
    """Reference: the probability of being generated.

    Args:
        base_rate: Share of generated pictures, above 0 and below 1.
        ratio: Likelihood ratio.

    Returns:
        Probability, 0..1.
    """
    return float(package_posterior(base_rate, ratio))


def _rare() -> tuple[float, float]:
    return 0.02, 30.0


def _one_formula(base_rate: float, ratio: float) -> float:
    return base_rate * ratio / (base_rate * ratio + 1 - base_rate)


def _by_logarithms(base_rate: float, ratio: float) -> np.float64:
    logit = np.log(base_rate) - np.log1p(-base_rate) + np.log(ratio)
    return np.float64(1 / (1 + np.exp(-logit)))


def _by_counting(base_rate: float, ratio: float) -> float:
    photographs, generated = 1 - base_rate, base_rate
    return 1 / (1 + photographs / (generated * ratio))


POSTERIOR = Exercise(
    id="9.2",
    is_used=True,
    title="The posterior",
    reference=posterior,
    properties=(
        Property(
            "the base rate counts", unlike(lambda b, r: r / (1 + r), _rare, "a base rate of one half"), hint=PRIOR
        ),
        Property("odds are multiplied", unlike(lambda b, r: b * r, _rare, "a product of probabilities"), hint=ODDS),
        Property("a probability", unlike(lambda b, r: b / (1 - b) * r, _rare, "the odds themselves"), hint=BACK),
        Property(
            "agrees with the reference",
            agrees(posterior, _rare),
            hint="odds = base_rate / (1 - base_rate) * ratio; the probability is odds / (1 + odds).",
        ),
    ),
    wrong_answers=(
        WrongAnswer("no base rate", lambda base_rate, ratio: ratio / (1 + ratio), hint=PRIOR),
        WrongAnswer("probability times ratio", lambda base_rate, ratio: base_rate * ratio, hint=ODDS),
        WrongAnswer("odds", lambda base_rate, ratio: base_rate / (1 - base_rate) * ratio, hint=BACK),
    ),
    right_answers=(
        RightAnswer("in one formula", _one_formula),
        RightAnswer("with logarithms", _by_logarithms),
        RightAnswer("as one over one plus", _by_counting),
    ),
)

# 9.3 · The p-value

TIES = "A known score that equals the new one looks at least as generated: it counts."
ITSELF = "The new picture may be a photograph itself: count it too, above and below the line, so that p is never 0."
OTHER_END = "Which known photographs look at least as generated as the new picture: those with higher or lower scores?"


def p_value(score: float, photographs: Scores) -> float:
    """Reference: the p-value of "photograph".

    Args:
        score: The new score.
        photographs: Known scores of photographs.

    Returns:
        (1 + known photographs with at least this score) / (1 + known photographs).
    """
    known = Conformal(real=tuple(sorted(photographs)), fake=(0.0,))
    return float(known.p_values([score])[0][0])


def _with_ties() -> tuple[float, list[float]]:
    return 2.0, [0.5, 2.0, 3.5, -1.0, 2.0, 1.0, 0.0, 4.0, -2.0]


def _above(score: float, photographs: Scores) -> int:
    return sum(value >= score for value in photographs)


def _p_numpy(score: float, photographs: Scores) -> np.float64:
    values = np.append(photographs, score)
    return np.float64((values >= score).mean())


def _p_sorted(score: float, photographs: Scores) -> float:
    ordered = sorted([*photographs, score], reverse=True)
    rank = max(place for place, value in enumerate(ordered, 1) if value == score)
    return rank / len(ordered)


PVALUE = Exercise(
    id="9.3",
    is_used=True,
    title="The p-value",
    reference=p_value,
    properties=(
        Property(
            "the right end counts",
            unlike(lambda s, k: (1 + sum(v <= s for v in k)) / (1 + len(k)), _with_ties, "the share below"),
            hint=OTHER_END,
        ),
        Property(
            "ties count",
            unlike(lambda s, k: (1 + sum(v > s for v in k)) / (1 + len(k)), _with_ties, "only the higher scores"),
            hint=TIES,
        ),
        Property(
            "the new picture counts",
            unlike(lambda s, k: _above(s, k) / len(k), _with_ties, "the known photographs alone"),
            hint=ITSELF,
        ),
        Property(
            "agrees with the reference",
            agrees(p_value, _with_ties),
            hint="(1 + number of known scores >= score) / (1 + number of known scores).",
        ),
    ),
    wrong_answers=(
        WrongAnswer("the other end", lambda s, k: (1 + sum(v <= s for v in k)) / (1 + len(k)), hint=OTHER_END),
        WrongAnswer("ties forgotten", lambda s, k: (1 + sum(v > s for v in k)) / (1 + len(k)), hint=TIES),
        WrongAnswer("may be 0", lambda s, k: _above(s, k) / len(k), hint=ITSELF),
    ),
    right_answers=(RightAnswer("with NumPy", _p_numpy), RightAnswer("by rank", _p_sorted)),
)

# 9.4 · The gaps of a model card

MISSING = "A question that the card does not name at all is open too."
BLANK = "An answer of blanks answers nothing."
WITHOUT_INTERVAL = "A rate needs its interval: value, low and high."
ALL_OF_THEM = "Return every open question, not the first alone, in the order of QUESTIONS."


def card_gaps(card: Mapping[str, Any]) -> list[str]:
    """Reference: the questions that a model card leaves open.

    Args:
        card: Question -> text; for a rate a dictionary with value, low and high.

    Returns:
        Open questions in the order of `QUESTIONS`.
    """
    return package_gaps(card)


def _card(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    rate = {"value": 0.05, "low": 0.03, "high": 0.08}
    whole: dict[str, Any] = dict.fromkeys(QUESTIONS, "said in words") | {QUESTIONS[4]: rate, QUESTIONS[5]: rate}
    return whole | {name.replace("_", " "): value for name, value in changes.items()}


def _without(name: str) -> dict[str, Any]:
    return {question: answer for question, answer in _card().items() if question != name}


def _gaps(card: Mapping[str, Any], expected: list[str]) -> Any:  # noqa: ANN401
    def test(attempt: Function) -> str | None:
        got = [str(name) for name in attempt(dict(card))]
        return None if got == expected else f"expected {expected}, got {got}"

    return test


def _gaps_of_keys(card: Mapping[str, Any]) -> list[str]:
    return [question for question in QUESTIONS if question not in card]


def _gaps_of_blanks(card: Mapping[str, Any]) -> list[str]:
    return [question for question in QUESTIONS if not str(card.get(question, "")).strip()]


def _gaps_of_answers(card: Mapping[str, Any]) -> list[str]:
    """Forgets what the card does not name."""
    return [question for question in QUESTIONS if question in card and question in package_gaps(card)]


def _first_gap(card: Mapping[str, Any]) -> list[str]:
    return package_gaps(card)[:1]


def _gaps_in_loops(card: Mapping[str, Any]) -> list[str]:
    gaps = []
    for question in QUESTIONS:
        answer = card.get(question)
        if isinstance(answer, dict):
            complete = all(name in answer for name in ("value", "low", "high"))
        elif question in ("photographs called generated", "found"):
            complete = False
        else:
            complete = answer is not None and answer.strip() != ""
        if not complete:
            gaps.append(question)
    return gaps


def _gaps_by_filter(card: Mapping[str, Any]) -> tuple[str, ...]:
    def is_open(question: str) -> bool:
        answer = card.get(question) or ""
        if question in QUESTIONS[4:6]:
            return not (hasattr(answer, "keys") and not {"value", "low", "high"} - answer.keys())
        return not answer.strip()

    return tuple(filter(is_open, QUESTIONS))


CARD = Exercise(
    id="9.4",
    is_used=True,
    title="The gaps of a model card",
    reference=card_gaps,
    properties=(
        Property("a missing question is open", _gaps(_without("limits"), ["limits"]), hint=MISSING),
        Property("blanks answer nothing", _gaps(_card(not_for="  "), ["not for"]), hint=BLANK),
        Property("a rate has an interval", _gaps(_card(found=0.9), ["found"]), hint=WITHOUT_INTERVAL),
        Property("all gaps are told", _gaps({}, list(QUESTIONS)), hint=ALL_OF_THEM),
        Property(
            "a whole card has no gap",
            lambda attempt: difference(len(attempt(_card())), 0),
            hint="A text that is not blank answers its question, and a rate with value, low and high does.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("only missing questions", _gaps_of_keys, hint=BLANK),
        WrongAnswer("intervals forgotten", _gaps_of_blanks, hint=WITHOUT_INTERVAL),
        WrongAnswer("missing questions forgotten", _gaps_of_answers, hint=MISSING),
        WrongAnswer("the first gap alone", _first_gap, hint=ALL_OF_THEM),
    ),
    right_answers=(RightAnswer("in loops", _gaps_in_loops), RightAnswer("with filter", _gaps_by_filter)),
)

EXERCISES = (RATIO, POSTERIOR, PVALUE, CARD)

register(EXERCISES)
