"""Numbers that lessons state are the numbers in data/results, and those can be made again."""

import json
from pathlib import Path

import pytest

from helpers.data import catalog
from helpers.statistics import measure


def read(project: Path, name: str) -> dict:
    return json.loads((project / "data" / "results" / name).read_text(encoding="utf-8"))


def test_lesson_00_states_the_measured_audit(project: Path) -> None:
    part = read(project, "audit_benchmark_test.json")["parts"]["main-240"]
    rule = next(result["auc"] for result in part["results"] if result["cue"] == "is it a PNG")
    lesson = (project / "notebooks" / "solutions" / "00_start_here.ipynb").read_text(encoding="utf-8")
    assert f"had an AUC of {rule['value']:.3f}" in lesson
    assert f"({part['fake']:,} fakes, {part['real']} photographs, six collections;" in lesson
    assert f"interval {rule['low']:.2f} to {rule['high']:.2f})" in lesson
    assert rule["n"] == 6


@pytest.mark.parametrize("name", ["chelsea", "rocket"])
def test_recorded_statistics_can_be_made_again(project: Path, name: str) -> None:
    recorded = next(row for row in read(project, "statistics.json")["pictures"] if row["name"] == name)
    measured = measure(catalog.photograph(name))
    assert measured == pytest.approx({key: recorded[key] for key in measured}, rel=1e-6)


def test_no_file_of_the_zoo_gives_its_label_away(project: Path) -> None:
    results = read(project, "audit_zoo.json")["parts"]["all"]["results"]
    areas = [row["auc"]["value"] for row in results if row["kind"] == "container"]
    assert len(areas) == 12
    assert max(areas) <= 0.6


@pytest.fixture
def lesson_02(project: Path) -> str:
    cells = json.loads((project / "notebooks" / "solutions" / "02_how_fakes_are_made.ipynb").read_text("utf-8"))[
        "cells"
    ]
    return "\n".join("".join(cell["source"]) for cell in cells)


def test_lesson_02_states_the_measured_attribution(project: Path, lesson_02: str) -> None:
    result = read(project, "attribution_zoo.json")
    rows = {(row["residual"], row["view"], row["fitted on"]): row["accuracy"] for row in result["attribution"]}
    plain = rows["denoising", "unchanged", "unchanged"]
    assert (
        f"with {plain['value']:.0%} accuracy, interval {plain['low']:.0%} to {plain['high']:.0%}"
        in lesson_02.replace(" %", "%").replace("85 to", "85% to")
    )
    others = [rows[name, "unchanged", "unchanged"]["value"] for name in ("difference", "median", "diagonal")]
    assert f"reach {min(others):.2f} to {max(others):.2f}" in lesson_02
    assert f"reach {result['controls']['thumbnails of 8 x 8 pixels']['value']:.2f}" in lesson_02
    told = result["redrawn"]["denoising"]["all"]
    low, high = 100 * told["low"], 100 * told["high"]
    assert f"{100 * told['value']:.0f} % are named right, with an interval from {low:.0f} to {high:.0f} %" in lesson_02
    again = rows["denoising", "matched JPEG", "matched JPEG"]["value"]
    assert f"names {100 * again:.0f} % again" in lesson_02


def test_lesson_02_states_the_measured_variance(project: Path, lesson_02: str) -> None:
    ratios = read(project, "variance_zoo.json")["ratios"]

    def row(of: str, over: str = "photographs") -> dict:
        asked = {"residual": "denoising", "view": "unchanged", "of": of, "over": over}
        return next(row for row in ratios if row.items() >= asked.items())

    gans, diffusion, native = row("GANs"), row("diffusion models"), row("generators", "photographs at native size")
    numbers = [f"{gans[place]['value']:.0f}" for place in ("halves", "quarters", "eighths")]
    assert "{} times at halves, {} at quarters, {} at eighths".format(*numbers) in lesson_02
    half = diffusion["halves"]
    assert f"{half['value']:.1f} at halves, with an interval from {half['low']:.2f} to {half['high']:.0f}" in lesson_02
    assert gans["elsewhere"]["low"] < 1 < gans["elsewhere"]["high"]
    half = native["halves"]
    assert (
        f"is {half['value']:.1f} for all twelve generators (interval {half['low']:.1f} to {half['high']:.0f})"
        in lesson_02
    )
    assert f"instead of {row('generators')['halves']['value']:.1f}" in lesson_02


def test_lesson_02_states_how_long_the_zoo_took(project: Path, lesson_02: str) -> None:
    cards = [json.loads(path.read_text("utf-8")) for path in (project / "data" / "zoo" / "cards").glob("*.json")]
    minutes = sum(card["training"]["seconds"] for card in cards) / 60
    assert f"they took {minutes // 60:.0f} hour and {minutes % 60:.0f} minutes on a CPU" in lesson_02


def test_the_page_states_what_developing_crops_anew_gives(project: Path) -> None:
    plain, developed = (
        {row["score"]: row["mean"] for row in read(project, name)["means"]}
        for name in ("wild_holdout.json", "wild_holdout_camera.json")
    )
    said = (
        f"the head has a mean AUC of {developed['head']:.2f} instead of {plain['head']:.2f} "
        f"and all parts together {developed['all']:.2f} as before"
    )
    assert said in (project / "docs" / "results.md").read_text(encoding="utf-8")
    assert f"{plain['all']:.2f}" == f"{developed['all']:.2f}"


def unseen_ap(project: Path, name: str) -> list[dict[str, float]]:
    means = [mean for mean in read(project, name)["means"] if mean["over"] == "unseen"]
    return [mean["metrics"]["ap"] for mean in sorted(means, key=lambda mean: mean["tier"])]


def points(ap: dict[str, float]) -> str:
    return f"{100 * ap['value']:.1f} [{100 * ap['low']:.1f}, {100 * ap['high']:.1f}]"


def test_the_page_states_what_three_times_the_steps_give(project: Path) -> None:
    page = (project / "docs" / "results.md").read_text(encoding="utf-8")
    known, new = unseen_ap(project, "wild_long_ntf.json")
    assert f"ranked no better: {points(known)} and {points(new)} for NTF" in page
    said = []
    for name in ("difference", "difference_npr", "difference_ensemble"):
        known, new = unseen_ap(project, f"wild_long_{name}.json")
        said.append(f"{points(known)} and {points(new)}")
        assert known["low"] > 0 > new["low"]
    pixels, differences, joined = said
    assert (
        f"cross-entropy on pixels is then {pixels}, to that on pixel differences {differences}, "
        f"and to the three joined {joined} (`wild_long_*.json`)" in page
    )


def test_a_longer_training_is_no_better_on_test_images(project: Path) -> None:
    for name in ("ntf", "cross_entropy", "npr", "ntf_pixels", "ntf_difference", "cross_entropy_ensemble"):
        pairs = zip(unseen_ap(project, f"wild_{name}.json"), unseen_ap(project, f"wild_long_{name}.json"), strict=True)
        assert all(abs(long["value"] - short["value"]) < 0.02 for short, long in pairs)
