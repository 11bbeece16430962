"""Lesson 07 states what its records hold."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.course.reproduce import recorded
from helpers.data import catalog
from helpers.detectors.registry import load_detector
from helpers.evaluation.sweep import grid
from helpers.generators.sets import TRAINING_GENERATORS
from helpers.lessons.lesson07.figures import SUMMED_UP, TELLING, cell_table
from helpers.lessons.lesson07.study import FACTORS, QUALITIES, SETTINGS, weights_name
from helpers.pixels.perturbations import SERVICES

NEVER, SOME, MUCH = (setting.name for setting in SETTINGS)


@pytest.fixture(scope="module")
def lesson() -> dict[str, str]:
    """Source of every cell, by its id."""
    project = Path(__file__).resolve().parents[1]
    text = (project / "notebooks" / "solutions" / "07_robustness.ipynb").read_text(encoding="utf-8")
    return {cell["id"]: "".join(cell["source"]) for cell in json.loads(text)["cells"]}


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return cell_table(recorded("robustness_zoo"))


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    table = pd.DataFrame(recorded("augmentation_zoo")["runs"])
    return table.set_index(["setting", "seed", "perturbation", "strength"]).sort_index()


def numbers(text: str) -> list[float]:
    return [float(result) for result in re.findall(r"\d\.\d+", text)]


def line(text: str, start: str) -> str:
    (result,) = [row for row in text.splitlines() if row.startswith(start)]
    return result


# the sweep on the zoo


def test_the_record_is_of_the_detector_that_ships_and_of_all_perturbations() -> None:
    record, folder = recorded("robustness_zoo"), catalog.data_dir() / "detectors" / "zoo"
    assert record["weights"] == weights_name(folder)
    detector = load_detector(folder)
    assert record["threshold"] == pytest.approx(detector.threshold)
    assert detector.history["generators"] == sorted(TRAINING_GENERATORS)
    assert len(record["generators"]) == 8
    assert not set(record["generators"]) & set(TRAINING_GENERATORS)
    assert record["sources"] == ["chelsea", "china"]
    run = {(row["perturbation"], row["strength"]) for row in record["cells"] + record["skipped"]}
    assert run == set(grid())


def test_lesson_states_the_detectors_training(lesson: dict[str, str]) -> None:
    config = load_detector(catalog.data_dir() / "detectors" / "zoo").config
    low, high = config.qualities
    assert f"quality {low} to {high} on {config.jpeg:.0%}".replace("%", " %") in lesson["sweep-text"]


def test_jpeg_50_and_a_blur_of_one_pixel_leave_no_ranking_and_more_blur_does(cells: pd.DataFrame) -> None:
    assert cells.loc[("jpeg", 70), "ap"] > 0.7
    assert cells.loc[("jpeg", 50), "ap"] < 0.6
    blur = [cells.loc[("blur", sigma), "ap"] for sigma in (1, 1.5, 2, 3)]
    assert blur[0] < 0.6
    assert blur == sorted(blur)
    assert cells.loc[("blur", 3), "ap_low"] > cells.loc[("blur", 1), "ap_high"]


def test_resizing_and_webp_cost_less_than_jpeg(cells: pd.DataFrame) -> None:
    assert cells.loc[("webp", 50), "ap_low"] > cells.loc[("jpeg", 50), "ap_high"]
    assert cells.loc[("resize-bicubic", 0.5), "ap_low"] > cells.loc[("jpeg", 50), "ap_high"]


def test_the_first_upload_does_the_damage(cells: pd.DataFrame) -> None:
    values = [cells.loc[("forwarded", times), "ap"] for times in (1, 2, 4, 8)]
    assert cells.loc[("none", 0), "ap"] - values[0] > 0.2
    assert np.ptp(values) < 0.005
    for name, service in SERVICES.items():  # "fits", "larger", "double"
        sides = sorted(strength for known, strength in cells.index if known == name)
        assert sides[0] == service.long_side < sides[1] < sides[2] == 2 * service.long_side


def test_lesson_states_what_a_reduction_by_a_tenth_does(lesson: dict[str, str], cells: pd.DataFrame) -> None:
    cell = cells.loc[("resize-lanczos", 0.9)]
    assert f"keeps an AP of {cell['ap']:.2f}, and half of the fakes pass" in lesson["threshold-see"]
    assert cell["called_fake"] == pytest.approx(0.5, abs=0.05)
    assert f"AP is {cell['ap']:.2f} and accuracy {cell['accuracy']:.2f}" in lesson["quiz"]
    for key in (("blur", 2), ("noise", 8)):
        assert cells.loc[key, "called_real"] > 0.8
    assert set(TELLING) <= set(cells.index)


def test_lesson_states_that_harms_do_more_than_add_up(lesson: dict[str, str]) -> None:
    record = recorded("robustness_zoo")["surface"]
    ap = {(row["factor"], row["quality"]): row["ap"] for row in record}
    assert set(ap) == {(factor, quality) for factor in FACTORS for quality in (None, *QUALITIES)}
    untouched = ap[1.0, None]
    alone, saved, both = (untouched - ap[key] for key in ((0.9, None), (1.0, 80), (0.9, 80)))
    stated = (
        f"factor 0.9 alone costs {alone:.2f} of AP and quality 80 alone {saved:.2f}, but both together cost {both:.2f}"
    )
    assert stated in lesson["surface-see"]
    assert both > alone + saved
    assert f"from {untouched:.2f} untouched" in lesson["surface-figure"]
    assert min(ap.values()) < 0.5


def test_teachers_read_the_recorded_blur(lesson: dict[str, str], cells: pd.DataFrame) -> None:
    severe, mild = cells.loc[("blur", 3), "ap"], cells.loc[("blur", 1), "ap"]
    assert f'"AP {severe:.1f} under a blur of three pixels' in lesson["teachers"]
    assert f"It was {mild:.2f} at one pixel" in lesson["teachers"]


# augmentation


def test_the_study_of_augmentation_is_whole(lesson: dict[str, str], runs: pd.DataFrame) -> None:
    record = recorded("augmentation_zoo")
    assert (record["settings"], record["seeds"]) == ([NEVER, SOME, MUCH], [0, 1])
    assert len(runs) == 3 * 2 * 11
    assert "two seeds each" in lesson["augmentation-text"]
    assert record["generators"] == recorded("robustness_zoo")["generators"]


def test_lesson_states_what_augmentation_buys(lesson: dict[str, str], runs: pd.DataFrame) -> None:
    def gain(setting: str, seed: int) -> float:
        return float(runs.loc[(setting, seed, "jpeg", 50), "ap"] - runs.loc[(NEVER, seed, "jpeg", 50), "ap"])

    bought = line(lesson["augmentation-see"], "- It buys")
    first, *rest = numbers(bought)
    assert [first, first] == [round(gain(MUCH, seed), 2) for seed in (0, 1)]
    assert rest == [round(gain(SOME, seed), 2) for seed in (0, 1)]


def test_lesson_states_what_comes_free_and_what_does_not(lesson: dict[str, str], runs: pd.DataFrame) -> None:
    for key in (("noise", 4), ("webp", 50)):
        for seed in (0, 1):
            for setting in (SOME, MUCH):
                assert runs.loc[(setting, seed, *key), "ap"] > runs.loc[(NEVER, seed, *key), "ap"]
    most = runs.xs(("blur", 1), level=("perturbation", "strength"))["ap"].max()
    assert f"blur of one pixel still leaves at most {most:.2f}" in lesson["augmentation-see"]


def test_lesson_states_the_price(lesson: dict[str, str], runs: pd.DataFrame) -> None:
    untouched = runs.xs(("none", 0), level=("perturbation", "strength"))
    before, after = ([untouched.loc[(name, seed), "accuracy"] for seed in (0, 1)] for name in (NEVER, MUCH))
    assert numbers(line(lesson["augmentation-see"], "- A price")) == [round(value, 2) for value in before + after]
    assert all(untouched.loc[(MUCH, seed), "ap"] > untouched.loc[(NEVER, seed), "ap"] for seed in (0, 1))
    apart = untouched["ap"].groupby("setting").agg(np.ptp).max()
    assert f"up to {apart:.2f} of AP apart" in lesson["augmentation-see"]
    assert np.ptp(untouched["ap"].groupby("setting").mean()) < apart


# in the wild


@pytest.mark.parametrize(("name", "detector"), [("robustness_wild", "ntf_pretrained"), ("robustness_wild_ntf", "ntf")])
def test_the_wild_record_is_of_a_detector_and_images_that_the_lesson_names(
    name: str, detector: str, lesson: dict[str, str]
) -> None:
    record: dict[str, Any] = recorded(name)
    assert (record["manifest"], record["where"], record["split"]) == ("benchmark", ["track=main-240"], "test")
    assert (record["real"], record["fake"]) == (120, 120)
    assert "240 pixels a side, 120 of each label" in lesson["wild-text"]
    assert record["weights"] == weights_name(catalog.data_dir() / "detectors" / detector)
    assert set(SUMMED_UP) <= set(cell_table(record).index)


def test_lesson_states_only_what_the_wild_record_holds(cells: pd.DataFrame, lesson: dict[str, str]) -> None:
    wild = cell_table(recorded("robustness_wild_ntf"))
    untouched = wild.loc[("none", 0)]
    for key in (("jpeg", 50), ("blur", 1)):
        assert wild.loc[key, "ap"] < untouched["ap"]
        assert wild.loc[key, "accuracy"] < untouched["accuracy"]
    assert wild.loc[("blur", 1), "called_real"] == 1
    default = cell_table(recorded("robustness_wild")).loc[list(SUMMED_UP)]
    assert default["called_real"].max() <= 0.1
    assert default["ap"].min() > default.loc[("none", 0), "ap"] - 0.05
    assert default["called_fake"].min() < default.loc[("none", 0), "called_fake"] - 0.1
    for one in (wild, default):
        assert one.loc[("none", 0), "ap_high"] < cells.loc[("none", 0), "ap_low"]
        assert (one["ap_high"] - one["ap_low"]).between(0.1, 0.2).all()
    assert "an interval that is 0.1 to 0.2 wide" in lesson["wild-see"]


def test_lesson_says_what_the_default_detector_learnt_from(lesson: dict[str, str]) -> None:
    card = json.loads((catalog.data_dir() / "detectors" / "ntf_pretrained" / "card.json").read_text("utf-8"))
    assert len(card["training"]["generators"]) == 19
    assert "twenty photo sources, nineteen generators" in lesson["wild-text"]
