"""The answer key, made from what the checks themselves use: solution copies, registered exercises, quizzes."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nbformat import NotebookNode

from helpers.course import NOTEBOOKS, lesson_number, lessons, read_notebook
from helpers.course.build import BEGINS, ENDS
from helpers.course.exercises import Exercise
from helpers.course.rules.exercises import checked
from helpers.course.rules.lesson import Lesson
from helpers.course.rules.quiz import Question, questions

__all__ = ["answer_key"]

INTRODUCTION = """# Answer key

Made by `natural-traces course answers` from the solution copies, the registered exercises and the quizzes.
Each solution is one that `check` passes; the mistakes are those that `check` is tested to catch, with its hint.
An answer in another style is right where `check` says so."""
LEVEL = re.compile(r"^- \*\*(Level|Minutes):\*\* (.+)$", re.MULTILINE)


def answer_key(exercises: Sequence[Exercise], folder: Path = NOTEBOOKS, only: int | None = None) -> str:
    """Write the answers of all lessons, or of one, as Markdown.

    Args:
        exercises: The registered exercises.
        folder: `notebooks`, with `solutions` in it.
        only: A lesson's number, or None for all.

    Raises:
        CourseError: There is no such lesson, or it is no valid notebook.
    """
    parts = [INTRODUCTION]
    for path in lessons(folder / "solutions", only):
        number = lesson_number(path)
        lesson = Lesson(path, number, True, read_notebook(path))
        parts.append(f"## {lesson.notebook.cells[0].source.splitlines()[0].removeprefix('# ')}")
        own = [exercise for exercise in exercises if exercise.id.split(".")[0] == str(number)]
        parts += [_exercise(exercise, lesson) for exercise in own]
        parts.append(f"### Quiz of lesson {number:02d}\n\n" + "\n".join(map(_question, questions(lesson))))
    return "\n\n".join(parts) + "\n"


def _exercise(exercise: Exercise, lesson: Lesson) -> str:
    """Lay out one exercise: level, solution, what is required, which mistakes are caught."""
    code = next((cell for cell in lesson.code if exercise.id in checked(cell)), None)
    lines = [f"### Exercise {exercise.id} · {exercise.title}", ""]
    lines += [", ".join(f"{name.lower()} {value}" for name, value in _level(exercise, lesson)).capitalize()]
    lines += ["", "```python", *([] if code is None else _without_marks(code)), "```", "", "It must fulfil:", ""]
    lines += [f"- {requirement.name}" for requirement in exercise.properties]
    lines += ["", "Mistakes that are caught:", ""]
    lines += [f"- {wrong.name}: *{wrong.hint}*" for wrong in exercise.wrong_answers]
    return "\n".join(lines)


def _level(exercise: Exercise, lesson: Lesson) -> Iterator[tuple[str, str]]:
    """Read level and minutes from the text of the task."""
    text = lesson.prose().partition(f"### Exercise {exercise.id} ")[2].partition("\n### ")[0]
    seen = dict(reversed(LEVEL.findall(text)))
    yield from ((name, seen[name]) for name in ("Level", "Minutes") if name in seen)


def _without_marks(cell: NotebookNode) -> list[str]:
    """Return the code of an exercise cell without the marks that build looks for."""
    lines = [line for line in cell.source.splitlines() if line.strip() not in (BEGINS, ENDS)]
    return "\n".join(lines).strip().splitlines()


def _question(question: Question) -> str:
    right = question.right[0]
    return f"{question.number}. **{question.letters[right]}.** {question.options[right]} {question.reasons[right]}"
