"""Exercises that never block a reader: `check` tells what happened and always hands back a function that works.

Each lesson registers its own (`helpers/lessons/lessonNN/exercises.py`); nothing here knows the lessons.
"""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.course.lesson import Todo
from helpers.errors import NaturalTracesError

Function = Callable[..., Any]
Outcome = Literal["not attempted", "wrong", "passed"]

SHORT = 60
"""Longest text of an argument that is shown whole."""
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
        is_used: whether later cells use the function that `check` returns.
    """

    id: str
    title: str
    reference: Function
    properties: tuple[Property, ...]
    wrong_answers: tuple[WrongAnswer, ...]
    right_answers: tuple[RightAnswer, ...] = ()
    is_used: bool = False


@dataclass(frozen=True)
class Result:
    """What `examine` found.

    Attributes:
        outcome: one of three.
        failure: for a wrong answer the line that says why, else empty.
        hint: for a wrong answer what to look at, else empty.
        given: the arguments of the call that raised, if one did; else empty.
    """

    outcome: Outcome
    failure: str = ""
    hint: str = ""
    given: str = ""


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


class _Watched:
    """A function under test: reports a forgotten `return`, and remembers the arguments of a call that raised."""

    def __init__(self, attempt: Function) -> None:
        self.attempt = attempt
        self.given = ""

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        given = describe_call(args, options)  # before the call, which may change its arguments
        try:
            result = self.attempt(*args, **options)
        except (Exception, SystemExit):
            self.given = given
            raise
        if result is None:
            raise _ReturnedNone
        return result


def describe_call(args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    """Say with what a function was called, in one line.

    >>> describe_call((np.zeros((2, 3)), 4), {"name": "cat"})
    "float64 array of shape (2, 3): 0, 0, 0, ...; 4; name = 'cat'"
    """
    parts = [describe(value) for value in args] + [f"{name} = {describe(value)}" for name, value in options.items()]
    return "; ".join(parts)


def describe(value: object) -> str:
    """Say what a value is: type, shape and first values of an array, the value itself where it is short."""
    if isinstance(value, torch.Tensor):
        return _described(str(value.dtype).removeprefix("torch."), "tensor", value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return _described(str(value.dtype), "array", value)
    if callable(value):
        return f"the function {getattr(value, '__name__', type(value).__name__)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= SHORT else f"{type(value).__name__} {text[:SHORT]}..."


def _described(dtype: str, kind: str, array: NDArray[Any]) -> str:
    """Say dtype, shape and first values of an array."""
    first = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in array.ravel()[:3].tolist()]
    more = ["..."] if array.size > len(first) else []
    return f"{dtype} {kind} of shape {array.shape}: {', '.join(first + more)}"


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
            watched = _Watched(attempt)
            try:
                failure = requirement.test(watched)
            except Todo:
                return Result("not attempted")
            except _ReturnedNone:
                return Result("wrong", f"{requirement.name}: the function returned nothing", NO_RETURN_HINT)
            except (Exception, SystemExit) as error:
                message = " ".join(f"{type(error).__name__}: {error}".split())
                return Result("wrong", f"{requirement.name}: {message}", ERROR_HINT, watched.given)
            if failure is not None:
                return Result("wrong", f"{requirement.name}: {failure}", requirement.hint)
    return Result("passed")


MARKS: dict[Outcome, str] = {"passed": "✔", "not attempted": "○", "wrong": "✘"}


def report(exercise: Exercise, result: Result) -> str:
    """Return the text that `check` prints: a mark, and words that say the same.

    Args:
        exercise: the exercise.
        result: what `examine` found.

    Returns:
        One line, or for a wrong answer up to four: what failed, the arguments of a call that raised, the hint, and
        which function later cells use.
    """
    used = f"{'Your function' if result.outcome == 'passed' else 'The reference'} is used from here on."
    start = f"{MARKS[result.outcome]} Exercise {exercise.id}: "
    if result.outcome != "wrong":
        return f"{start}{result.outcome}." + (f" {used}" if exercise.is_used else "")
    lines = [f"{start}not right yet. {result.failure}"]
    lines += [f"It was called with: {result.given}"] if result.given else []
    lines += [f"Hint: {result.hint}"]
    return "\n".join([*lines, used] if exercise.is_used else lines)


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
    print(report(exercise, result))
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
