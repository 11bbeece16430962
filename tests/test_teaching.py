"""What teachers use: the page with its plans, the answer key, and grading."""

import ast
import json
from pathlib import Path

import nbformat
import pytest
from command import run as command

from helpers.course import NOTEBOOKS, CourseError, lesson_number, lessons, read_notebook, write_notebook
from helpers.course.answers import answer_key
from helpers.course.exercises import Result, examine, find, report
from helpers.course.grade import ABSENT, grade, outcomes
from helpers.course.rules.lesson import Lesson
from helpers.course.rules.quiz import questions
from helpers.course.teaching import PLANS, misconceptions, plan_table, read_timing, teaching_page
from helpers.lessons.registry import all_exercises

SOLUTIONS = lessons(NOTEBOOKS / "solutions")
HEADER = """# 90 · Tiny

- **Question:** What?
- **Reading time:** 10 min
- **Exercise time:** 5 min
- **Run time:** 15 s on 2 CPU cores
- **You need:** nothing.
"""
NOTES = """## Notes for teachers

**Timing** (20 minutes): prediction 5, exercise 9.1 10, quiz 5.

**Misconceptions**

- "All is easy." No.

**Discussion**

- Why?
"""


def tiny(folder: Path, notes: str = NOTES, number: int = 90) -> Path:
    """Write a notebook that has nothing but a header and notes for teachers."""
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell(HEADER), v4.new_markdown_cell(notes, metadata={"tags": ["instructor"]})]
    path = folder / f"{number:02d}_tiny.ipynb"
    write_notebook(v4.new_notebook(cells=cells), path)
    return path


# ---------------------------------------------------------------- times and plans


def test_the_page_is_up_to_date(project: Path) -> None:
    text = (project / "docs" / "teaching.md").read_text(encoding="utf-8")
    assert text == teaching_page(text), "run `natural-traces course build`"


def test_times_are_read_from_header_and_notes(tmp_path: Path) -> None:
    timing = read_timing(tiny(tmp_path))
    assert (timing.title, timing.reading, timing.exercises, timing.run, timing.in_class) == ("Tiny", 10, 5, 15, 20)
    assert misconceptions(timing.path) == ['"All is easy." No.']


@pytest.mark.parametrize(
    ("notes", "message"),
    [(NOTES.replace("quiz 5", "quiz 6"), "21 minutes together, not 20"), ("Nothing.", r"no title, times .* or line")],
)
def test_times_that_do_not_add_up_are_refused(tmp_path: Path, notes: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        read_timing(tiny(tmp_path, notes))


def test_a_plan_sums_its_lessons_and_leaves_out_what_does_not_exist(tmp_path: Path) -> None:
    timings = [read_timing(tiny(tmp_path, number=number)) for number in (0, 1)]
    table = plan_table([("week 1", (0, 1)), ("week 2", (2,)), ("later, alone", (1, 2))], timings)
    links = [f"[{number:02d}](../notebooks/{number:02d}_tiny.ipynb)" for number in (0, 1)]
    assert table.splitlines()[2:] == [
        f"| week 1 | {', '.join(links)} | 40 min | 10 min | 20 min |",
        f"| later, alone | {links[1]} | - | 5 min | 10 min |",
    ]


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_holds_every_lesson_once(name: str) -> None:
    planned = [number for _, numbers in PLANS[name] for number in numbers]
    assert len(planned) == len(set(planned))
    assert {lesson_number(path) for path in SOLUTIONS} <= set(planned)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_every_lesson_tells_teachers_what_goes_wrong(path: Path) -> None:
    assert len(misconceptions(path)) >= 2


# ---------------------------------------------------------------- answers


def test_the_answer_key_has_every_solution_and_every_right_option() -> None:
    key = answer_key(all_exercises())
    for exercise in all_exercises():
        part = key.partition(f"### Exercise {exercise.id} · {exercise.title}\n")[2].partition("\n### ")[0]
        code = part.partition("```python\n")[2].partition("\n```")[0]
        assert f'check("{exercise.id}"' in code
        assert "Todo" not in code
        ast.parse(code)
        assert all(f"- {requirement.name}" in part for requirement in exercise.properties)
        assert all(f"- {wrong.name}: *{wrong.hint}*" in part for wrong in exercise.wrong_answers)
    for path in SOLUTIONS:
        for question in questions(Lesson(path, lesson_number(path), True, read_notebook(path))):
            assert f"{question.number}. **{question.letters[question.right[0]]}.**" in key
            assert question.reasons[question.right[0]] in key


def test_the_answer_key_as_a_command(tmp_path: Path) -> None:
    out = tmp_path / "answers.md"
    done = command("course", "answers", "--lesson", 1, "--out", out)
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    text = out.read_text(encoding="utf-8")
    assert text == answer_key(all_exercises(), only=1)
    assert text.count("### Exercise 1.") == 3
    assert "Exercise 2." not in text
    assert command("course", "answers", "--lesson", 77).exit_code == 2


# ---------------------------------------------------------------- grading


def handed_in(folder: Path, cells: list[tuple[str, str]]) -> Path:
    """Write a notebook of lesson 01 with (source, what it printed) cells."""
    v4 = nbformat.v4
    path = folder / "ada_01_real_image_statistics.ipynb"
    notebook = v4.new_notebook(
        cells=[
            v4.new_code_cell(source, outputs=[v4.new_output("stream", name="stdout", text=text)])
            for source, text in cells
        ]
    )
    write_notebook(notebook, path)
    return path


def test_the_stored_copies_are_graded_as_they_must_be() -> None:
    for path in SOLUTIONS:
        own = [one for one in all_exercises() if one.id.split(".")[0] == str(lesson_number(path))]
        assert set(outcomes(read_notebook(path), own).values()) <= {"passed"}
        assert set(outcomes(read_notebook(NOTEBOOKS / path.name), own).values()) <= {"not attempted"}


def test_a_mixed_notebook_is_graded(tmp_path: Path) -> None:
    wrong = examine(find("1.1"), find("1.1").wrong_answers[0].function)
    cells = [
        ('f = check("1.1", f)', report(find("1.1"), wrong)),
        ("print(cheat)", report(find("1.2"), Result("passed"))),
        ('g = check("1.3", g)', "hello\n" + report(find("1.3"), Result("passed"))),
    ]
    graded = grade(handed_in(tmp_path, cells), all_exercises(), NOTEBOOKS)
    assert graded.outcomes == {"1.1": "not right yet", "1.2": ABSENT, "1.3": "passed"}
    assert (graded.lesson, graded.passed, graded.error) == (1, 1, "")


def test_a_notebook_is_executed_anew_only_when_asked_for(tmp_path: Path) -> None:
    source = (
        "from helpers.course.exercises import check, find\nimport helpers.lessons.lesson01.exercises\n"
        'f = check("1.3", find("1.3").reference)'
    )
    path = handed_in(tmp_path, [(source, report(find("1.3"), Result("not attempted"))), ("1 / 0", "")])
    before = path.read_bytes()
    assert grade(path, all_exercises(), NOTEBOOKS).outcomes["1.3"] == "not attempted"
    anew = grade(path, all_exercises(), NOTEBOOKS, run=True)
    assert anew.outcomes["1.3"] == "passed"
    assert "ZeroDivisionError" in anew.error
    assert path.read_bytes() == before


def test_grading_as_a_command(tmp_path: Path) -> None:
    path = handed_in(tmp_path, [('f = check("1.1", f)', report(find("1.1"), Result("passed")))])
    done = command("course", "grade", path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{path}: 1 of 3 passed: 1.1 passed, 1.2 absent, 1.3 absent\n"
    assert json.loads(command("course", "grade", path, "--json").stdout)[0]["outcomes"]["1.1"] == "passed"
    broken = tmp_path / "bob_01_real_image_statistics.ipynb"
    broken.write_text("{}", encoding="utf-8")
    assert command("course", "grade", broken).exit_code == 2
    assert "holds no lesson's name" in command("course", "grade", tmp_path / "essay.ipynb").stderr
