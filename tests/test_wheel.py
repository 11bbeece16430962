"""The wheel works alone: without a checkout, from another folder."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from helpers.data.images import encode_png


@pytest.fixture(scope="module")
def unpacked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` would put into site-packages."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def call(unpacked: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the unpacked wheel from another folder, with no data set in reach."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "NATURAL_TRACES_CACHE": str(folder / "cache")}
    environment.pop("NATURAL_TRACES_DATA", None)
    return subprocess.run(
        [sys.executable, "-m", "helpers", *words],
        cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_wheel_holds_what_commands_need_and_no_more(unpacked: Path) -> None:
    data = unpacked / "helpers" / "_data"
    assert (data / "detectors" / "ntf" / "weights.safetensors").is_file()
    assert (data / "configs" / "ntf.toml").is_file()
    assert (data / "catalog" / "benchmark.csv.xz").is_file()
    assert sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file()) < 12_000_000


@pytest.mark.slow
def test_the_source_distribution_is_a_checkout_and_installs_the_same(
    project: Path, unpacked: Path, tmp_path: Path
) -> None:
    """As `pip install ./natural_traces-*.tar.gz` without a network."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        "Makefile",
        "requirements.lock",
        "notebooks/00_start_here.ipynb",
        "data/zoo/images.zip",
        "docs/setup.md",
    }
    assert expected <= names
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]
    place = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", *install, "--target", str(place), str(sdist)], check=True, capture_output=True
    )
    files = [{path.relative_to(one / "helpers") for path in one.rglob("helpers/**/*")} for one in (unpacked, place)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["cache", "info"], ["data", "list"]])
def test_what_needs_no_data_runs(unpacked: Path, tmp_path: Path, words: list[str]) -> None:
    done = call(unpacked, tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
def test_a_picture_is_scored_by_the_shipped_detector(unpacked: Path, tmp_path: Path) -> None:
    img = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "a.png").write_bytes(encode_png(img))
    done = call(unpacked, tmp_path, "score", "a.png", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verdict"] in ("photograph", "generated")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "--list"], "data/results: not found: it lies in a checkout of the project only"),
        (["evaluate", "--detector", "x"], "benchmark: no such data set"),
    ],
)
def test_what_does_not_ship_is_said_in_one_line(unpacked: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = call(unpacked, tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
