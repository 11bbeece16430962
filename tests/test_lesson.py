"""The quiet start, the bands, and the headlines."""

# ruff: noqa: NPY002 - start() seeds the global generators, so these tests draw from them

import doctest
import os
import random
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import helpers.course.lesson
from helpers.course.environment import CHECKED
from helpers.course.figures import METADATA_KEY
from helpers.course.lesson import BandError, Todo, band_text, headline, progress, start, within
from helpers.errors import NaturalTracesError


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_start_is_silent_and_may_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    start(lesson=3)
    first, style = draw(), dict(plt.rcParams)
    start(lesson=3)
    assert draw() == first
    assert dict(plt.rcParams) == style
    assert capsys.readouterr() == ("", "")


def test_lessons_do_not_share_random_numbers() -> None:
    start(lesson=1)
    first = draw()
    start(lesson=2)
    assert all(one != other for one, other in zip(first, draw(), strict=True))


@pytest.mark.parametrize(("variable", "threads"), [("1", 1), ("2", 2), ("", 1), ("0", 1), ("many", 1)])
def test_threads_follow_the_environment_and_are_one_without(
    monkeypatch: pytest.MonkeyPatch, variable: str, threads: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    try:
        start(lesson=0)
        assert torch.get_num_threads() == threads
        assert {pool["num_threads"] for pool in threadpool_info()} == {threads}
        assert os.environ["NUMBA_NUM_THREADS"] == str(threads)
    finally:
        torch.set_num_threads(before)
        threadpool_limits(before)


def test_start_stays_in_its_folder_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(lesson=0)
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.85, 0.9, 0.97, np.float32(0.9), torch.tensor(0.9)])
def test_within_prints_the_same_band_for_every_value_inside(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    within("AUC", value, 0.85, 0.97)
    assert capsys.readouterr().out == f"AUC: {float(value):.4g} (usual band 0.85 to 0.97)\n"


OUTSIDE = [0.8499, 0.9701, float("nan"), float("inf"), -0.9]


@pytest.mark.parametrize("value", OUTSIDE)
def test_a_reader_who_changed_something_is_asked_and_not_stopped(
    value: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHECKED, raising=False)
    within("AUC", value, 0.85, 0.97)
    asked = "(outside the usual band 0.85 to 0.97: did you change something?)"
    assert capsys.readouterr().out == f"AUC: {value:.4g} {asked}\n"


@pytest.mark.parametrize("value", OUTSIDE)
def test_within_raises_outside_the_band_where_outputs_are_checked(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKED, "1")
    with pytest.raises(BandError, match=r"AUC: .* lies outside the band 0.85 to 0.97") as caught:
        within("AUC", value, 0.85, 0.97)
    assert isinstance(caught.value, NaturalTracesError)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    outputs: list[tuple[dict, dict]] = []
    monkeypatch.setattr(
        helpers.course.lesson, "display_bundle", lambda data, metadata: outputs.append((data, metadata))
    )
    return outputs


def test_a_headline_with_a_band_hides_the_number_from_comparison(shown: list[tuple[dict, dict]]) -> None:
    headline("slope", torch.tensor(2.03125), 1.8, 2.2)
    assert shown == [
        (
            {"text/plain": "slope: 2.031 (usual band 1.8 to 2.2)"},
            {METADATA_KEY: {"headline": {"name": "slope", "value": 2.03125, "inside": True}}},
        )
    ]


def test_a_headline_without_a_band_is_compared(shown: list[tuple[dict, dict]]) -> None:
    headline("photographs", 17)
    assert shown[0][0] == {"text/plain": "photographs: 17"}
    assert shown[0][1][METADATA_KEY]["headline"]["value"] == 17


def test_a_headline_outside_its_band_says_so(shown: list[tuple[dict, dict]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECKED, raising=False)
    headline("slope", 3.0, 1.8, 2.2)
    assert shown[0][0] == {"text/plain": "slope: 3 (outside the usual band 1.8 to 2.2: did you change something?)"}
    assert shown[0][1] == {METADATA_KEY: {"headline": {"name": "slope", "value": 3.0, "inside": False}}}


def test_a_checked_headline_outside_its_band_raises_and_shows_nothing(
    shown: list[tuple[dict, dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKED, "1")
    with pytest.raises(BandError):
        headline("slope", 3.0, 1.8, 2.2)
    with pytest.raises(ValueError, match="two ends"):
        headline("slope", 2.0, 1.8)
    assert shown == []


def test_the_stubs_exception_is_not_one_that_torch_raises() -> None:
    assert not issubclass(Todo, NotImplementedError)
    assert not issubclass(NotImplementedError, Todo)


def test_doctests() -> None:
    result = doctest.testmod(helpers.course.lesson)
    assert result.attempted > 0
    assert result.failed == 0
    assert band_text("x", 1, 0, 2) == "x: 1 (usual band 0 to 2)"


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a notebook's output line says, as (how, text)."""
    said: list[tuple[str, str]] = []

    class Handle:
        def display(self, data: dict[str, str], raw: bool) -> None:
            said.append(("new", data["text/plain"]))

        def update(self, data: dict[str, str], raw: bool) -> None:
            said.append(("changed", data["text/plain"]))

    monkeypatch.setattr(helpers.course.lesson, "DisplayHandle", Handle)
    monkeypatch.setattr(helpers.course.lesson, "SECONDS_BETWEEN", 0)
    monkeypatch.setattr(helpers.course.lesson, "in_notebook", lambda: True)
    monkeypatch.delenv(CHECKED, raising=False)
    return said


def test_progress_is_one_line_that_changes(line: list[tuple[str, str]]) -> None:
    assert list(progress("abc", "training")) == ["a", "b", "c"]
    assert line == [
        ("new", "training: 0 of 3, 0 s"),
        ("changed", "training: 1 of 3, 0 s"),
        ("changed", "training: 2 of 3, 0 s"),
        ("changed", "training: 3 of 3, 0 s"),
    ]


def test_progress_is_silent_where_outputs_are_compared(
    line: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKED, "1")
    assert list(progress([1, 2], "training")) == [1, 2]
    monkeypatch.delenv(CHECKED)
    monkeypatch.setattr(helpers.course.lesson, "in_notebook", lambda: False)
    assert list(progress(iter([1, 2]), "training", total=2)) == [1, 2]
    assert line == []
