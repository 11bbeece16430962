"""`natural-traces doctor`: is this machine ready for the course? One finding a line: ok, a warning, or a failure."""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from helpers.cli import Status
from helpers.cli.common import AsJson, print_json
from helpers.errors import NaturalTracesError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "doctor", "examine"]

_OLDEST_TORCH, _OLDEST_TORCHVISION = (2, 6), (0, 21)


def doctor(as_json: AsJson = False) -> None:
    """Say whether this machine is ready for the course; exit status 2 if something is missing."""
    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.status:<5}{finding.check:<13}{finding.detail}")
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(Status.FAILED)


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
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, "fail", "not installed")
    numbers = tuple(int(part) for part in installed.split("+")[0].split(".")[:2])
    wanted = ".".join(map(str, oldest))
    return (
        Finding(name, "ok", installed)
        if numbers >= oldest
        else Finding(name, "fail", f"{installed}, needs {wanted} or later")
    )


def _torch() -> Finding:
    return _package("torch", _OLDEST_TORCH)


def _torchvision() -> Finding:
    return _package("torchvision", _OLDEST_TORCHVISION)


def _devices() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Finding("devices", "ok", f"{len(names)} CUDA: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Finding("devices", "ok", "Apple GPU (MPS)")
    return Finding("devices", "ok", "CPU only, which is all that the lessons need")


def _threads() -> Finding:
    import torch

    cores, used = os.cpu_count() or 1, torch.get_num_threads()
    status = "ok" if used <= cores else "warn"
    return Finding("threads", status, f"torch uses {used} of {cores} cores")


def _embedded(name: str, load: "Callable[[], pd.DataFrame]") -> Finding:
    """Verify every file of an embedded set."""
    from helpers.data.manifest import verify

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
    from helpers.data import catalog

    return _embedded("photographs", catalog.photographs)


def _textures() -> Finding:
    from helpers.data import catalog

    return _embedded("textures", catalog.textures)


def _benchmark() -> Finding:
    """Say whether a benchmark of real generators lies on this machine; without one the course still runs."""
    from helpers.data import catalog
    from helpers.data.places import DATA_VARIABLE, data_root, data_sets

    if "benchmark" not in data_sets():
        hint = f"{DATA_VARIABLE} names the folder that holds benchmark/manifest.csv, now {data_root()}"
        return Finding("benchmark", "warn", f"not found (optional); {hint}")
    try:
        df, folder = catalog.load("benchmark")
    except NaturalTracesError as error:
        return Finding("benchmark", "fail", str(error))
    return Finding("benchmark", "ok", f"{len(df):,} images in {folder}")
