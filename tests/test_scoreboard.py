"""The course's scoreboard: every row stands on a record, and lessons show it as far as they have come."""

from pathlib import Path

import pytest

import helpers.course.scoreboard as module
from helpers.course import NOTEBOOKS, lesson_number, read_notebook
from helpers.course.scoreboard import MARKS, ScoreboardError, markdown, plain, read_scoreboard, scoreboard
from helpers.data.places import data_dir

ROWS = read_scoreboard()
LESSONS = {lesson_number(path): path for path in (NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.lesson:02d}")
def test_every_row_stands_on_a_record_or_a_cell(row: module.Row) -> None:
    lesson, _, cell = row.record.partition("#")
    if cell:
        assert int(lesson) == row.lesson
        assert cell in [one.id for one in read_notebook(LESSONS[row.lesson]).cells]
    else:
        assert (data_dir() / "results" / row.record).is_file()


def test_every_lesson_has_a_row_and_no_other_has() -> None:
    assert {row.lesson for row in ROWS} == set(LESSONS)


def test_the_claim_has_failed_somewhere_and_the_table_says_so() -> None:
    assert {row.verdict for row in ROWS} >= {"partly", "failed"}


def write(path: Path, text: str) -> Path:
    file = path / "board.toml"
    file.write_text(text, encoding="utf-8")
    return file


GOOD = """
[[row]]
lesson = 3
claim = "Photographs | share it."
verdict = "partly"
where = "Not on paper."
record = "03#cell"
"""


def test_a_row_is_shown_by_a_mark_and_a_word(tmp_path: Path) -> None:
    rows = read_scoreboard(write(tmp_path, GOOD))
    table = markdown(rows).splitlines()
    assert table[2] == "| 03 | Photographs / share it. | ◐\u00a0partly | Not on paper. | cell cell of lesson 03 |"
    assert len({line.count("|") for line in table}) == 1
    assert "◐\u00a0partly: Photographs | share it." in plain(rows)
    assert all(word in mark and mark[0] not in word for word, mark in MARKS.items())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('claim = "Photographs | share it."', "", "row 1: needs lesson, claim"),
        ("lesson = 3", "lesson = 3\nextra = 1", "row 1: needs lesson, claim"),
        ("lesson = 3", 'lesson = "3"', "row 1: lesson must be a number"),
        ('"Not on paper."', '""', "row 1: where must be a text"),
        ('"partly"', '"proved"', "row 1: the verdict is one of held, partly, failed"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ScoreboardError, match=message):
        read_scoreboard(write(tmp_path, GOOD.replace(old, new)))


def test_a_lesson_shows_the_score_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(module, "display_bundle", shown.append)
    scoreboard(upto=2)
    assert shown[0]["text/markdown"].count("\n") == 1 + sum(row.lesson <= 2 for row in ROWS)
    assert "<" not in shown[0]["text/markdown"]
    with pytest.raises(ScoreboardError, match="no row"):
        scoreboard(upto=-1)
