"""The exercise contract from both sides, for a tiny exercise and for every exercise of the course."""

# ruff: noqa: NPY002 - learners' code uses the global generators, so these tests do too

import ast
import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_course import REGISTRY

from helpers.course import NOTEBOOKS, PROJECT, lesson_number
from helpers.course.compare import agrees, completes, difference, has_shape, in_range, unchanged_by, unlike
from helpers.course.exercises import (
    ERROR_HINT,
    NO_RETURN_HINT,
    Exercise,
    Result,
    check,
    describe,
    examine,
    find,
    report,
)
from helpers.course.lesson import Todo
from helpers.errors import NaturalTracesError
from helpers.lessons.registry import all_exercises

COURSE = all_exercises()
RIGHT_ANSWERS = [(exercise, right) for exercise in COURSE for right in exercise.right_answers]
WRONG_ANSWERS = [(exercise, wrong) for exercise in COURSE for wrong in exercise.wrong_answers]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr("helpers.course.exercises._REGISTERED", {})
    exec(compile(REGISTRY, "lesson90", "exec"), {})
    return find("90.1")


# ---------------------------------------------------------------- what a learner meets


def test_a_stub_is_not_attempted_and_gives_the_reference(tiny: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    def stub(values: torch.Tensor) -> torch.Tensor:
        raise Todo("your turn")

    assert check("90.1", stub) is tiny.reference
    assert capsys.readouterr().out == "○ Exercise 90.1: not attempted.\n"


def test_a_right_answer_passes_and_is_used(tiny: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(values: torch.Tensor) -> torch.Tensor:
        return values.mean()

    assert check("90.1", answer) is answer
    assert capsys.readouterr().out == "✔ Exercise 90.1: passed.\n"


def test_a_wrong_answer_is_told_why_and_gives_the_reference(tiny: Exercise, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("90.1", lambda values: values.mean() + 0.25) is tiny.reference
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "✘ Exercise 90.1: not right yet. agrees with the reference: largest difference 0.25",
        "Hint: Divide by the number of values.",
    ]


@pytest.mark.parametrize(("outcome", "whose"), [("passed", "Your function"), ("not attempted", "The reference")])
def test_only_an_exercise_that_is_used_later_says_so(tiny: Exercise, outcome: str, whose: str) -> None:
    used = dataclasses.replace(tiny, is_used=True)
    sentence = f"{whose} is used from here on."
    assert report(used, Result(outcome)) == f"{report(tiny, Result(outcome))} {sentence}"
    assert report(used, Result("wrong", "x", "y")).splitlines()[-1] == "The reference is used from here on."


def test_an_exception_shows_what_the_function_was_called_with(tiny: Exercise) -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        values.zero_()
        raise ValueError("boom")

    result = examine(tiny, attempt)
    # The first property gives the values in reverse.
    drawn = torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).flip(0)[:3]
    numbers = ", ".join(f"{value:.3g}" for value in drawn.tolist())
    assert result.given == f"float64 tensor of shape (7,): {numbers}, ..."
    assert f"It was called with: {result.given}" in report(tiny, result).splitlines()
    assert examine(tiny, lambda values: values[0]).given == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.eye(2, dtype=np.float32), "float32 array of shape (2, 2): 1, 0, 0, ..."),
        (torch.tensor([True]), "bool tensor of shape (1,): True"),
        (np.array([]), "float64 array of shape (0,): "),
        (np.array("cat"), "<U3 array of shape (): cat"),
        (3, "3"),
        ("a\nb", r"'a\nb'"),
        (len, "the function len"),
        ({"key": "x" * 80}, "dict {'key': '" + "x" * 51 + "..."),
    ],
)
def test_arguments_are_described_in_one_short_line(value: object, text: str) -> None:
    assert describe(value) == text


def test_the_first_property_that_fails_is_reported(tiny: Exercise) -> None:
    result = examine(tiny, lambda values: values[0])
    assert result.failure.startswith("order does not matter: largest difference ")
    assert result.hint == "Use every value."


@pytest.mark.parametrize("error", [ValueError("bad\nvalue"), NotImplementedError("torch's own"), SystemExit(1)])
def test_an_exception_is_a_wrong_answer_in_one_line(tiny: Exercise, error: BaseException) -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        raise error

    result = examine(tiny, attempt)
    assert result.outcome == "wrong"
    assert "\n" not in result.failure
    assert f"{type(error).__name__}: {' '.join(str(error).split())}" in result.failure
    assert result.hint == ERROR_HINT


@pytest.mark.parametrize(
    ("attempt", "failure", "hint"),
    [
        (lambda values: None, "the function returned nothing", NO_RETURN_HINT),
        (lambda: 1.0, "TypeError", ERROR_HINT),
        (lambda values: "text", "expected numbers, got str", None),
        (lambda values: {"mean": 1}, "expected numbers, got dict", None),
        (lambda values: values, "expected shape (), got (7,)", None),
        (lambda values: values.mean() * float("nan"), "the result holds NaN or infinity", None),
        (3.0, "expected a function, got float", "Pass the name, without brackets."),
        (None, "expected a function, got NoneType", "Pass the name, without brackets."),
    ],
)
def test_no_attempt_whatsoever_raises(tiny: Exercise, attempt: object, failure: str, hint: str | None) -> None:
    tests = Exercise("90.1", "The mean", tiny.reference, tiny.properties[1:], ())
    result = examine(tests, attempt)
    assert result.outcome == "wrong"
    assert failure in result.failure
    assert result.hint == (hint or tiny.properties[1].hint)


def test_a_learner_can_interrupt_an_endless_attempt(tiny: Exercise) -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(tiny, attempt)


def test_an_attempt_leaves_no_trace_in_the_random_generators(tiny: Exercise) -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        return values.mean() + torch.rand(1).item() + np.random.rand() + random.random()

    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    assert examine(tiny, attempt).outcome == "wrong"
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


@pytest.mark.parametrize("name", ["90.2", "91.1", "x", "", "90"])
def test_an_unknown_exercise_is_the_authors_mistake(tiny: Exercise, name: str) -> None:
    with pytest.raises(NaturalTracesError, match="not registered"):
        check(name, lambda: None)


# ---------------------------------------------------------------- every exercise of the course


def test_every_lesson_with_a_notebook_has_exercises() -> None:
    taught = {lesson_number(path) for path in (NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb")}
    with_exercises = {int(exercise.id.split(".")[0]) for exercise in COURSE}
    assert {0, 1} <= taught
    assert taught <= with_exercises


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.id)
def test_the_reference_passes(exercise: Exercise) -> None:
    assert examine(exercise, exercise.reference) == Result("passed")


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.id)
def test_a_stub_is_not_attempted(exercise: Exercise) -> None:
    def stub(*args: object, **options: object) -> None:
        raise Todo("your turn")

    assert examine(exercise, stub) == Result("not attempted")


@pytest.mark.parametrize(
    ("exercise", "right"), RIGHT_ANSWERS, ids=[f"{exercise.id}-{right.name}" for exercise, right in RIGHT_ANSWERS]
)
def test_every_right_answer_in_another_style_passes(exercise: Exercise, right: object) -> None:
    assert examine(exercise, right.function) == Result("passed")


@pytest.mark.parametrize(
    ("exercise", "wrong"), WRONG_ANSWERS, ids=[f"{exercise.id}-{wrong.name}" for exercise, wrong in WRONG_ANSWERS]
)
def test_every_wrong_answer_is_rejected_with_its_own_hint(exercise: Exercise, wrong: object) -> None:
    result = examine(exercise, wrong.function)
    assert result.outcome == "wrong", f"{wrong.name!r} passes"
    assert result.hint == wrong.hint, result.failure


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.id)
def test_hints_belong_to_properties_and_answers_are_many_enough(exercise: Exercise) -> None:
    hints = [requirement.hint for requirement in exercise.properties]
    assert len(set(hints)) == len(hints), "every property needs a hint of its own"
    assert 2 <= len(exercise.wrong_answers) <= 12
    assert {wrong.hint for wrong in exercise.wrong_answers} <= {*hints, ERROR_HINT, NO_RETURN_HINT}
    assert len({wrong.hint for wrong in exercise.wrong_answers}) >= 2, "all wrong answers meet the same hint"


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.id)
def test_no_answer_at_all_raises(exercise: Exercise) -> None:
    for attempt in (lambda *args, **options: None, lambda *args, **options: "text", lambda: 0, object()):
        result = examine(exercise, attempt)
        assert result.outcome == "wrong"
        assert len(report(exercise, result).splitlines()) in (2, 3, 4)


@pytest.mark.parametrize("exercise", COURSE, ids=lambda exercise: exercise.id)
def test_other_styles_and_natural_mistakes_are_many_enough(exercise: Exercise) -> None:
    assert len(exercise.right_answers) >= 2
    assert len({wrong.hint for wrong in exercise.wrong_answers}) >= 3


def test_ids_are_unique_and_in_order() -> None:
    numbers = [tuple(int(part) for part in exercise.id.split(".")) for exercise in COURSE]
    assert numbers == sorted(set(numbers))


def test_nothing_in_the_package_raises_the_stubs_exception() -> None:
    """`Todo` is the sign of a stub, so no reference may raise it by accident."""
    for path in (PROJECT / "helpers" / "lessons").glob("lesson*/exercises.py"):
        raised = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Raise)]
        assert not any("Todo" in ast.unparse(node) for node in raised), path.name


# ---------------------------------------------------------------- building blocks


@dataclasses.dataclass
class Fit:
    slope: float
    error: float


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (1, 1.0, None),
        (1 + 5e-7, 1.0, None),
        (1000.0005, 1000.0, None),
        (1.5, 1.0, "largest difference 0.5"),
        (torch.ones(2), np.ones(2), None),
        (torch.ones(2, requires_grad=True), torch.ones(2), None),
        (pd.Series([1.0, 2.0]), [1.0, 2.0], "expected 2 values, got Series"),
        (pd.Series([1.0, 2.0]), pd.Series([1.0, 2.5]), "largest difference 0.5"),
        ([1.0, 2.0], np.array([1.0, 2.0]), None),
        (np.ones(3), np.ones(2), "expected shape (2,), got (3,)"),
        (np.array([1.0, np.nan]), np.ones(2), "the result holds NaN or infinity"),
        (np.array([1.0, np.inf]), np.array([1.0, np.inf]), None),
        (np.array([1.0, -np.inf]), np.array([1.0, np.inf]), "the result holds NaN or infinity"),
        (np.array([1 + 1j]), np.array([1 + 0j]), "largest difference 1"),
        (np.array([1 + 1j]), np.array([1.0]), "largest difference 1"),
        (np.array([]), np.array([]), None),
        (np.array([np.nan]), np.array([np.nan]), None),
        (np.array([0.0]), np.array([np.nan]), "the result holds NaN or infinity"),
        (None, "real", "expected 'real', got None"),
        (None, None, None),
        (torch.ones(2), None, "expected None, got tensor([1., 1.])"),
        ("fake", "real", "expected 'real', got 'fake'"),
        (True, True, None),
        (torch.tensor([True, False]), torch.tensor([True, True]), "1 values differ"),
        ((1.0, 2.5), (1.0, 2.0), "item 1: largest difference 0.5"),
        ((1.0,), (1.0, 2.0), "expected 2 values, got 1 values"),
        (1.0, (1.0, 2.0), "expected 2 values, got float"),
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}, "item b is missing"),
        (3, {"a": 1.0}, "item a is missing"),
        ({"a": {"b": 3.0}}, {"a": {"b": 1.0}}, "item a: item b: largest difference 2"),
        (Fit(2.0, 0.1), Fit(2.0, 0.1), None),
        (Fit(3.0, 0.1), Fit(2.0, 0.1), "item slope: largest difference 1"),
        (2.0, Fit(2.0, 0.1), "item slope is missing"),
        (None, 1.0, "expected numbers, got NoneType"),
    ],
)
def test_difference(actual: object, expected: object, message: str | None) -> None:
    assert difference(actual, expected) == message


def ramp() -> tuple[torch.Tensor]:
    return (torch.linspace(0, 1, 5, dtype=torch.float64),)


@pytest.mark.parametrize(
    ("test", "right", "wrong"),
    [
        (agrees(torch.sum, ramp), lambda x: x.sum(), lambda x: x.sum() + 1),
        (has_shape(ramp, (5,)), lambda x: x * 2, lambda x: x[:2]),
        (in_range(ramp, 0, 1), lambda x: x, lambda x: x - 0.5),
        (in_range(ramp, 0, 1), lambda x: x, lambda x: x * float("nan")),
        (unchanged_by(ramp, lambda x: (x.flip(0),)), lambda x: x.sum(), lambda x: x[0]),
        (completes(ramp, RuntimeError, says="shape"), lambda x: x, lambda x: x.view(2, 3)),
        (unlike(torch.mean, ramp, "the mean"), lambda x: x.sum(), lambda x: x.sum() / len(x)),
    ],
)
def test_building_blocks_accept_and_reject(test: object, right: object, wrong: object) -> None:
    assert test(right) is None
    assert isinstance(test(wrong), str)


def test_completes_lets_other_errors_pass() -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        completes(ramp, RuntimeError, says="shape")(attempt)


def test_an_attempt_that_changes_its_input_cannot_disturb_the_reference() -> None:
    def attempt(values: torch.Tensor) -> torch.Tensor:
        return values.zero_().sum()

    assert agrees(torch.sum, ramp)(attempt) == "largest difference 2.5"
