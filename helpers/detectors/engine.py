"""Scoring on many processes or machines with Ray Data: images in folders, buckets or Parquet; Parquet of scores out.

The input is cut into shards by a plan that does not depend on who does them. A worker loads the detector once, scores
one shard after the other, and writes each as one Parquet file that takes its name in one step. So a run that was ended
at any moment is started again and does the shards that are missing; no image is lost or counted twice. A file that
cannot be read is a row that says why.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from helpers.data.images import ImageError
from helpers.data.inputs import ENDINGS, find_inputs
from helpers.data.memory import peak_memory
from helpers.data.parquet import IMAGE, MARK, SUFFIX, open_container, written_whole
from helpers.detectors.predict import Prediction, Source
from helpers.errors import NaturalTracesError

if TYPE_CHECKING:
    from helpers.detectors.base import Detector

__all__ = ["Done", "EngineError", "Shard", "plan", "score_shard", "score_with_ray"]

ROWS = 4096
"""Images of a shard that is made of files."""


class EngineError(NaturalTracesError):
    """A run of the engine that cannot be begun or continued."""


@dataclass(frozen=True)
class Shard:
    """What is scored and written at once.

    Attributes:
        number: Counted from 0.
        of: How many there are.
        paths: Files or addresses of images; empty where the shard is one Parquet file of images.
        parquet: That file, or "".
    """

    number: int
    of: int
    paths: tuple[str, ...] = ()
    parquet: str = ""

    @property
    def name(self) -> str:
        """The file of its scores."""
        return f"scores-{self.number:05d}-of-{self.of:05d}{SUFFIX}"

    def mark(self, detector: str) -> str:
        """Name what is scored, and by which detector, in one number."""
        return hashlib.sha256(json.dumps([self.paths, self.parquet, detector]).encode()).hexdigest()


@dataclass(frozen=True)
class Done:
    """What became of a shard.

    Attributes:
        shard: Its number.
        images: Rows that it has.
        refused: Rows with an error.
        seconds: Scoring took so long; 0 where the file was there already.
        peak_mb: Most memory that the worker has used so far, in MB; 0 where the system does not tell.
    """

    shard: int
    images: int
    refused: int
    seconds: float
    peak_mb: float


# The plan


def plan(inputs: Sequence[str], rows: int = ROWS) -> list[Shard]:
    """Cut inputs into shards.

    Args:
        inputs: Files and folders of images; Parquet files, or folders of them; addresses that fsspec knows, such as
            `s3://bucket/folder`, of which everything that ends like an image is taken.
        rows: Images of a shard.

    Returns:
        The same shards for the same inputs.

    Raises:
        EngineError: There is nothing to score.
    """
    parquet, files, local = list[str](), list[str](), list[str]()
    for text in inputs:
        if "://" in text:
            files += _remote(text)
        elif inside := sorted(Path(text).glob(f"*{SUFFIX}")) if Path(text).is_dir() else []:
            parquet += [str(path) for path in inside]
        elif text.endswith(SUFFIX):
            parquet.append(text)
        else:
            local.append(text)
    listed = find_inputs(local)
    files += [*listed.paths, *listed.refused]
    parts = [tuple(files[start : start + rows]) for start in range(0, len(files), rows)]
    count = len(parts) + len(parquet)
    if not count:
        raise EngineError(f"{', '.join(inputs)}: no picture found")
    shards = [Shard(number, count, paths) for number, paths in enumerate(parts)]
    return shards + [Shard(len(parts) + number, count, (), path) for number, path in enumerate(parquet)]


def _remote(address: str) -> list[str]:
    """List the images below an address; Parquet there must be fetched first."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        names = [path] if system.isfile(path) else sorted(system.find(path))
    except Exception as error:  # every kind of file system raises its own
        raise EngineError(f"{address}: cannot be listed: {' '.join(str(error).split()) or repr(error)}") from None
    return [system.unstrip_protocol(name) for name in names if Path(name).suffix.lower() in ENDINGS]


# One shard


def _sources(shard: Shard) -> Iterator[Source]:
    """Name the images of a shard, with the way to read each."""
    if shard.parquet:
        yield from _parquet_sources(Path(shard.parquet))
        return
    from helpers.data.images import read_bytes

    for path in shard.paths:
        yield Source(path, partial(_fetch, path) if "://" in path else partial(read_bytes, path))


def _parquet_sources(path: Path) -> Iterator[Source]:
    container = open_container(path)
    number = 0
    for group, size in enumerate(container.groups):
        column = container.group(group)
        names = column.column("path").to_pylist() if "path" in container.names else None
        for row in range(size):
            name = names[row] if names else f"row {number}"
            yield Source(f"{path.name}/{name}", partial(_row, container.group(group).column(IMAGE), row, str(name)))
            number += 1


def _row(column: Any, row: int, name: str) -> bytes:  # noqa: ANN401
    data = column[row].as_py()
    data = data["bytes"] if isinstance(data, dict) else data
    if not isinstance(data, bytes):
        raise ImageError(name, "the row holds no image")
    return data


def _fetch(address: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            data: bytes = file.read()
    except Exception as error:  # every kind of file system raises its own
        raise ImageError(address, f"cannot be fetched: {' '.join(str(error).split()) or repr(error)}") from None
    return data


def score_shard(detector: "Detector", shard: Shard, out: Path, mark: str, *, threads: int = 2) -> Done:
    """Score one shard and write its file.

    Args:
        detector: Trained.
        shard: Which.
        out: Folder of the scores.
        mark: Written into the file, see `Shard.mark`.
        threads: Threads that read and decode.

    Returns:
        Counts.

    Raises:
        ShardError: The Parquet file of the shard cannot be read, or its scores not be written.
    """
    import time

    begin = time.perf_counter()
    rows = list(detector.predict(_sources(shard), workers=threads))
    _write(rows, out / shard.name, mark)
    refused = sum(row.error is not None for row in rows)
    return Done(shard.number, len(rows), refused, time.perf_counter() - begin, peak_memory() or 0.0)


def _write(rows: Sequence[Prediction], path: Path, mark: str) -> None:
    """Write rows whole or not at all; two workers that do the same shard write the same."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hints = get_type_hints(Prediction)
    columns = {name: pa.float64() if float in get_args(kind) else pa.string() for name, kind in hints.items()}
    table = pa.table({name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in columns.items()})
    with written_whole(path) as temporary:
        pq.write_table(table.replace_schema_metadata({MARK: mark}), temporary)


def finished(path: Path, mark: str) -> Done | None:
    """Read what became of a shard in an earlier run.

    Args:
        path: The file of its scores.
        mark: What it must have been made of.

    Returns:
        Its counts; None where it must be done.

    Raises:
        EngineError: The file holds scores of other images, or of another detector.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    try:
        table = pq.read_table(path, columns=["error"])
    except (OSError, pa.ArrowException):
        return None  # such as one that was damaged: done anew
    if (table.schema.metadata or {}).get(MARK) != mark.encode():
        raise EngineError(f"{path}: holds scores of other images, or of another detector; choose another folder")
    refused = len(table) - table.column("error").null_count
    number = int(path.stem.split("-")[1])
    return Done(number, len(table), refused, 0.0, 0.0)


# The engine


class Worker:
    """Loads the detector once, and scores shards; Ray makes as many as are asked for.

    Args:
        load: Makes the detector.
        out: Folder of the scores.
        threads: Threads that read and decode.
    """

    def __init__(self, load: "Callable[[], Detector]", out: str, threads: int) -> None:
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # the workers are as many as the cores
        self.detector, self.out, self.threads = load(), Path(out), threads

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the shards of one batch of Ray Data: columns shard (JSON) and mark -> columns of `Done`."""
        done = []
        for text, mark in zip(batch["shard"], batch["mark"], strict=True):
            values = json.loads(str(text))
            shard = Shard(**{**values, "paths": tuple(values["paths"])})
            done.append(asdict(score_shard(self.detector, shard, self.out, str(mark), threads=self.threads)))
        return {name: [one[name] for one in done] for name in done[0]}


def score_with_ray(
    load: "Callable[[], Detector]",
    identity: str,
    shards: Sequence[Shard],
    out: Path,
    *,
    workers: int | None = None,
    threads: int = 2,
    gpus: float = 0.0,
    progress: "Callable[[Iterable[Done]], Iterable[Done]]" = iter,
) -> list[Done]:
    """Score shards by Ray Data, on the cluster of `RAY_ADDRESS` or on this machine.

    Args:
        load: Makes the detector, in each worker.
        identity: Of the detector: its settings and weights.
        shards: As `plan` gives them.
        out: Folder of the scores; on a cluster one that all machines share.
        workers: Processes that score; as many as the cluster has cores (or GPUs) when None.
        threads: Threads of each that read and decode.
        gpus: GPUs of each.
        progress: Wraps the shards as they are done.

    Returns:
        What became of each shard, in order.

    Raises:
        EngineError: Ray is not installed, the folder holds other scores, or the engine failed.
    """
    marks = {shard.number: shard.mark(identity) for shard in shards}
    known = [one for shard in shards if (one := finished(out / shard.name, marks[shard.number]))]
    if stray := sorted({path.name for path in out.glob(f"*{SUFFIX}")} - {shard.name for shard in shards}):
        raise EngineError(f"{out}: holds other scores, such as {stray[0]}; choose another folder")
    rest = [shard for shard in shards if shard.number not in {one.shard for one in known}]
    results = list(known)
    if rest:
        items = [{"shard": json.dumps(asdict(shard)), "mark": marks[shard.number]} for shard in rest]
        for done in progress(_by_ray(load, items, out, workers, threads, gpus)):
            results.append(done)
    return sorted(results, key=lambda one: one.shard)


def _by_ray(
    load: "Callable[[], Detector]",
    items: list[dict[str, str]],
    out: Path,
    workers: int | None,
    threads: int,
    gpus: float,
) -> Iterator[Done]:
    """Let Ray's actors do the shards; yield each as it is done."""
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=None if os.environ.get("RAY_ADDRESS") else workers, **_QUIET)
    try:
        resources = ray.cluster_resources()
        size = workers or max(1, int(resources.get("GPU", 1) / gpus if gpus else resources.get("CPU", 1)))
        data = ray.data.from_items(items, override_num_blocks=len(items))
        scored = data.map_batches(
            Worker,
            fn_constructor_args=(load, str(out.absolute()), threads),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(items))),
            num_cpus=None if gpus else 1,
            num_gpus=gpus or None,
        )
        for row in scored.iter_rows():
            yield Done(**row)
    except (ray.exceptions.RayError, ray.data.exceptions.UserCodeException) as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else repr(error)
        raise EngineError(f"the engine failed: {reason}; shards that are done are kept") from None
    finally:
        if own:
            ray.shutdown()


_QUIET: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}


def _ray() -> Any:  # noqa: ANN401
    """Import Ray without its banners and progress bars."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise EngineError("--engine ray needs Ray: pip install natural-traces[ray]") from None
    import logging

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray
