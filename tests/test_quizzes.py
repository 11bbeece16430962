"""The rule for the quiz that closes a lesson, and the balance of right answers over the course."""

from pathlib import Path

import nbformat
import pytest
from tiny_course import CLOSING

from helpers.course.rules.lesson import Lesson
from helpers.course.rules.quiz import balance, questions, quiz


def lesson(closing: str) -> Lesson:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(closing)])
    return Lesson(Path("90_tiny.ipynb"), 90, True, notebook)


def test_a_quiz_is_read() -> None:
    first, second, third = questions(lesson(CLOSING))
    assert first.options == ("Two.", "Three.", "It cannot be known from two numbers.")
    assert [question.right for question in (first, second, third)] == [(1,), (0,), (2,)]
    assert third.reasons[2] == "Nothing can be divided by zero."


def test_a_quiz_in_order_breaks_no_rule() -> None:
    assert list(quiz(lesson(CLOSING))) == []
    assert list(balance([lesson(CLOSING)])) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("**3. Of", "Of", "needs 3 or more questions"),
        ("**3. Of", "**4. Of", "numbered from 1"),
        ("c. It cannot", "It cannot", "question 1: 2 options"),
        ("**No.** Two numbers", "Two numbers", "question 1: 2 options"),
        ("**2. What moves a mean far?**", "**2. What moves a mean far?**\n(a) one; (b) two", "question 2: 3 options"),
        ("b. Three.", "c. Three.", "question 1: its options are not lettered a, b, c"),
        ("**Right.** It lies", "**No.** It lies", "question 1: 0 right answers"),
        ("**No.** Zero", "**Right.** Zero", "question 3: 2 right answers"),
        ("It lies in the middle.", "Of course.", "question 1: a reason is too short"),
    ],
)
def test_each_fault_of_a_quiz_is_found(old: str, new: str, message: str) -> None:
    assert CLOSING.count(old) == 1
    assert any(message in text for _, text in quiz(lesson(CLOSING.replace(old, new))))


def test_the_same_letter_throughout_gives_itself_away() -> None:
    section = CLOSING.partition("## Quiz")[2].partition("**2.")[0]
    same = "## Quiz" + section + section.replace("**1.", "**2.") + section.replace("**1.", "**3.")
    assert ("", "every right answer of the quiz has the same letter") in list(quiz(lesson(same)))
    told = list(balance([lesson(same)]))
    assert told[0].startswith("0 of 3 right answers are (a)")
    assert told[1].startswith("3 of 3 right answers are (b)")


def test_a_right_answer_that_is_mostly_the_longest_gives_itself_away() -> None:
    longer = CLOSING.replace("b. Three.", "b. Three, for it lies in the middle of two and four.")
    longer = longer.replace("c. There is none.", "c. There is none, as nothing can be divided by it.")
    assert list(balance([lesson(longer)])) == [
        "the right answer is the longest option in 2 of 3 questions: at most 33% may be",
        "the right answer is longer by a quarter than any other in 2 of 3 questions: at most 10% may be",
    ]


def test_a_right_answer_that_is_mostly_the_shortest_gives_itself_away() -> None:
    shorter = CLOSING.replace("b. Three.", "b. 3.")
    for number, question in enumerate(questions(lesson(CLOSING))[1:]):
        shorter = shorter.replace(f"{question.options[question.right[0]]}</summary>", f"{number}</summary>")
    assert list(balance([lesson(shorter)])) == [
        "the right answer is the shortest option in 3 of 3 questions: at most 50% may be"
    ]
