"""The course's notebooks keep all rules of CONTRIBUTING.md, as they lie in the repository and without running them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.course import NOTEBOOKS, lesson_number, read_notebook
from helpers.course.check import RULES, check_course
from helpers.course.rules.lesson import Lesson
from helpers.course.rules.quiz import balance
from helpers.lessons import registry  # noqa: F401  (the exercises register with the course)

COPIES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")) + sorted((NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb"))


def is_solution(path: Path) -> bool:
    return path.parent.name == "solutions"


def test_the_first_lessons_are_there_in_both_copies() -> None:
    for folder in (NOTEBOOKS, NOTEBOOKS / "solutions"):
        names = [path.name for path in COPIES if path.parent == folder]
        assert names[:2] == ["00_start_here.ipynb", "01_real_image_statistics.ipynb"]
        assert [lesson_number(Path(name)) for name in names] == list(range(len(names)))


def test_no_other_notebook_lies_beside_them() -> None:
    assert set(NOTEBOOKS.rglob("*.ipynb")) == set(COPIES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", COPIES, ids=lambda path: ("solution-" if is_solution(path) else "") + path.stem)
def test_rule(path: Path, rule: Callable) -> None:
    lesson = Lesson(path, lesson_number(path), is_solution(path), read_notebook(path))
    assert [f"{cell}: {message}" for cell, message in rule(lesson)] == []


def test_the_whole_course_has_no_problems() -> None:
    """Besides the rules above: each learner's copy is exactly what `build` makes of its solution copy."""
    assert [str(problem) for problem in check_course(NOTEBOOKS)] == []


def test_the_right_answers_of_the_quizzes_are_spread_over_the_letters() -> None:
    lessons = [Lesson(path, lesson_number(path), True, read_notebook(path)) for path in COPIES if is_solution(path)]
    letters = [message for message in balance(lessons) if "the longest option" not in message]
    assert letters == []
