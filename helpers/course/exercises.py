"""Exercises that never block a reader: `check` tells what happened and always hands back a function that works.

Each lesson registers its own (`helpers/lessons/lessonNN/exercises.py`); nothing here knows the lessons.
"""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from helpers.course.lesson import Todo
from helpers.errors import NaturalTracesError

Function = Callable[..., Any]
Outcome = Literal["not attempted", "wrong", "passed"]

NO_RETURN_HINT = "Does your function end in a `return` line?"
ERROR_HINT = "Call your function on a small input in a cell of its own: there you see the whole traceback."


@dataclass(frozen=True)
class Property:
    """One thing that a right answer must fulfil.

    Attributes:
        name: what is required, as a statement ("the spectrum of noise is flat").
        test: takes the function under test; returns None if the property holds, else how it fails.
        hint: what to look at when it fails; every property has its own.
    """

    name: str
    test: Callable[[Function], str | None]
    hint: str


@dataclass(frozen=True)
class WrongAnswer:
    """A plausible mistake, kept to prove that it is caught.

    Attributes:
        name: the mistake in words.
        function: the mistaken function.
        hint: the hint that a learner with this mistake must see.
    """

    name: str
    function: Function
    hint: str


@dataclass(frozen=True)
class RightAnswer:
    """A right answer in another style than the reference, kept to prove that it is accepted.

    Attributes:
        name: the style in words ("with loops").
        function: the function.
    """

    name: str
    function: Function


@dataclass(frozen=True)
class Exercise:
    """An exercise: its reference solution, what a right answer must fulfil, and mistakes that must be caught.

    Attributes:
        id: "lesson.number", for example "3.1".
        title: short title, as in the notebook's heading.
        reference: the solution that the rest of the notebook uses when the learner's is missing or wrong.
        properties: tested in this order; the first that fails is reported.
        wrong_answers: three or more plausible mistakes.
        right_answers: two or more answers in other styles than the reference.
    """

    id: str
    title: str
    reference: Function
    properties: tuple[Property, ...]
    wrong_answers: tuple[WrongAnswer, ...]
    right_answers: tuple[RightAnswer, ...] = ()


@dataclass(frozen=True)
class Result:
    """What `examine` found: outcome, the line that says why, and the hint (both empty unless the answer is wrong)."""

    outcome: Outcome
    failure: str = ""
    hint: str = ""


class _ReturnedNone(Exception):
    """The learner's function came to its end without a return value."""


@contextlib.contextmanager
def _preserved_randomness() -> Iterator[None]:
    """Run a block without a trace in the global random generators, so that an attempt changes no later cell."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def _must_return(attempt: Function) -> Function:
    """Wrap a function so that a forgotten `return` is reported as such."""

    def wrapped(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        result = attempt(*args, **options)
        if result is None:
            raise _ReturnedNone
        return result

    return wrapped


def examine(exercise: Exercise, attempt: object) -> Result:
    """Test an attempt against all properties of an exercise; whatever the attempt does, this does not raise.

    Args:
        exercise: the exercise.
        attempt: the learner's function.

    Returns:
        The outcome; for a wrong answer with the first property that failed and its hint.
    """
    if not callable(attempt):
        return Result("wrong", f"expected a function, got {type(attempt).__name__}", "Pass the name, without brackets.")
    with _preserved_randomness():
        for requirement in exercise.properties:
            try:
                failure = requirement.test(_must_return(attempt))
            except Todo:
                return Result("not attempted")
            except _ReturnedNone:
                return Result("wrong", f"{requirement.name}: the function returned nothing", NO_RETURN_HINT)
            except (Exception, SystemExit) as error:
                message = " ".join(f"{type(error).__name__}: {error}".split())
                return Result("wrong", f"{requirement.name}: {message}", ERROR_HINT)
            if failure is not None:
                return Result("wrong", f"{requirement.name}: {failure}", requirement.hint)
    return Result("passed")


def report(exercise_id: str, result: Result) -> str:
    """Return the text that `check` prints; the first words are fixed, so that tests and readers can rely on them."""
    if result.outcome == "passed":
        return f"Exercise {exercise_id}: passed. Your function is used from here on."
    if result.outcome == "not attempted":
        return f"Exercise {exercise_id}: not attempted. The reference is used from here on."
    return (
        f"Exercise {exercise_id}: not right yet. {result.failure}\n"
        f"Hint: {result.hint}\n"
        "The reference is used from here on."
    )


def check(exercise_id: str, attempt: Function) -> Function:
    """Check an attempt, print one of three outcomes, and return a function that works.

    Args:
        exercise_id: "lesson.number", for example "3.1".
        attempt: the learner's function; a stub raises `Todo`.

    Returns:
        The attempt if it passed, else the reference.

    Raises:
        NaturalTracesError: if no such exercise exists (a mistake of the lesson's author, not of the learner).
    """
    exercise = find(exercise_id)
    result = examine(exercise, attempt)
    print(report(exercise_id, result))
    return attempt if result.outcome == "passed" else exercise.reference


_REGISTERED: dict[str, Exercise] = {}


def register(exercises: Iterable[Exercise]) -> None:
    """Make the exercises of a lesson known to `check`; a lesson calls this once, when its module is imported."""
    _REGISTERED.update({exercise.id: exercise for exercise in exercises})


def find(exercise_id: str) -> Exercise:
    """Return a registered exercise.

    Raises:
        NaturalTracesError: if no such exercise exists, or its lesson's module has not been imported.
    """
    if exercise_id in _REGISTERED:
        return _REGISTERED[exercise_id]
    known = ", ".join(exercise.id for exercise in registered()) or "none"
    raise NaturalTracesError(f"exercise {exercise_id}: not registered (registered are {known})")


def registered() -> list[Exercise]:
    """Return the exercises of all lessons whose modules were imported, in order of their ids."""
    return sorted(_REGISTERED.values(), key=lambda exercise: [int(part) for part in exercise.id.split(".")])
