"""Settings and fixtures that every test shares."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Two cores, several test processes: one thread each keeps numbers repeatable and the machine responsive.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# Tests neither read nor fill the caches of the one who runs them.
_CACHE = tempfile.TemporaryDirectory(prefix="natural-traces-")
os.environ["NATURAL_TRACES_CACHE"] = _CACHE.name

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-lessons", action="store_true", help="open every lesson in a real browser")


@pytest.fixture(autouse=True)
def no_figure_left_open() -> Iterator[None]:
    """Close what a test drew, so that no test sees the figures of another."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def benchmark_root() -> Path:
    root = os.environ.get("NATURAL_TRACES_DATA")
    if not root:
        pytest.skip("NATURAL_TRACES_DATA does not name the folder that holds benchmark/manifest.csv")
    folder = Path(root).resolve() / "benchmark"
    if not (folder / "manifest.csv").is_file():
        pytest.skip("there is no benchmark/manifest.csv below NATURAL_TRACES_DATA")
    return folder
