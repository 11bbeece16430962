"""What lesson 08 measures and models: where the time of an image goes, what a machine can do, and what a job costs.

Measured numbers are processor time, since the wall's clock also counts what else the machine does meanwhile.
"""

import copy
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.data.images import Image, decode, encode_jpeg, encode_png
from helpers.detectors.base import Detector, windows
from helpers.detectors.speed import filled, in_processes, photographs, write_images
from helpers.lessons.lesson04.toys import CircleTask, Pairs
from helpers.training import FitConfig, FitResult, fit

__all__ = [
    "FragileTask",
    "Job",
    "LayerWork",
    "Peaks",
    "amdahl",
    "cpu_seconds",
    "layer_work",
    "machine_peaks",
    "model_jobs",
    "pipeline_rate",
    "price_job",
    "profile",
    "rate_by_workers",
    "scaling",
    "serial_share",
    "shares",
    "train_and_kill",
    "train_toy",
]

FLOAT_BYTES = 4


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Measure the processor time of one call, the mean over some, after one call that is not counted."""
    work()
    before = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - before) / repeats


def profile(detector: Detector, *, count: int = 4, side: int = 1024, quality: int = 92) -> dict[str, float]:
    """Measure where the processor time of scoring goes.

    Args:
        detector: Scores windows of an image.
        count: Images; embedded photographs, mirrored until they fill the side.
        side: Their side in pixels.
        quality: Of the JPEG files.

    Returns:
        Step -> seconds of processor time for one image: decoding a PNG and a JPEG file, cutting windows, the network.
    """
    images = [filled(img, side) for img in photographs(64)[:count]]
    files = {"decode PNG": [encode_png(img) for img in images]}
    files["decode JPEG"] = [encode_jpeg(img, quality) for img in images]
    seconds = {}
    for name, encoded in files.items():
        seconds[name] = cpu_seconds(lambda encoded=encoded: [decode(data) for data in encoded], 2) / count  # type: ignore[misc]
    config = detector.config

    def cut(img: Image) -> list[Tensor]:
        return [view.clone() for view in windows(img, config.window, config.windows)]

    seconds["cut windows"] = cpu_seconds(lambda: [cut(img) for img in images], 2) / count
    pieces = [cut(img) for img in images]
    seconds["network"] = cpu_seconds(lambda: detector.score_cut(pieces), 2) / count
    return seconds


# A pipeline


def pipeline_rate(seconds: Sequence[float], workers: Sequence[int]) -> float:
    """Compute how many images a second leave a pipeline whose stages work side by side.

    Args:
        seconds: What one worker of each stage needs for one image, above 0.
        workers: Of each stage, 1 or more.

    Returns:
        Images per second: that of the slowest stage.
    """
    return min(count / need for need, count in zip(seconds, workers, strict=True))


def rate_by_workers(decode_seconds: float, network_seconds: float, workers: Sequence[int]) -> list[float]:
    """Model the rate of a pipeline with one network and a growing number of workers that decode."""
    return [pipeline_rate([decode_seconds, network_seconds], [count, 1]) for count in workers]


# Several processes


def scaling(
    detector: Detector, folder: Path, processes: Sequence[int], *, count: int = 16, side: int = 1024
) -> dict[int, float]:
    """Measure how many PNG images a second processes of one thread score side by side.

    Args:
        detector: Trained.
        folder: For the images and a copy of the detector.
        processes: How many, one measurement each; starting them is not counted.
        count: Images.
        side: Their side in pixels.

    Returns:
        Number of processes -> images per second by the wall's clock.
    """
    paths = write_images(folder, count, side)
    detector.save(folder / "detector")
    return {number: in_processes(folder / "detector", paths, number).per_second for number in processes}


def amdahl(share: float, processes: int) -> float:
    """Model how many times as fast several processes are as one (Amdahl 1967).

    Args:
        share: Of the time of one process that cannot be spread, 0..1.
        processes: How many.

    >>> amdahl(0.0, 8), amdahl(0.5, 2), amdahl(1.0, 8)
    (8.0, 1.3333333333333333, 1.0)
    """
    return 1 / (share + (1 - share) / processes)


def serial_share(speed_up: float, processes: int) -> float:
    """Find the share of Amdahl's law for a measured speed-up, within 0..1.

    >>> round(serial_share(amdahl(0.2, 2), 2), 6)
    0.2
    """
    return min(1.0, max(0.0, (processes / speed_up - 1) / (processes - 1)))


# A job


@dataclass(frozen=True)
class Job:
    """What it takes to score many images.

    Attributes:
        hours: From start to end.
        cost: In the currency of the price.
    """

    hours: float
    cost: float


def price_job(images: float, rate: float, machines: int, price: float) -> Job:
    """Estimate hours and cost.

    Args:
        images: How many in all.
        rate: Images per second of one machine.
        machines: They share the images evenly.
        price: Of one machine for one hour.

    Returns:
        Hours until all machines are done, and what they cost together.
    """
    hours = images / (rate * machines) / 3600
    return Job(hours, hours * machines * price)


def model_jobs(
    detector: Detector, setting: str, images: float, price: float, cores: Sequence[int], side: int
) -> list[dict[str, Any]]:
    """Model hours and cost of scoring many images from the processor time of a few.

    Args:
        detector: Trained.
        setting: What it is called.
        images: How many in all.
        price: Of one core for one hour.
        cores: Numbers of cores that share the work.
        side: Side of the images in pixels.

    Returns:
        One row for each kind of file and number of cores.
    """
    seconds, rows = profile(detector, side=side), []
    for file in ("PNG", "JPEG"):
        each = seconds[f"decode {file}"] + seconds["cut windows"] + seconds["network"]
        for count in cores:
            job = price_job(images, 1 / each, count, price)
            row = {"setting": setting, "file": file, "cpu_ms": 1000 * each, "cores": count}
            rows.append({**row, "hours": job.hours, "cost": job.cost})
    return rows


# Killed, and resumed


class FragileTask(CircleTask):
    """The toy of stage 2; its process is killed by the system after one step, as when memory runs out.

    Args:
        kill_after: The step; None for no kill.
    """

    def __init__(self, kill_after: int | None = None) -> None:
        super().__init__(coupled=True)
        self.kill_after = kill_after

    def after_step(self, step: int) -> None:
        """End this process, without a word and without a chance to tidy up."""
        if step == self.kill_after:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def train_toy(folder: Path | str, kill_after: int | None = None) -> FitResult:
    """Train the toy for 30 steps with a checkpoint every 10.

    Args:
        folder: For checkpoint and log; a run that is found there is continued.
        kill_after: Step after which the process is killed; None for no kill.

    Returns:
        The trained task.
    """
    config = FitConfig(steps=30, batch_size=16, checkpoint_every=10, accelerator="cpu", progress=False)
    return fit(FragileTask(kill_after), Pairs(), config, Path(folder))


def train_and_kill(folder: Path | str, kill_after: int) -> int:
    """Train the toy in a process of its own, which is killed after a step.

    Args:
        folder: As in `train_toy`.
        kill_after: The step.

    Returns:
        How the process ended: minus the number of the signal on Linux and macOS, such as -9.
    """
    code = f"from {__name__} import train_toy; train_toy({str(folder)!r}, {kill_after})"
    place = str(Path(__file__).parents[3])
    path = os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONPATH": path}).returncode


# The roofline


@dataclass(frozen=True)
class Peaks:
    """What one thread of this machine can do at most.

    Attributes:
        flops: Floating-point operations per second, of a large matrix product in float32.
        bytes: Bytes per second that a large copy reads and writes.
    """

    flops: float
    bytes: float

    def roof(self, intensity: float) -> float:
        """Bound the operations per second of work that does so many operations for each byte."""
        return min(self.flops, self.bytes * intensity)


def machine_peaks(side: int = 768, floats: int = 8_000_000) -> Peaks:
    """Measure both peaks on one thread, the best of five attempts each."""
    left, right, target = torch.rand(side, side), torch.rand(side, side), torch.empty(floats)
    source = torch.rand(floats)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        product = min(cpu_seconds(lambda: left @ right, 2) for _ in range(5))
        copy = min(cpu_seconds(lambda: target.copy_(source), 2) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    return Peaks(2 * side**3 / product, 2 * FLOAT_BYTES * floats / copy)


@dataclass(frozen=True)
class LayerWork:
    """What one convolution does for one image.

    Attributes:
        name: Such as "conv 1".
        flops: Operations; a product and a sum count two.
        bytes: Read and written once each: input, output and weights, in float32.
    """

    name: str
    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.bytes


@torch.inference_mode()
def layer_work(network: nn.Module, inputs: Tensor) -> list[LayerWork]:
    """Count the work of every convolution of a network; exact, whatever the machine.

    Args:
        network: It stays as it is: a copy in training mode is counted, for scoring folds layers together.
        inputs: What it takes, for one image.
    """
    layers: list[LayerWork] = []

    def count(module: nn.Module, taken: tuple[Tensor, ...], made: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        flops = 2 * made.numel() * module.weight[0].numel()
        moved = FLOAT_BYTES * (taken[0].numel() + made.numel() + module.weight.numel())
        layers.append(LayerWork(f"convolution {len(layers) + 1}", float(flops), float(moved)))

    counted = copy.deepcopy(network).train()
    for part in counted.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(count)
    counted(inputs)
    return layers


def shares(seconds: Mapping[str, float], file: str) -> dict[str, float]:
    """Return the share of each step in scoring one kind of file ("PNG" or "JPEG"); they sum to 1."""
    steps = {name: value for name, value in seconds.items() if not name.startswith("decode") or name.endswith(file)}
    total = math.fsum(steps.values())
    return {name: value / total for name, value in steps.items()}
