"""Set-up: the lock, pyproject.toml and environment.yml name the same packages, and the lock can be trusted anywhere."""

import os
import re
import shutil
import subprocess
import sys
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


def start_cell(project: Path) -> str:
    text = (project / "docs" / "setup.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- start cell.*?-->\n```python\n(.*?)```", text, re.DOTALL)
    assert match
    return match[1]


def test_the_start_cell_fetches_the_course_and_finds_it(project: Path, tmp_path: Path) -> None:
    """As on Colab: an empty folder, a Python that has the packages and does not know the project."""
    if not (project / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no git checkout")
    cell = start_cell(project)
    assert cell.count('"https://github.com/OWNER/natural-traces"') == 1
    cell = cell.replace("https://github.com/OWNER/natural-traces", f"file://{project}")
    cell += "\nimport check_kernel, helpers.errors\nprint(missing, helpers.errors.__file__)\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for _ in range(2):  # the cell may run again
        done = subprocess.run(
            [sys.executable, "-c", cell], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["[]", str(tmp_path / "natural-traces" / "helpers" / "errors.py")]


def import_check_kernel(folder: Path, path: list[Path]) -> subprocess.CompletedProcess[str]:
    """Import it beside the notebooks by a Python that sees nothing but the standard library and `path`."""
    code = f"import sys; sys.path[1:1] = {[str(one) for one in path]!r}; import check_kernel"
    return subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_kernel_without_the_course_is_told_so(project: Path) -> None:
    for folder in (project / "notebooks", project / "notebooks" / "solutions"):
        done = import_check_kernel(folder, [])
        assert done.returncode == 1
        assert f"KernelError: This kernel runs {sys.executable}, where the course is not" in done.stderr


def test_a_package_that_hides_the_course_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    done = import_check_kernel(project / "notebooks", [tmp_path, project])
    assert f"another package named `helpers` hides the course's: {tmp_path / 'helpers'}." in done.stderr


def test_what_the_kernel_lacks_is_named(project: Path) -> None:
    assert "which lacks torch, numpy" in import_check_kernel(project / "notebooks", [project]).stderr


def test_a_kernel_of_the_course_passes_in_both_folders(project: Path) -> None:
    files = [project / "notebooks" / "check_kernel.py", project / "notebooks" / "solutions" / "check_kernel.py"]
    assert files[0].read_bytes() == files[1].read_bytes()
    for file in files:
        done = subprocess.run(
            [sys.executable, "-c", "import check_kernel"],
            cwd=file.parent,
            env={**os.environ, "PYTHONPATH": str(project)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
