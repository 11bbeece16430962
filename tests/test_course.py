"""Build, refresh, run and check, on a tiny course; and nbval, which must catch what they are there to prevent."""

import base64
import copy
import doctest
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from command import run as command
from nbformat import NotebookNode
from tiny_course import NAME, REGISTRY, SOLUTION, solution_notebook, write_tiny_course

from helpers.course import NOTEBOOKS, CourseError, lessons, read_notebook, write_notebook
from helpers.course.build import STUB, build, learner_copy, move_links, same_source, strip_solution
from helpers.course.check import check_course, problems
from helpers.course.environment import CHECKED, SETTINGS, kernel_environment
from helpers.course.execute import execute, headlines
from helpers.course.exercises import MARKS
from helpers.course.figures import exact_png
from helpers.course.refresh import NOTEBOOK_METADATA, refresh, with_run_time
from helpers.course.rules.code import lines_of_code
from helpers.course.rules.lesson import Lesson
from helpers.course.rules.text import words
from helpers.course.widgets import WIDGET_VIEW

# ---------------------------------------------------------------- build


def test_the_solution_is_replaced_by_a_stub_at_its_indentation() -> None:
    solution = "        # solution begins\n        y = 1\n        return y\n        # solution ends\n"
    source = f"def f(x):\n    if x:\n{solution}    return 2"
    assert strip_solution(source) == f"def f(x):\n    if x:\n        {STUB}\n    return 2"


def test_several_solutions_in_one_cell_are_all_replaced() -> None:
    one = "def f():\n    # solution begins\n    return 'secret'\n    # solution ends\n"
    stripped = strip_solution(one + "\n\n" + one.replace("f()", "g()"))
    assert stripped.count(STUB) == 2
    assert "secret" not in stripped


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return 1",
        "def f():\n    # solution begins\n    return 1",
        "def f():\n    return 1\n    # solution ends",
        "def f():\n    # solution begins\n    # solution begins\n    return 1\n    # solution ends",
        "# solution begins\nx = 1\n# solution ends",
    ],
)
def test_missing_unpaired_or_top_level_markers_are_refused(source: str) -> None:
    with pytest.raises(CourseError):
        strip_solution(source)


@pytest.mark.parametrize(
    ("link", "moved"),
    [
        ("[a](01_topic.ipynb)", "[a](01_topic.ipynb)"),
        ("[a](../../README.md)", "[a](../README.md)"),
        ("[a](../../README.md#start)", "[a](../README.md#start)"),
        ("![a](../figures/a.png)", "![a](figures/a.png)"),
        ("[a](https://example.org/../x)", "[a](https://example.org/../x)"),
        ("[a](#recap)", "[a](#recap)"),
        (
            "see `f(a)` and [a](../../data/b.csv), [c](../../d/e.md)",
            "see `f(a)` and [a](../data/b.csv), [c](../d/e.md)",
        ),
    ],
)
def test_links_lead_to_the_same_file_from_the_learners_copy(link: str, moved: str) -> None:
    assert move_links(link) == moved


def test_the_learners_copy_keeps_ids_and_drops_solutions_notes_and_outputs(tmp_path: Path) -> None:
    solution = solution_notebook(tmp_path)
    before = copy.deepcopy(solution)
    learner = learner_copy(solution)
    assert solution == before
    assert [cell.id for cell in learner.cells] == [cell.id for cell in solution.cells if cell.id != "teacher"]
    text = nbformat.writes(learner)
    assert "values.sum() / len(values)" not in text
    assert "Teachers:" not in text
    assert text.count("raise Todo") == 1
    assert all(not cell.outputs and cell.execution_count is None for cell in learner.cells if cell.cell_type == "code")


def test_a_broken_exercise_cell_is_named(tmp_path: Path) -> None:
    solution = solution_notebook(tmp_path)
    solution.cells[6].source = "def mean(values):\n    return 1"
    with pytest.raises(CourseError, match="cell solution: an exercise cell needs"):
        learner_copy(solution)


def test_build_writes_only_what_changed(tmp_path: Path) -> None:
    folder = write_tiny_course(tmp_path)
    assert build(folder) == [(folder / NAME, True)]
    written = (folder / NAME).read_bytes()
    assert b"\r" not in written
    assert build(folder) == [(folder / NAME, False)]
    solution = read_notebook(folder / "solutions" / NAME)
    solution.cells[4].source += "\nOne more sentence."
    write_notebook(solution, folder / "solutions" / NAME)
    assert build(folder) == [(folder / NAME, True)]
    assert "One more sentence." in (folder / NAME).read_text("utf-8")


def test_build_keeps_the_outputs_of_a_copy_that_is_up_to_date(refreshed: Path) -> None:
    before = (refreshed / NAME).read_bytes()
    assert build(refreshed) == [(refreshed / NAME, False)]
    assert (refreshed / NAME).read_bytes() == before


def test_same_source_sees_every_difference_but_outputs(tmp_path: Path) -> None:
    first = solution_notebook(tmp_path)
    second = copy.deepcopy(first)
    second.cells[1].execution_count = 3
    assert same_source(first, second)
    for change in ("source", "id", "cell_type"):
        third = copy.deepcopy(first)
        third.cells[4][change] = "other"
        assert not same_source(first, third)
    third = copy.deepcopy(first)
    third.cells[4].metadata["tags"] = ["instructor"]
    assert not same_source(first, third)


# ---------------------------------------------------------------- reading and writing


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "not json", '{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []}']
)
def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "00_x.ipynb"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CourseError, match=r"^00_x.ipynb: ") as caught:
        read_notebook(path)
    assert "\n" not in str(caught.value)


def test_missing_lessons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="no lessons"):
        lessons(tmp_path)
    (tmp_path / "00_x.ipynb").touch()
    (tmp_path / "notes.ipynb").touch()
    assert [path.name for path in lessons(tmp_path)] == ["00_x.ipynb"]
    with pytest.raises(CourseError, match="no lesson 07"):
        lessons(tmp_path, 7)


# ---------------------------------------------------------------- refresh and run


@pytest.fixture(scope="session")
def refreshed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_course(tmp_path_factory.mktemp("tiny"))
    refresh(folder)
    return folder


@pytest.fixture
def refreshed(refreshed_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `notebooks` of the refreshed tiny course (read only), whose exercises are registered."""
    monkeypatch.setattr("helpers.course.exercises._REGISTERED", {})
    exec(compile(REGISTRY, "lesson90", "exec"), {})
    return refreshed_once


def code(notebook: NotebookNode, cell_id: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == cell_id)


def test_refresh_stores_outputs_of_both_copies_and_nothing_volatile(refreshed: Path) -> None:
    for path, outcome in ((refreshed / NAME, "not attempted"), (refreshed / "solutions" / NAME, "passed")):
        notebook = read_notebook(path)
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, 9))
        assert code(notebook, "solution").outputs[0].text == f"{MARKS[outcome]} Exercise 90.1: {outcome}.\n"
        assert code(notebook, "plain").outputs[0].data == {"text/plain": "4"}
        assert notebook.metadata == NOTEBOOK_METADATA
        assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
        explorer = code(notebook, "explorer").outputs
        assert [sorted(output.data) for output in explorer] == [
            ["image/png", "text/plain"],
            ["text/html", "text/plain"],
        ]
        assert WIDGET_VIEW not in path.read_text("utf-8")
        assert explorer[0].metadata["image/png"].alt == "A power of the numbers one to three. Setting: power = 2."
        assert explorer[1].data["text/plain"].startswith("Figure 2: A power of the numbers")


def test_refresh_writes_the_same_run_time_into_both_copies(refreshed: Path) -> None:
    headers = [read_notebook(path).cells[0].source for path in (refreshed / NAME, refreshed / "solutions" / NAME)]
    assert headers[0] == headers[1]
    assert re.search(r"^- \*\*Run time:\*\* (5|[1-9]\d*[05]) s on 2 CPU cores$", headers[0], re.M)


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "5"), (5.0, "5"), (5.1, "10"), (61.0, "65")])
def test_run_times_are_rounded_up_to_five_seconds(seconds: float, text: str) -> None:
    assert with_run_time("- **Run time:** 0 s on 2 CPU cores", seconds) == f"- **Run time:** {text} s on 2 CPU cores"
    assert with_run_time("- **Run time:** 95 s on 2 CPU cores", seconds) == f"- **Run time:** {text} s on 2 CPU cores"
    assert with_run_time("no such field", seconds) == "no such field"


def test_headlines_are_collected_with_their_raw_numbers(refreshed: Path) -> None:
    numbers = headlines(read_notebook(refreshed / NAME))
    assert list(numbers) == ["mean of three", "values"]
    assert 2.0 <= numbers["mean of three"] <= 2.1
    assert numbers["values"] == 3


def failing_course(tmp_path: Path) -> Path:
    folder = write_tiny_course(tmp_path)
    solution = read_notebook(folder / "solutions" / NAME)
    code(solution, "plain").source = "raise ValueError('boom')"
    write_notebook(solution, folder / "solutions" / NAME)
    build(folder)
    return folder


def test_a_failing_cell_is_named_and_nothing_is_stored(tmp_path: Path) -> None:
    folder = failing_course(tmp_path)
    before = (folder / NAME).read_bytes()
    with pytest.raises(
        CourseError, match=r"90_tiny.ipynb \(solution's copy\), cell plain \(number 12\): ValueError: boom"
    ):
        refresh(folder)
    assert (folder / NAME).read_bytes() == before


def test_run_reports_a_failing_lesson_with_status_2(tmp_path: Path) -> None:
    folder = failing_course(tmp_path)
    done = command("course", "run", "--folder", str(folder), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "error: 90_tiny, cell plain (number 12): ValueError: boom" in done.stderr
    assert "FAILED" in done.stdout
    outputs = code(read_notebook(tmp_path / "out" / NAME), "plain").outputs
    assert outputs[0].evalue == "boom"


def test_a_number_outside_its_band_stops_refresh_and_is_marked_by_run(tmp_path: Path) -> None:
    folder = write_tiny_course(tmp_path)
    solution = read_notebook(folder / "solutions" / NAME)
    edit("band", '"mean of three", 2 +', '"mean of three", 3 +')(solution)
    write_notebook(solution, folder / "solutions" / NAME)
    with pytest.raises(
        CourseError, match=r"cell band \(number 10\): BandError: mean of three: 3.* lies outside the band"
    ):
        refresh(folder)
    build(folder)
    done = command("course", "run", "--folder", str(folder), "--out", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0, done.stderr
    assert [record["outside"] for record in json.loads(done.stdout)] == [["mean of three"]]
    outputs = code(read_notebook(tmp_path / "out" / NAME), "band").outputs
    assert "did you change something?" in outputs[1].data["text/plain"]


def test_run_prints_a_record_per_lesson(refreshed: Path, tmp_path: Path) -> None:
    done = command("course", "run", "--folder", str(refreshed), "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert (record["lesson"], record["cells"], record["error"], record["outside"]) == ("90_tiny", 8, "", [])
    assert record["seconds"] > 0
    assert list(record["headlines"]) == ["mean of three", "values"]
    assert read_notebook(Path(record["executed"])).cells[1].execution_count == 1


def test_the_kernel_sees_one_thread_no_device_and_no_network(tmp_path: Path) -> None:
    source = (
        "import os, torch, urllib.request\n"
        "print(torch.get_num_threads(), torch.cuda.is_available(), os.environ['HF_HUB_OFFLINE'], os.getcwd())\n"
        "try:\n    urllib.request.urlopen('http://example.org', timeout=5)\n"
        "except OSError as error:\n    print(type(error.reason).__name__)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    execute(notebook, tmp_path)
    threads, rest = notebook.cells[0].outputs[0].text.split(" ", 1)
    assert threads == "1"
    assert rest.startswith("False 1 ")
    assert Path(rest[8:].splitlines()[0]).resolve() == tmp_path.resolve()
    assert rest.splitlines()[1] == "ConnectionRefusedError"


def test_settings_override_the_readers_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    assert kernel_environment(checked=True).items() >= SETTINGS.items()
    assert [bool(kernel_environment(checked=checked)[CHECKED]) for checked in (True, False)] == [True, False]
    assert os.environ["OMP_NUM_THREADS"] == "64"


# ---------------------------------------------------------------- check: each rule can fail


def edit(cell_id: str, old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        cell = code(notebook, cell_id)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return change


def add_output(cell_id: str, **fields: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: code(notebook, cell_id).outputs.append(nbformat.v4.new_output(**fields))


def stream(text: str, name: str = "stdout") -> Callable[[NotebookNode], None]:
    return add_output("plain", output_type="stream", name=name, text=text)


def display(**data: str) -> Callable[[NotebookNode], None]:
    return add_output(
        "plain", output_type="display_data", data={kind.replace("_", "/"): text for kind, text in data.items()}
    )


RGB_PNG = base64.b64encode(exact_png(plt.figure(figsize=(1, 1)))).decode()


def change_picture(**fields: dict[str, object]) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        output = code(notebook, "figure").outputs[0]
        for name, values in fields.items():
            output[name] = nbformat.from_dict({**output[name], **values} if values else {})

    return change


def retag(cell_id: str, *names: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: code(notebook, cell_id).metadata.update(tags=list(names))


def drop(cell_id: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.remove(code(notebook, cell_id))


def replace_section(heading: str, text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            cell.source = re.sub(rf"(^## {heading}\n).*?(?=^## |\Z)", rf"\g<1>{text}", cell.source, flags=re.M | re.S)

    return change


BREAKAGES = {
    "title": (edit("header", "# 90 · ", "# 9 · "), "the first cell starts with '# 90 · Title'"),
    "question": (edit("header", "a mean?", "a mean."), "**Question:**"),
    "never refreshed": (edit("header", "**Run time:** ", "**Run time:** 0"), "**Run time:**"),
    "exercise time": (edit("header", "time:** 2 min", "time:** 5 min"), "the exercises take 2 min together, not 5"),
    "needs": (edit("header", "- **You need:** nothing.", ""), "**You need:**"),
    "order": (edit("closing", "## Quiz", "## Recap"), "sections of the template"),
    "missing section": (edit("closing", "## Glossary", "## Words"), "sections of the template"),
    "unfolded prediction": (replace_section("Predict first", "The middle.\n"), "'Predict first' has no folded"),
    "unfolded quiz": (replace_section("Quiz", "The middle.\n"), "'Quiz' has no folded"),
    "quiz letters": (edit("closing", "a. Two.", "b. Two."), "its options are not lettered a, b, c"),
    "no source": (edit("closing", "doi.org/10.1000/example", "somewhere"), "no DOI or arXiv id"),
    "two objectives": (
        edit("header", "2. Count numbers.\n3. Divide the first by the second.", "2. Add."),
        "three to five",
    ),
    "unlike bookends": (
        edit("closing", "3. We divided the first by the second.\n", ""),
        "recap has 2 numbered lines for 3",
    ),
    "too short": (drop("idea"), "words, allowed 900 to 2500"),
    "too long": (
        lambda notebook: code(notebook, "idea").update(source="We add. " * 3000),
        "words, allowed 900 to 2500",
    ),
    "two sentences": (edit("closing", "moves the mean.", "moves the mean. Look."), "two sentences on one line"),
    "two sentences in bold": (
        edit("closing", "moves the mean.", "moves it. **Look** here."),
        "two sentences on one line",
    ),
    "admonition": (edit("closing", "One far value", "> [!NOTE]\n> One far value"), "admonition"),
    "directive": (edit("closing", "One far value", "```{note}\nOne\n```\nOne far value"), "directive"),
    "html": (edit("closing", "One far value", "<div>One</div> far value"), "HTML tag not allowed: div"),
    "unpaired fold": (edit("closing", "</details>", ""), "unpaired <details>"),
    "fold without an empty line": (edit("closing", "</summary>\n\n", "</summary>\n"), "an empty line must follow"),
    "image without text": (edit("closing", "One far value", "![](90_tiny.ipynb) One far value"), "no alt text"),
    "broken link": (edit("closing", "(90_tiny.ipynb)", "(91_none.ipynb)"), "broken link: 91_none.ipynb"),
    "magic": (edit("plain", "2 + 2", "%time 2 + 2"), "not plain Python"),
    "empty cell": (edit("plain", "2 + 2", " "), "empty code cell"),
    "other folder": (edit("plain", "2 + 2", "import os\nos.chdir('/')"), "not allowed in a lesson: chdir("),
    "bare figure": (edit("plain", "2 + 2", "plt.show()"), "not allowed in a lesson: plt.show("),
    "comment opt-out": (edit("plain", "2 + 2", "# NBVAL_SKIP"), "not allowed in a lesson: NBVAL_"),
    "long cell": (edit("plain", "2 + 2", "\n".join(f"x = {n}" for n in range(26))), "26 lines of code, allowed 25"),
    "long median": (
        lambda notebook: [c.update(source="a = 1\n" * 6) for c in notebook.cells if c.cell_type == "code"],
        "median of 6 lines",
    ),
    "other lesson": (edit("start", "lesson=90", "lesson=9"), "does not call start(lesson=90)"),
    "loud start": (
        lambda notebook: code(notebook, "start").outputs.extend(code(notebook, "plain").outputs),
        "first code cell shows",
    ),
    "unknown tag": (retag("plain", "nbval-skip"), "unknown tag: nbval-skip"),
    "raises-exception": (retag("plain", "raises-exception"), "unknown tag: raises-exception"),
    "no reason": (edit("noisy", "# not compared: the time differs in every run", "#"), "says why"),
    "short reason": (edit("noisy", "# not compared: the time differs in every run", "# not compared: x"), "says why"),
    "too many opt-outs": (retag("plain", "nbval-ignore-output"), "2 of 8 code cells are not compared"),
    "never run": (lambda notebook: code(notebook, "plain").update(execution_count=None), "one run from top to bottom"),
    "run twice": (lambda notebook: code(notebook, "plain").update(execution_count=9), "one run from top to bottom"),
    "error": (
        add_output("plain", output_type="error", ename="E", evalue="e", traceback=[]),
        "stored output is an error",
    ),
    "warning": (stream("careful", "stderr"), "standard error"),
    "path": (stream("/home/someone/image.png"), "path of the machine"),
    "windows path": (stream("C:\\Users\\someone"), "path of the machine"),
    "package path": (stream("lib/site-packages/torch"), "path of the machine"),
    "address": (display(text_plain="<function f at 0x7f0123456789>"), "an address or a random id"),
    "styler": (display(text_html='<table id="T_1a2b3">'), "an address or a random id"),
    "png": (display(image_png="iVBORw0KGgo="), "a figure without alt text"),
    "no alt": (change_picture(metadata={}), "a figure without alt text"),
    "short alt": (change_picture(metadata={"image/png": {"alt": "a figure"}}), "a figure without alt text"),
    "html picture": (display(text_html="<img alt='a figure' src='x'>"), "a picture inside HTML"),
    "svg": (display(**{"image/svg+xml": "<svg/>"}), "a figure of type image/svg+xml"),
    "no palette": (change_picture(data={"image/png": RGB_PNG}), "a figure without a palette"),
    "no caption": (lambda notebook: code(notebook, "figure").outputs.pop(), "no caption follows the figure"),
    "title without full stop": (
        lambda notebook: (
            code(notebook, "figure")
            .outputs[1]
            .data.update({"text/html": "<strong>Figure 1: a line</strong> A straight line."})
        ),
        "the title 'a line' is no phrase",
    ),
    "other number": (change_picture(data={"text/plain": "Figure 7: A line."}), "figures are numbered [7, 2]"),
    "small text": (change_picture(metadata={"natural_traces": {"text_pixels": 8.5}}), "text of 7.4 pixels"),
    "unexplained figure": (edit("see", "**What to see**", "See"), "no Markdown cell with '**What to see**'"),
    "kernel": (
        lambda notebook: notebook.metadata["kernelspec"].update(display_name="mine"),
        "metadata was not written",
    ),
    "timing": (
        lambda notebook: code(notebook, "plain").metadata.update(execution={}),
        "cell's metadata was not written",
    ),
    "same ids": (lambda notebook: code(notebook, "see").update(id="figure"), "two cells have this id"),
    "widget view": (display(**{WIDGET_VIEW: "{}"}), "a widget's view is stored"),
    "unregistered exercise": (edit("solution", '"90.1"', '"90.2"'), "exercises checked: ['90.2']"),
    "exercise heading": (edit("task", "· The mean", "· A mean"), "no heading '### Exercise 90.1 · The mean'"),
    "no level": (edit("task", "- **Level:** ●○○", ""), "has no line '- **Level:**'"),
    "two hints": (edit("task", "Hint 2", "Clue 2"), "has 2 folded hints, expected 3"),
    "no exercise tag": (retag("solution"), "an exercise cell has the tag"),
    "exercise tag elsewhere": (retag("plain", "exercise"), "an exercise cell has the tag"),
    "stale outcome": (
        lambda notebook: code(notebook, "solution").update(
            outputs=[nbformat.v4.new_output("stream", text="Exercise 90.1: not right yet. x\nHint: y\n")]
        ),
        "the stored output does not say",
    ),
}


def lesson_of(folder: Path, is_solution: bool) -> Lesson:
    path = folder / "solutions" / NAME if is_solution else folder / NAME
    return Lesson(path, 90, is_solution, read_notebook(path))


@pytest.mark.parametrize("is_solution", [True, False], ids=["solution", "learner"])
@pytest.mark.parametrize("name", BREAKAGES)
def test_each_broken_rule_is_found(refreshed: Path, name: str, is_solution: bool) -> None:
    change, message = BREAKAGES[name]
    lesson = lesson_of(refreshed, is_solution)
    change(lesson.notebook)
    result = [problem.message for problem in problems(lesson)]
    assert any(message in text for text in result), result


def test_a_lesson_in_order_has_no_problems(refreshed: Path) -> None:
    assert check_course(refreshed) == []


def test_teachers_notes_belong_to_the_solution_copy(refreshed: Path) -> None:
    solution, learner = lesson_of(refreshed, True), lesson_of(refreshed, False)
    learner.notebook.cells.append(code(solution.notebook, "teacher"))
    drop("teacher")(solution.notebook)
    assert "teacher's notes in the learner's copy" in [problem.message for problem in problems(learner)]
    assert "the solution copy has no teacher's notes" in [problem.message for problem in problems(solution)]


@pytest.fixture
def own_copy(refreshed: Path, tmp_path: Path) -> Path:
    shutil.copytree(refreshed.parent, tmp_path / "course")
    return tmp_path / "course" / "notebooks"


def change_notebook(path: Path, change: Callable[[NotebookNode], None]) -> None:
    notebook = read_notebook(path)
    change(notebook)
    write_notebook(notebook, path)


def leak(notebook: NotebookNode) -> None:
    code(notebook, "solution").source = SOLUTION.rstrip("\n")


def spoil(notebook: NotebookNode) -> None:
    edit("solution", "values.sum() / len(values)", "values.sum()")(notebook)


def test_a_leaked_solution_is_found(own_copy: Path) -> None:
    change_notebook(own_copy / NAME, leak)
    result = [problem.message for problem in check_course(own_copy)]
    assert "differs from what build makes of the solution copy: run refresh" in result


def test_a_copy_without_its_partner_is_found(own_copy: Path) -> None:
    shutil.copy(own_copy / NAME, own_copy / "91_stray.ipynb")
    assert [str(problem) for problem in check_course(own_copy)] == [
        "91_stray.ipynb: there is no solution copy of this notebook"
    ]
    (own_copy / NAME).unlink()
    assert "the learner's copy is missing: run refresh" in [problem.message for problem in check_course(own_copy)]


def test_a_refreshed_leak_or_a_refreshed_broken_solution_is_found(own_copy: Path) -> None:
    """A solution that stands outside its markers passes in the learner's copy; a broken one fails in its own."""
    lesson = lesson_of(own_copy, False)
    code(lesson.notebook, "solution").outputs = code(lesson_of(own_copy, True).notebook, "solution").outputs
    assert any("does not say '○ Exercise 90.1: not attempted." in problem.message for problem in problems(lesson))
    lesson = lesson_of(own_copy, True)
    code(lesson.notebook, "solution").outputs = code(lesson_of(own_copy, False).notebook, "solution").outputs
    assert any("does not say '✔ Exercise 90.1: passed." in problem.message for problem in problems(lesson))


@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"], ["build"], ["refresh"], ["run"]])
def test_commands_end_with_status_2_and_one_line_where_there_is_no_course(tmp_path: Path, arguments: list[str]) -> None:
    done = command("course", *arguments, "--folder", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert done.stderr.startswith("error: there are no lessons in ")
    assert len(done.stderr.splitlines()) == 1


def test_check_tells_what_is_wrong(own_copy: Path) -> None:
    done = command("course", "check", "--folder", str(own_copy))
    assert (done.exit_code, done.stdout) == (0, "no problems\n")
    change_notebook(own_copy / NAME, stream("careful", "stderr"))
    done = command("course", "check", "--folder", str(own_copy), "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == [
        {"notebook": NAME, "cell": "plain", "message": "something was written to standard error, such as a warning"}
    ]
    assert done.stderr == "error: 1 problem\n"


def test_lines_of_code_leave_out_what_is_not_code() -> None:
    function = 'def f():\n    """Doc.\n\n    More.\n    """\n    return (\n        1\n    )\n'
    source = f'"""Not a docstring of a function."""\n\n# comment\n{function}'
    assert lines_of_code(source) == 5


def test_words_leave_out_what_is_not_prose(tmp_path: Path) -> None:
    text = "Two words `code here` $x + y$ [link text](a/b.md) <br> it's **bold**\n\n```python\nx = 1\n```\n\n| a | b |"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    assert words(Lesson(tmp_path, 0, False, notebook)) == 10


@pytest.mark.parametrize("name", ["course.refresh", "course.rules.code", "course.compare"])
def test_doctests(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"helpers.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


# ---------------------------------------------------------------- nbval from both sides


@pytest.mark.slow
def test_nbval_passes_the_good_and_fails_the_leaked_and_the_broken(own_copy: Path, tmp_path: Path) -> None:
    """Each copy runs under the settings of notebooks/conftest.py; only the spoilt cells fail."""
    for name in ("conftest.py", ".nbval-sanitize.cfg"):
        shutil.copy(NOTEBOOKS / name, own_copy / name)
    shutil.copy(own_copy / NAME, own_copy / "91_spoilt.ipynb")
    shutil.copy(own_copy / "solutions" / NAME, own_copy / "solutions" / "92_broken.ipynb")
    for change in (
        leak,
        edit("figure", "A straight line", "A crooked line"),
        edit("band", "1.5, 2.5)\nheadline", "2.4, 2.5)\nheadline"),
        edit("explorer", "power=(1, 3)", "power=(1, 5)"),
    ):
        change_notebook(own_copy / "91_spoilt.ipynb", change)
    change_notebook(own_copy / "solutions" / "92_broken.ipynb", spoil)
    report = tmp_path / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "-n",
        "2",
        "--dist",
        "loadscope",
    ]
    subprocess.run([*command, f"--junit-xml={report}", str(own_copy)], check=False, capture_output=True, cwd=own_copy)
    failed = {
        (Path(case.attrib["file"]).name if "file" in case.attrib else case.attrib["classname"], case.attrib["name"])
        for case in ET.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }
    total = len(list(ET.parse(report).iter("testcase")))
    assert total == 4 * 8
    assert {(re.sub(r".*?(9\d_[a-z]+).*", r"\1", file), name) for file, name in failed} == {
        ("91_spoilt", "Cell 2"),
        ("91_spoilt", "Cell 3"),
        ("91_spoilt", "Cell 4"),
        ("91_spoilt", "Cell 5"),
        ("92_broken", "Cell 2"),
    }
