"""The exercises of all lessons, for the rules that look at the whole course."""

from helpers.course.exercises import Exercise
from helpers.lessons.lesson00 import exercises as lesson00
from helpers.lessons.lesson01 import exercises as lesson01
from helpers.lessons.lesson02 import exercises as lesson02
from helpers.lessons.lesson03 import exercises as lesson03
from helpers.lessons.lesson04 import exercises as lesson04
from helpers.lessons.lesson05 import exercises as lesson05
from helpers.lessons.lesson06 import exercises as lesson06
from helpers.lessons.lesson07 import exercises as lesson07
from helpers.lessons.lesson08 import exercises as lesson08
from helpers.lessons.lesson09 import exercises as lesson09

__all__ = ["all_exercises"]

_LESSONS = (lesson00, lesson01, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07, lesson08, lesson09)


def all_exercises() -> list[Exercise]:
    """List the exercises of all lessons in order; importing this module registers them with the course."""
    return [exercise for lesson in _LESSONS for exercise in lesson.EXERCISES]
