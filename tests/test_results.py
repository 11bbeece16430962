"""Numbers that lessons state are the numbers in data/results, and those can be made again."""

import json
from pathlib import Path

import pytest

from helpers import catalog
from helpers.statistics import measure


def read(project: Path, name: str) -> dict:
    return json.loads((project / "data" / "results" / name).read_text(encoding="utf-8"))


def test_lesson_00_states_the_measured_audit(project: Path) -> None:
    part = read(project, "audit_benchmark_test.json")["parts"]["main-240"]
    rule = next(result["auc"] for result in part["results"] if result["cue"] == "is it a PNG")
    lesson = (project / "notebooks" / "solutions" / "00_start_here.ipynb").read_text(encoding="utf-8")
    assert f"had an AUC of {rule['value']:.3f}" in lesson
    assert f"from {rule['low']:.2f} to {rule['high']:.2f}" in lesson
    assert f"({part['fake']:,} fakes and {part['real']} photographs" in lesson
    assert f"audit of its {read(project, 'audit_benchmark.json')['images']:,} images" in lesson


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


def test_every_result_names_its_command(project: Path) -> None:
    folder = project / "data" / "results"
    listed = (folder / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in folder.iterdir() if path.name != "README.md")
    assert files
    assert [name for name in files if f"| `{name}` | `python -m helpers " not in listed] == []
