"""How fast a detector scores and learns on this machine, and what holds it up.

Every row gives what a step or an image costs in processor time as well, since the wall's clock also counts what else
the machine does meanwhile. Images are embedded photographs, mirrored until they fill the wanted size.
"""

import importlib
import io
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from helpers.data import catalog
from helpers.data.image_set import ImageSet
from helpers.data.images import Image, decode, encode_jpeg, encode_png, read_image
from helpers.data.manifest import resolve
from helpers.detectors.base import Detector, read_ahead, windows
from helpers.detectors.config import DetectorError, LoopConfig
from helpers.detectors.crops import BalancedCrops, PhotographViews
from helpers.detectors.ntf.detector import NaturalTraceConfig, NaturalTraceDetector, make_pools
from helpers.detectors.ntf.pretrained import PretrainedConfig, PretrainedTraceDetector
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceMapping
from helpers.detectors.ntf.stage2 import SoftTransfer
from helpers.detectors.pool import BalancedMaps, PhotographMaps, build_pool
from helpers.detectors.registry import load_detector, make_detector
from helpers.detectors.runtime import RuntimeNetwork, RuntimeUnavailableError, accelerate, export
from helpers.detectors.statement import explain, patch_map
from helpers.training import FitConfig, Task, fit

__all__ = ["Row", "backends", "find_peer", "measure_speed", "on_device", "scoring", "statement", "training"]

POOL = 420
"""Examples of a pool that is described for the bench."""


@dataclass(frozen=True)
class Row:
    """One thing that was timed; `ratio` is its rate as a share of that of all of scoring, where it is a part of it.

    Attributes:
        part: What.
        unit: What is counted.
        per_second: How many by the wall's clock.
        cpu_ms: Milliseconds of processor time for one, over all threads and processes; NaN where a GPU does the work.
        note: Further numbers in words.
    """

    part: str
    unit: str
    per_second: float
    cpu_ms: float
    note: str = ""
    ratio: float | None = None


class Clock:
    """Seconds by the wall and of the processor."""

    wall = 0.0
    cpu = 0.0

    def row(self, part: str, unit: str, count: int, note: str = "") -> Row:
        """Divide by a count."""
        return Row(part, unit, count / self.wall, 1000 * self.cpu / count, note)


@contextmanager
def timed() -> Iterator[Clock]:
    """Time what is inside."""
    clock, wall, cpu = Clock(), time.perf_counter(), time.process_time()
    yield clock
    clock.wall, clock.cpu = time.perf_counter() - wall, time.process_time() - cpu


# Scoring


def photographs(least: int) -> list[Image]:
    """Read the embedded photographs whose sides have at least `least` pixels."""
    images = (read_image(resolve(path, None)) for path in catalog.photographs()["path"])
    return [img for img in images if min(img.shape[1:]) >= least]


def filled(img: Image, side: int) -> Image:
    """Mirror an image until it fills a square: uint8 (3, side, side)."""
    both = torch.cat([img, img.flip(2)], dim=2)
    both = torch.cat([both, both.flip(1)], dim=1)
    down, right = (-(-side // length) for length in both.shape[1:])
    return both.repeat(1, down, right)[:, :side, :side].contiguous()


def write_images(folder: Path, count: int, side: int) -> list[Path]:
    """Write PNG files."""
    pictures = photographs(64)
    paths = [folder / f"{number}.png" for number in range(count)]
    encoded = [encode_png(filled(img, side)) for img in pictures[:count]]
    for number, path in enumerate(paths):
        path.write_bytes(encoded[number % len(encoded)])
    return paths


Peer = Callable[[Sequence[Path]], Sequence[float]]
"""Another scorer: paths of image files -> one number for each."""


def find_peer(name: str) -> Peer:
    """Import another scorer.

    Args:
        name: `module:function`; the function takes a list of paths and returns as many scores.

    Raises:
        DetectorError: There is no such function.
    """
    module, _, function = name.partition(":")
    try:
        peer = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectorError(f"--peer {name}: needs module:function ({error})") from None
    if not callable(peer):
        raise DetectorError(f"--peer {name}: is no function")
    return cast(Peer, peer)


def peer_row(name: str, peer: Peer, paths: Sequence[Path]) -> Row:
    """Time another scorer on the same files; one file is scored before, so that loading is not counted."""
    peer(list(paths[:1]))
    with timed() as clock:
        scores = peer(list(paths))
    if len(scores) != len(paths):
        raise DetectorError(f"--peer {name}: gave {len(scores)} scores of {len(paths)} images")
    return clock.row(f"peer {name}", "image", len(paths))


def scoring(detector: Detector, paths: Sequence[Path], folder: Path, processes: int) -> list[Row]:
    """Time decoding, cutting, the input pipeline and the network apart, then all of it with threads and processes."""
    count, config = len(paths), detector.config
    detector.score_files(paths[:2])
    with timed() as decoding:
        images = [read_image(path) for path in paths]
    with timed() as cutting:
        cut = [[view.clone() for view in windows(img, config.window, config.windows)] for img in images]
    del images
    with timed() as network:
        detector.score_cut(cut)
    threads = torch.get_num_threads()
    with timed() as pipeline:
        for _ in read_ahead(
            lambda path: [view.clone() for view in detector.views(read_image(path))], paths, threads, 8
        ):
            pass
    with timed() as whole:
        detector.score_files(paths, threads=threads)
    note = f"{len(cut[0])} windows of {cut[0][0].shape[-1]} pixels"
    rows = [
        decoding.row("decoding", "image", count, "1 thread"),
        cutting.row("windows", "image", count, "1 thread"),
        pipeline.row("pipeline", "image", count, f"decoding and windows, {threads} thread(s)"),
        network.row("network", "image", count, f"{note}, {threads} thread(s)"),
        whole.row("all of it", "image", count, f"{threads} thread(s) for the network, {threads} to decode"),
    ]
    rows = [replace(row, ratio=row.per_second / rows[-1].per_second) for row in rows]
    if processes:
        detector.save(folder / "detector")
        runtime = detector.runtime is not None
        rows += [in_processes(folder / "detector", paths, count, runtime) for count in sorted({1, processes})]
    return rows


# A statement


def statement(detector: Detector, megapixels: float = 12, repeats: int = 3) -> list[Row]:
    """Time the way from the bytes of a JPEG of four to three to a statement, and its largest parts, on one core.

    Args:
        detector: Trained; what it computes once, such as the vectors of known photographs, is not counted.
        megapixels: Of the picture, an embedded photograph that is mirrored until it fills the size.
        repeats: Times.

    Returns:
        One row each; the ratio is the rate as a share of that of the whole statement.
    """
    width = max(64, round((megapixels * 1e6 * 4 / 3) ** 0.5))
    data = encode_jpeg(filled(photographs(64)[0], width)[:, : width * 3 // 4], 92)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        told, img = explain(data, detector), decode(data)
        views = [[view.clone() for view in detector.views(img)]]
        parts: dict[str, Callable[[], Any]] = {
            "decode": lambda: decode(data),
            "score": lambda: detector.score_cut(views),
            "map of windows": lambda: patch_map(detector, img),
            "statement": lambda: explain(data, detector),
            "page as HTML": told.to_html,
        }
        rows = [_repeated(name, part, repeats) for name, part in parts.items()]
    finally:
        torch.set_num_threads(threads)
    whole = next(row for row in rows if row.part == "statement")
    return [replace(row, ratio=row.per_second / whole.per_second) for row in rows]


def _repeated(name: str, work: Callable[[], Any], repeats: int) -> Row:
    work()
    with timed() as clock:
        for _ in range(repeats):
            work()
    return clock.row(name, "picture", repeats)


# Other ways to compute the network


def backends(detector: Detector, count: int = 8, repeats: int = 5) -> list[Row]:
    """Time the network by torch, channels-last, bfloat16, ONNX Runtime and OpenVINO; those that are installed.

    Args:
        detector: Trained, on the processor.
        count: Windows at a time.
        repeats: Times.

    Returns:
        One row each: windows per second, processor time, and the largest difference of a score from torch's.
    """
    side = detector.config.window
    pictures = [filled(img, side) for img in photographs(64)]
    images = torch.stack([pictures[number % len(pictures)] for number in range(count)])
    ways: dict[str, Callable[[], Any]] = {"torch": lambda: detector.logit(images)}
    last = images.contiguous(memory_format=torch.channels_last)
    ways["torch, channels-last"] = lambda: detector.logit(last)

    def half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return detector.logit(last).float()

    ways["torch, channels-last, bfloat16"] = half
    with suppress(RuntimeUnavailableError):
        network = RuntimeNetwork(detector)
        ways["ONNX Runtime"] = lambda: network(images)
    ways |= _openvino(detector, images)
    rows = []
    with torch.inference_mode():
        expected = detector.eval().logit(images)
        for name, way in ways.items():
            apart = float((torch.as_tensor(way()) - expected).abs().max())
            with timed() as clock:
                for _ in range(repeats):
                    way()
            rows.append(clock.row(name, "window", count * repeats, f"scores differ by at most {apart:.1g}"))
    return [replace(row, ratio=rows[0].cpu_ms / row.cpu_ms) for row in rows]


def _openvino(detector: Detector, images: Tensor) -> dict[str, Callable[[], Any]]:
    """Compile the exported network by OpenVINO for windows of this size, if it is installed."""
    try:
        import openvino
    except ImportError:
        return {}
    try:
        model = openvino.Core().read_model(io.BytesIO(export(detector, images.shape[-1])))
        model.reshape(list(images.shape))
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(model, "CPU", settings)
    except RuntimeError:  # it does not know every operation
        return {}
    return {"OpenVINO": lambda: compiled(images.numpy())[0]}


_loaded: Detector | None = None


def _prepare(folder: Path, first: Path, accelerated: bool, barrier: Barrier) -> None:
    """Load the detector and warm up; go on when all processes are ready."""
    global _loaded
    torch.set_num_threads(1)
    _loaded = accelerate(load_detector(folder)) if accelerated else load_detector(folder)
    _loaded.score_files([first])
    barrier.wait()


def _score_part(paths: list[Path]) -> float:
    """Score some files; return the processor time."""
    assert _loaded is not None
    with timed() as clock:
        _loaded.score_files(paths, threads=1)
    return clock.cpu


def in_processes(folder: Path, paths: Sequence[Path], processes: int, accelerated: bool = False) -> Row:
    """Time scoring by processes of one thread each, which share the files; starting them is not counted.

    Args:
        folder: Of the detector.
        paths: The files.
        processes: How many.
        accelerated: Whether ONNX Runtime computes the network, see `helpers.detectors.runtime`.
    """
    context = multiprocessing.get_context("spawn")
    parts = [list(paths[number::processes]) for number in range(processes)]
    barrier = context.Barrier(processes)
    with context.Pool(processes, _prepare, (folder, paths[0], accelerated, barrier)) as pool:
        pool.map(_score_part, [[]] * processes, chunksize=1)
        with timed() as clock:
            clocks = pool.map(_score_part, parts, chunksize=1)
    clock.cpu = sum(clocks)
    return clock.row("all of it", "image", len(paths), f"{processes} processes of one thread")


# Training


class Repeated(Dataset[Any]):
    """The first two examples of a data set again and again: input that costs nothing."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.length, self.examples = len(dataset), [dataset[0], dataset[1]]  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        return self.examples[index % 2]


def training_images(size: int) -> ImageSet:
    """Photographs, and blurred copies in the place of fakes."""
    from torchvision.transforms.v2 import functional as tvf  # seconds to import

    reals = photographs(size)
    fakes = [tvf.gaussian_blur(img, [3, 3]) for img in reals]
    rows = [{"label": "real", "generator": "", "family": "", "source": "photographs"}] * len(reals)
    rows += [{"label": "fake", "generator": "blur", "family": "", "source": "photographs"}] * len(fakes)
    return ImageSet.of(reals + fakes, pd.DataFrame(rows))


Stage = tuple[str, Callable[[], Task], Dataset[Any], int]


def training(config: LoopConfig, steps: int, folder: Path) -> list[Row]:
    """Time steps of both stages, with their own input and with input that costs nothing.

    Args:
        config: Of `ntf` or `ntf_pretrained`.
        steps: Of each stage.
        folder: For checkpoints.

    Raises:
        DetectorError: Of another kind.
    """
    if isinstance(config, PretrainedConfig):
        stages, rows = _pretrained_stages(config, folder)
    elif isinstance(config, NaturalTraceConfig):
        stages, rows = _stages(config)
    else:
        raise DetectorError(f"bench: times the training of ntf and ntf_pretrained, not of {config.kind}")
    for name, task, dataset, size in stages:
        settings = replace(config.fit_config(steps, max(size, 4)), checkpoint_every=steps, progress=False)
        fit(task(), Repeated(dataset), replace(settings, steps=2), folder / "warm", resume=False)
        own, free = (_fit_row(name, task(), data, settings, folder) for data in (dataset, Repeated(dataset)))
        share = own.per_second / free.per_second
        note = f"batch of {settings.batch_size}, {share:.2f} of the steps with input that costs nothing"
        rows.append(replace(own, note=f"{note} ({free.cpu_ms:.1f} CPU ms)", ratio=share))
    return rows


def _pretrained_stages(config: PretrainedConfig, folder: Path) -> tuple[list[Stage], list[Row]]:
    """Both stages of `ntf_pretrained` on a pool, and what describing the pool costs."""
    images, detector = training_images(config.size), make_detector(config.changed(decoders=""))
    assert isinstance(detector, PretrainedTraceDetector)
    lower = detector.lower.eval().to(memory_format=torch.channels_last)
    with timed() as clock:
        pool = build_pool(images, lower, config.plan, folder / "pool")
    row = clock.row("describing the pool", "crop", len(pool), "label-blind histories included; once for all trainings")
    teacher = TraceEncoder(detector.student.backbone, config.embedding)
    bank = F.normalize(torch.randn(config.prototypes, config.embedding, generator=torch.Generator().manual_seed(0)))
    rate = config.learning_rate
    stages: list[Stage] = [
        ("stage 1", lambda: TraceMapping(teacher, config.terms, rate), PhotographMaps(pool), config.batch_size // 4),
        (
            "stage 2",
            lambda: SoftTransfer(detector.student, teacher, bank, config.transfer, learning_rate=rate),
            BalancedMaps(pool),
            config.batch_size,
        ),
    ]
    return stages, [row]


def _stages(config: NaturalTraceConfig) -> tuple[list[Stage], list[Row]]:
    """Both stages of `ntf`, and what describing the pool costs."""
    detector = make_detector(config)
    assert isinstance(detector, NaturalTraceDetector)
    images, rows = training_images(config.size), list[Row]()
    views: Dataset[Any] = PhotographViews(images, config.augmentation, config.seed)
    crops: Dataset[Any] = BalancedCrops(images, config.augmentation, config.seed)
    if config.pool:
        with timed() as clock:
            pools = make_pools(images, config.changed(pool=POOL))
        views, crops = pools.views, pools.crops
        described = len(pools.crops) + 4 * len(pools.views)
        in_all = config.pool + 4 * (config.pool // 3)
        rows.append(clock.row("describing the pool", "crop", described, f"once per training: {in_all:,} crops"))
    bank = F.normalize(torch.randn(config.prototypes, config.embedding, generator=torch.Generator().manual_seed(0)))

    def stage2() -> Task:
        return SoftTransfer(detector.student, detector.teacher, bank, config.transfer)

    stages: list[Stage] = [
        ("stage 1", lambda: TraceMapping(detector.teacher, config.terms), views, config.batch_size // 4),
        ("stage 2", stage2, crops, config.batch_size),
    ]
    return stages, rows


def _fit_row(name: str, task: Task, dataset: Dataset[Any], settings: FitConfig, folder: Path) -> Row:
    cpu = time.process_time()
    seconds = fit(task, dataset, settings, folder / name, resume=False).seconds
    return Row(name, "step", settings.steps / seconds, 1000 * (time.process_time() - cpu) / settings.steps)


# GPU


def on_device(detector: Detector, device: torch.device, batch: int = 64, repeats: int = 20) -> list[Row]:
    """Time the network alone on a GPU, in float32 and in bfloat16, and compare with a large matrix product.

    Args:
        detector: Any.
        device: Where to.
        batch: Windows at a time.
        repeats: Batches that are timed.

    Returns:
        One row for each precision; the note states the share of the rate of a bfloat16 product of 4096 x 4096.
    """
    side = detector.config.window
    detector = detector.to(device).eval()
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        detector.logit(images[:1])
    square = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)
    peak = 2 * 4096**3 * _rate(lambda: square @ square, device, repeats)
    rows = []
    for name, half in (("float32", False), ("bfloat16", True)):

        def forward(half: bool = half) -> Tensor:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
                return detector.logit(images)

        rate = batch * _rate(forward, device, repeats)
        share = counter.get_total_flops() * rate / peak
        rows.append(Row(f"network, {name}", "window", rate, float("nan"), f"{share:.3f} of a bfloat16 product's rate"))
    return rows


def _rate(work: Callable[[], Tensor], device: torch.device, repeats: int) -> float:
    """Calls per second."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return repeats / (time.perf_counter() - start)


def measure_speed(
    detector: Detector,
    config: LoopConfig,
    *,
    images: int,
    side: int,
    steps: int,
    processes: int,
    peers: Sequence[str] = (),
) -> list[Row]:
    """Time scoring of PNG images (decoding and network apart) and training (with and without the cost of input).

    Args:
        detector: Scores.
        config: Settings of the detector that is trained.
        images: Images to score.
        side: Their side in pixels.
        steps: Training steps.
        processes: Processes that score side by side; 0 leaves them out.
        peers: Other scorers, each `module:function`, that are timed on the same files.

    Returns:
        One row for each thing that was timed; on a GPU the network alone as well.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        known = {name: find_peer(name) for name in peers}
        paths = write_images(folder, images, side)
        rows = scoring(detector, paths, folder, processes)
        whole = next(row for row in rows if row.part == "all of it").per_second
        others = [peer_row(name, peer, paths) for name, peer in known.items()]
        rows += [replace(row, ratio=row.per_second / whole) for row in others]
        rows += training(config, steps, folder)
    if torch.cuda.is_available():
        rows += on_device(detector, torch.device("cuda"))
    return rows
