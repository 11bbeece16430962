"""Set-up: the lock, pyproject.toml and environment.yml name the same packages, and the lock can be trusted anywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "huggingface-hub": "huggingface_hub",
    "pillow-heif": "pillow_heif",
}
PIP_ONLY = {"hatchling", "editables", "playwright"}
"""Build tools of the pip installation, and the browser driver of maintainers."""


def requirements(project: Path) -> dict[str, str]:
    """Package -> its range, of pyproject.toml."""
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = table["dependencies"] + table["optional-dependencies"]["dev"]
    split = [re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", line) for line in lines]
    return {match[1].lower(): match[2].replace(" ", "") for match in split if match}


@pytest.fixture(scope="module")
def lock(project: Path) -> str:
    return (project / "requirements.lock").read_text(encoding="utf-8")


def test_every_locked_package_is_exact_and_hashed(lock: str) -> None:
    entries = re.findall(
        r"^([A-Za-z0-9_.-]+)(\S*)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", lock, re.MULTILINE
    )
    packages = re.findall(r"^[A-Za-z0-9_.-]+", lock, re.MULTILINE)
    assert len(entries) == len(packages) > 100
    assert all(version.startswith("==") for _, version, _ in entries)


def test_the_lock_names_no_index_and_no_file(lock: str) -> None:
    requirement_lines = [line for line in lock.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in requirement_lines if re.search(r"://|--(extra-)?index-url|--find-links|@ ", line)]


def test_the_lock_holds_every_requirement(project: Path, lock: str) -> None:
    locked = {name.lower() for name in re.findall(r"^[A-Za-z0-9_.-]+", lock, re.MULTILINE)}
    assert sorted(set(requirements(project)) - locked) == []


def test_conda_users_get_the_same_packages_each_with_a_reason(project: Path) -> None:
    text = (project / "environment.yml").read_text(encoding="utf-8")
    listed = yaml.safe_load(text)["dependencies"]
    ranges = {re.split(r"[ <>=]", entry)[0]: entry.partition(" ")[2] for entry in listed if isinstance(entry, str)}
    for name, wanted in requirements(project).items():
        if name not in PIP_ONLY:
            assert ranges.get(CONDA_NAMES.get(name, name), "missing") == wanted, name
    lines = [
        line for line in text.partition("dependencies:")[2].splitlines() if line.strip() and line.strip() != "- pip:"
    ]
    assert [line for line in lines if "  # " not in line] == []
