"""The quiet start, the bands, and the headlines."""

# ruff: noqa: NPY002 - start() seeds the global generators, so these tests draw from them

import doctest
import random
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import helpers.course.lesson
from helpers.course.lesson import METADATA_KEY, BandError, Todo, band_text, headline, start, within
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


@pytest.mark.parametrize(("variable", "threads"), [("1", 1), ("2", 2), ("", None), ("0", None), ("many", None)])
def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, threads: int | None) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    try:
        start(lesson=0)
        assert torch.get_num_threads() == (threads or before)
    finally:
        torch.set_num_threads(before)


def test_start_stays_in_its_folder_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(lesson=0)
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.85, 0.9, 0.97, np.float32(0.9), torch.tensor(0.9)])
def test_within_prints_the_same_band_for_every_value_inside(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    within("AUC", value, 0.85, 0.97)
    assert capsys.readouterr().out == f"AUC: between 0.85 and 0.97 (here {float(value):.4g})\n"


@pytest.mark.parametrize("value", [0.8499, 0.9701, float("nan"), float("inf"), -0.9])
def test_within_raises_outside_the_band(value: float) -> None:
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
            {"text/plain": "slope: between 1.8 and 2.2 (here 2.031)"},
            {METADATA_KEY: {"headline": {"name": "slope", "value": 2.03125}}},
        )
    ]


def test_a_headline_without_a_band_is_compared(shown: list[tuple[dict, dict]]) -> None:
    headline("photographs", 17)
    assert shown[0][0] == {"text/plain": "photographs: 17"}
    assert shown[0][1][METADATA_KEY]["headline"]["value"] == 17


def test_a_headline_outside_its_band_raises_and_shows_nothing(shown: list[tuple[dict, dict]]) -> None:
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
    assert band_text("x", 1, 0, 2) == "x: between 0 and 2 (here 1)"
