"""The workflow for GitHub Actions: it calls what exists, on the versions that the project names."""

import re
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="module")
def jobs(project: Path) -> dict[str, dict]:
    return yaml.safe_load((project / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]


def commands(job: dict) -> list[str]:
    return [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_every_target_of_make_exists(project: Path, jobs: dict[str, dict]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {line.split()[1] for job in jobs.values() for line in commands(job) if line.startswith("make ")}
    assert "test" in called
    assert called <= targets


def test_three_systems_oldest_and_newest_python(project: Path, jobs: dict[str, dict]) -> None:
    assert jobs["windows"]["runs-on"] == "windows-latest"
    assert jobs["make"]["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest"]
    conda = (project / "environment.yml").read_text(encoding="utf-8")
    oldest, below = re.search(r"python >=3\.(\d+),<3\.(\d+)", conda).groups()
    for name in ("make", "windows"):
        assert jobs[name]["strategy"]["matrix"]["python"] == [f"3.{oldest}", f"3.{int(below) - 1}"]


def test_windows_runs_what_make_test_runs(project: Path, jobs: dict[str, dict]) -> None:
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    parts = re.findall(r"^(?:lint|unit|notebooks):.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    wanted = {line.strip().replace("$(RUN)", "python") for part in parts for line in part.splitlines()}
    assert wanted - {"python -m ruff format --check ."} <= set(commands(jobs["windows"]))  # line ends differ there
