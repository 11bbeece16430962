"""Rules for the quiz that closes a lesson: no right answer gives itself away by its letter or its length."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from helpers.course.rules.lesson import Lesson

Violations = Iterator[tuple[str, str]]

QUESTION = re.compile(r"^\*\*(\d+)\. (.+?)\*\*$(.*?)(?=^\*\*\d+\. |\Z)", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"<details><summary>([a-z])\. (.+?)</summary>\s+\*\*(Right|No)\.\*\* (.+?)\s+</details>", re.DOTALL)
SPACE = "<br>"
"""Stands between two questions, for a front end that gives folds no space of their own."""
LEAST_QUESTIONS, LEAST_OPTIONS, MOST_OPTIONS = 3, 3, 4
LEAST_REASON_WORDS = 4
LEAST_SHARE, MOST_SHARE = 0.2, 0.5
"""Bounds of the share of right answers that a, b and c each hold."""
MOST_LONGEST, MOST_SHORTEST, MOST_MUCH_LONGER = 1 / 3, 1 / 2, 1 / 10
"""Largest shares of right answers that are the longest option, the shortest, and the longest by a quarter or more."""


@dataclass(frozen=True)
class Question:
    """A question of a quiz.

    Attributes:
        number: its number as written.
        letters: of its options, in order.
        options: their texts.
        right: positions of the right ones.
        reasons: one text for each option.
        rest: what stands between the folds; it must be empty.
    """

    number: int
    letters: tuple[str, ...]
    options: tuple[str, ...]
    right: tuple[int, ...]
    reasons: tuple[str, ...]
    rest: str


def questions(lesson: Lesson) -> list[Question]:
    """Read the quiz of a lesson."""
    result = []
    for number, _, body in QUESTION.findall(lesson.section("Quiz")):
        options = OPTION.findall(body)
        letters, texts, verdicts, reasons = (tuple(option[place] for option in options) for place in range(4))
        right = tuple(place for place, verdict in enumerate(verdicts) if verdict == "Right")
        rest = OPTION.sub("", body).replace(SPACE, "").strip()
        result.append(Question(int(number), letters, texts, right, reasons, rest))
    return result


def quiz(lesson: Lesson) -> Violations:
    """Each question folds three or four options, each with its reason; one is right, not always the same letter."""
    asked = questions(lesson)
    if len(asked) < LEAST_QUESTIONS or [question.number for question in asked] != list(range(1, len(asked) + 1)):
        yield "", f"the quiz needs {LEAST_QUESTIONS} or more questions '**1. ...?**', numbered from 1"
    for question in asked:
        for problem in _problems(question):
            yield "", f"quiz, question {question.number}: {problem}"
    if len(asked) > 1 and len({question.right for question in asked}) == 1:
        yield "", "every right answer of the quiz has the same letter"


def _problems(question: Question) -> Iterator[str]:
    """Say what is wrong with one question."""
    if not LEAST_OPTIONS <= len(question.options) <= MOST_OPTIONS or question.rest:
        yield (
            f"{len(question.options)} options as '<details><summary>a. ...</summary>' with '**Right.**' or '**No.**' "
            f"before the reason; expected {LEAST_OPTIONS} or {MOST_OPTIONS} and nothing else"
        )
    if question.letters != tuple("abcd"[: len(question.letters)]):
        yield "its options are not lettered a, b, c"
    if len(question.right) != 1:
        yield f"{len(question.right)} right answers, expected one"
    if any(len(reason.split()) < LEAST_REASON_WORDS for reason in question.reasons):
        yield "a reason is too short to be one"


def balance(lessons: Iterable[Lesson]) -> Iterator[str]:
    """Over the course, neither its letter nor its length gives a right option away."""
    asked = [question for lesson in lessons for question in questions(lesson) if len(question.right) == 1]
    letters = Counter(question.letters[question.right[0]] for question in asked)
    for letter in "abc":
        share = letters[letter] / max(1, len(asked))
        if asked and not LEAST_SHARE <= share <= MOST_SHARE:
            yield f"{letters[letter]} of {len(asked)} right answers are ({letter}): between a fifth and a half may be"
    kinds: tuple[tuple[str, float, Callable[[int, list[int]], bool]], ...] = (
        ("the longest option", MOST_LONGEST, lambda right, others: right > max(others)),
        ("the shortest option", MOST_SHORTEST, lambda right, others: right < min(others)),
        ("longer by a quarter than any other", MOST_MUCH_LONGER, lambda right, others: right >= 1.25 * max(others)),
    )
    for name, most, holds in kinds:
        count = sum(holds(*_lengths(question)) for question in asked)
        if count > max(1, most * len(asked)):
            yield f"the right answer is {name} in {count} of {len(asked)} questions: at most {most:.0%} may be"


def _lengths(question: Question) -> tuple[int, list[int]]:
    """Return the length of the right option, and those of the others."""
    lengths = [len(option) for option in question.options]
    return lengths.pop(question.right[0]), lengths
