"""Is this machine ready for the course? One finding per line, each ok, a warning, or a failure."""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import torch

from helpers.data import catalog
from helpers.data.manifest import verify
from helpers.errors import NaturalTracesError

__all__ = ["Finding", "examine"]

_OLDEST_TORCH, _OLDEST_TORCHVISION = (2, 6), (0, 21)


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        status: "ok", "warn" (the course runs, with less) or "fail" (it does not).
        detail: One clause.
    """

    check: str
    status: str
    detail: str


def examine() -> list[Finding]:
    """Look at everything that the course needs.

    Returns:
        One finding per check, in a fixed order.
    """
    checks = (_python, _torch, _torchvision, _devices, _threads, _photographs, _textures, _benchmark)
    return [check() for check in checks]


def _python() -> Finding:
    status = "ok" if sys.version_info >= (3, 11) else "fail"
    return Finding("python", status, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _package(name: str, oldest: tuple[int, int]) -> Finding:
    """Compare an installed version with the oldest that the course supports."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "fail", "not installed")
    numbers = tuple(int(part) for part in found.split("+")[0].split(".")[:2])
    wanted = ".".join(map(str, oldest))
    return (
        Finding(name, "ok", found) if numbers >= oldest else Finding(name, "fail", f"{found}, needs {wanted} or later")
    )


def _torch() -> Finding:
    return _package("torch", _OLDEST_TORCH)


def _torchvision() -> Finding:
    return _package("torchvision", _OLDEST_TORCHVISION)


def _devices() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Finding("devices", "ok", f"{len(names)} CUDA: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Finding("devices", "ok", "Apple GPU (MPS)")
    return Finding("devices", "ok", "CPU only, which is all that the lessons need")


def _threads() -> Finding:
    cores, used = os.cpu_count() or 1, torch.get_num_threads()
    status = "ok" if used <= cores else "warn"
    return Finding("threads", status, f"torch uses {used} of {cores} cores")


def _embedded(name: str, load: Callable[[], pd.DataFrame]) -> Finding:
    """Verify every file of an embedded set."""
    try:
        df = load()
        problems = verify(df, None)
    except NaturalTracesError as error:
        return Finding(name, "fail", str(error))
    if problems:
        first = problems[0]
        return Finding(name, "fail", f"{len(problems)} problem(s), the first: {first.path}: {first.detail}")
    return Finding(name, "ok", f"{len(df)} files verified")


def _photographs() -> Finding:
    return _embedded("photographs", catalog.photographs)


def _textures() -> Finding:
    return _embedded("textures", catalog.textures)


def _benchmark() -> Finding:
    """Say whether a benchmark of real generators lies on this machine; without one the course still runs."""
    folder = catalog.benchmark_folder()
    if folder is None:
        return Finding("benchmark", "warn", f"not found (optional); {catalog.DATA_VARIABLE} may point to it")
    try:
        df, _ = catalog.load("benchmark")
    except NaturalTracesError as error:
        return Finding("benchmark", "fail", str(error))
    return Finding("benchmark", "ok", f"{len(df):,} images in {folder}")
