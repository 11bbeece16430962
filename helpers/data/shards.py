"""Sets of images as sharded Parquet: written from a manifest, read in an order that can be computed.

    natural-traces data shard MANIFEST --out DIR      ->  DIR/train-00000-of-00012.parquet, ...

A shard holds a random sample of its split: the image files as they are, and all columns of the manifest. The folder is
taken wherever a manifest is asked, and the Hub's `datasets` library loads it as it is.

The order of a stream follows from seed and epoch alone: the shards are shuffled, the row groups within each shard, and
the rows within each group. So the place of the n-th image is known without having read the others, and a stream goes on
from any place: (epoch, shard, row) is all that must be stored. Batches are cut from an endless row of epochs; a process
takes its part of each batch, and its workers take batches in turn, so that the result depends on neither number.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch.utils.data import IterableDataset, get_worker_info

from helpers.data.manifest import COLUMNS, SPLITS, ManifestError, read_checked, validate
from helpers.data.parquet import IMAGE, MARK, SUFFIX, ShardError, open_container, written_whole
from helpers.data.paths import PACKAGE_PREFIX
from helpers.data.seeds import derive_seed, shuffled

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Place", "ShardOrder", "ShardStream", "StreamBatch", "read_shards", "shard_files", "write_shards"]

ROWS = 1024
"""Images of a shard."""
GROUP_BYTES = 4_000_000
"""Images of a row group, in bytes: what is read at a time."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


# Writing


def plan_shards(df: pd.DataFrame, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Say which rows of a manifest lie in which shard.

    Args:
        df: Manifest.
        rows: Images of a shard.
        seed: Of the order.

    Returns:
        Name of a shard -> row numbers; a shard holds one split.
    """
    plan = {}
    for split in SPLITS:
        numbers = np.flatnonzero((df["split"] == split).to_numpy())
        order = np.random.default_rng(derive_seed(seed, "shards", split)).permutation(numbers)
        parts = -(-len(order) // rows)
        for part in range(parts):
            plan[f"{split}-{part:05d}-of-{parts:05d}{SUFFIX}"] = order[part * rows : (part + 1) * rows]
    return plan


def write_shards(
    df: pd.DataFrame,
    root: Path | None,
    out: Path,
    *,
    rows: int = ROWS,
    seed: int = 0,
    workers: int = 2,
    progress: Progress = iter,
) -> list[Path]:
    """Write a manifest and its files as shards; those that are there already are kept, so a second call does the rest.

    Args:
        df: Manifest.
        root: Folder of relative paths.
        out: Folder of the shards; it is made.
        rows: Images of a shard.
        seed: Of the order.
        workers: Threads that read files.
        progress: Wraps the shards as they are done, such as `tqdm`.

    Returns:
        The shards.

    Raises:
        ManifestError: A file differs from its `sha256`, or two paths become one.
        ImageError: A file cannot be read.
        ShardError: The folder holds other shards, or cannot be written.
    """
    df = df.assign(member=df["path"].str.removeprefix(PACKAGE_PREFIX)).reset_index(drop=True)
    if df["member"].duplicated().any():
        raise ManifestError(f"{df.loc[df['member'].duplicated(), 'path'].iloc[0]!r}: two files would have this name")
    plan = plan_shards(df, rows, seed)
    if other := sorted({path.name for path in out.glob(f"*{SUFFIX}")} - set(plan)):
        raise ShardError(f"{out}: holds other shards, such as {other[0]}; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for name, numbers in progress(plan.items()):
            part = df.iloc[numbers]
            mark = hashlib.sha256("\n".join(part["member"] + "\t" + part["sha256"]).encode()).hexdigest()
            if not _is_written(out / name, mark):
                files = pool.map(partial(read_checked, root=root), part["path"], part["sha256"])
                _write_shard(part, list(files), out / name, mark)
    return [out / name for name in plan]


def _is_written(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    try:
        metadata = open_container(path).file.schema_arrow.metadata or {}
    except ShardError:
        return False  # such as one that a full disk cut off: written anew
    if metadata.get(MARK) != mark.encode():
        raise ShardError(f"{path}: holds other images; choose another folder")
    return True


def _write_shard(part: pd.DataFrame, files: list[bytes], path: Path, mark: str) -> None:
    """Write one file whole or not at all."""
    import pyarrow.parquet as pq

    table = _table(part, files).replace_schema_metadata({MARK: mark, b"huggingface": _features(part)})
    plain = [name for name in table.column_names if name != IMAGE]
    compression = dict.fromkeys(plain, "zstd") | {f"{IMAGE}.bytes": "none", f"{IMAGE}.path": "zstd"}
    with (
        written_whole(path) as temporary,
        pq.ParquetWriter(temporary, table.schema, compression=compression, use_dictionary=plain) as writer,
    ):
        for start, stop in _group_bounds([len(data) for data in files]):
            writer.write_table(table.slice(start, stop - start))


def _table(part: pd.DataFrame, files: list[bytes]) -> "pa.Table":
    import pyarrow as pa

    columns = {name: part[name] for name in part.columns if name not in ("path", "member")}
    image = pa.StructArray.from_arrays(
        [pa.array(files, pa.binary()), pa.array(part["member"], pa.string())], names=["bytes", "path"]
    )
    return pa.table({"path": pa.array(part["member"]), **{k: pa.array(v) for k, v in columns.items()}, IMAGE: image})


def _features(part: pd.DataFrame) -> bytes:
    """Describe the columns as the Hub's `datasets` library wants them."""
    kinds = {name: "int64" if part[name].dtype.kind == "i" else "string" for name in part.columns if name != "member"}
    features: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()}
    return json.dumps({"info": {"features": features | {IMAGE: {"_type": "Image"}}}}).encode()


def _group_bounds(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut rows into groups of about `GROUP_BYTES`."""
    start, total = 0, 0
    for place, size in enumerate(sizes):
        total += size
        if total >= GROUP_BYTES or place == len(sizes) - 1:
            yield start, place + 1
            start, total = place + 1, 0


# Reading


def shard_files(folder: Path, split: str = "") -> list[Path]:
    """List the shards of a folder, and see that none is missing.

    Args:
        folder: Where they lie.
        split: Only those of this split.

    Returns:
        Files, by name.

    Raises:
        ShardError: There are none, or one is missing.
    """
    files = sorted(folder.glob(f"{split}*{SUFFIX}"))
    if not files:
        raise ShardError(f"{folder}: holds no {split} shards" if split else f"{folder}: holds no Parquet files")
    for path in files:
        before, _, count = path.stem.rpartition("-of-")
        stem, _, number = before.rpartition("-")
        if count.isdigit() and number.isdigit():
            wanted = (f"{stem}-{n:0{len(number)}d}-of-{count}{SUFFIX}" for n in range(int(count)))
            if missing := [name for name in wanted if not (folder / name).is_file()]:
                raise ShardError(f"{folder}: {missing[0]} is missing")
    return files


def read_shards(folder: Path) -> pd.DataFrame:
    """Read the manifest of a folder of shards; no image is read.

    Args:
        folder: Where they lie.

    Returns:
        Manifest; each path leads into a shard, as `helpers.data.images.read_bytes` reads it.

    Raises:
        ShardError: A shard is missing or cannot be read.
        ManifestError: What they hold is no manifest.
    """
    parts = []
    for path in shard_files(folder):
        container = open_container(path)
        names = [name for name in container.names if name != IMAGE]
        part = container.table(names).to_pandas()
        parts.append(part.assign(path=path.name + "/" + part["path"]))
    df = pd.concat(parts, ignore_index=True)
    others = [name for name in df.columns if name not in COLUMNS]
    return validate(df, str(folder))[[*(name for name in COLUMNS if name in df), *others]]


@dataclass(frozen=True)
class Place:
    """Where a stream stands: the next image to come.

    Attributes:
        epoch: Pass over all shards, from 0.
        shard: Number of the file, from 0.
        row: Row in that file, from 0.
    """

    epoch: int = 0
    shard: int = 0
    row: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return plain values for a checkpoint; `Place(**values)` is the same place."""
        return asdict(self)


class ShardOrder:
    """The order in which a stream visits rows, epoch after epoch.

    Args:
        groups: Rows of each row group, for each shard.
        seed: Of the order.

    Raises:
        ShardError: There is no row.
    """

    def __init__(self, groups: Sequence[Sequence[int]], seed: int = 0) -> None:
        self.groups, self.seed = [tuple(one) for one in groups], seed
        self._kept: tuple[tuple[int, int], list[int]] = ((-1, -1), [])  # the rows of the shard that was asked last
        self.sizes = [sum(one) for one in self.groups]
        if not sum(self.sizes):
            raise ShardError("the shards hold no image")

    def __len__(self) -> int:
        return sum(self.sizes)

    def place(self, position: int) -> Place:
        """Say which row stands at a position of the endless row of epochs, counted from 0."""
        epoch, within = divmod(position, len(self))
        order, ends = self._shards(epoch)
        turn = bisect_right(ends, within)
        shard = order[turn]
        return Place(epoch, shard, self._rows(epoch, shard)[within - (ends[turn] - self.sizes[shard])])

    def position(self, place: Place) -> int:
        """Undo `place`."""
        order, ends = self._shards(place.epoch)
        start = ends[order.index(place.shard)] - self.sizes[place.shard]
        return place.epoch * len(self) + start + self._rows(place.epoch, place.shard).index(place.row)

    def _shards(self, epoch: int) -> tuple[tuple[int, ...], list[int]]:
        """Order the shards of an epoch, with the position in the epoch at which each ends."""
        order = shuffled(len(self.sizes), self.seed, "shards", epoch)
        return order, list(accumulate(self.sizes[shard] for shard in order))

    def _rows(self, epoch: int, shard: int) -> list[int]:
        if self._kept[0] != (epoch, shard):
            starts = [0, *accumulate(self.groups[shard])]
            key = (self.seed, "rows", epoch, shard)
            rows = [
                starts[group] + row
                for group in shuffled(len(self.groups[shard]), *key)
                for row in shuffled(self.groups[shard][group], *key, group)
            ]
            self._kept = (epoch, shard), rows
        return self._kept[1]


@dataclass(frozen=True)
class StreamBatch:
    """What a stream yields.

    Attributes:
        items: One for each image.
        next: Where the batch after this one begins; what a checkpoint stores.
    """

    items: list[Any]
    next: Place


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return row


class ShardStream(IterableDataset[StreamBatch]):
    """Batches from shards, without end or for some epochs; for a `DataLoader` with `batch_size=None`.

    Args:
        files: The shards, as `shard_files` gives them.
        batch_size: Images of a batch, over all processes; a multiple of `ranks`.
        seed: Of the order.
        rank: Which process this is, from 0.
        ranks: How many there are.
        start: Where to begin, as an earlier batch said.
        epochs: Epochs in all, from the first; without end when None. The last batch may be smaller.
        change: Row -> item; a row has the columns of the manifest, and `image` with `bytes` and `path`.

    Raises:
        ShardError: A shard cannot be read, or the batch cannot be shared.
    """

    def __init__(
        self,
        files: Sequence[Path],
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        start: Place | None = None,
        epochs: int | None = None,
        change: Callable[[dict[str, Any]], Any] = _plain,
    ) -> None:
        super().__init__()
        if batch_size % ranks:
            raise ShardError(f"a batch of {batch_size} images cannot be shared by {ranks} processes")
        self.files, self.batch_size, self.share = list(files), batch_size, batch_size // ranks
        self.rank, self.epochs, self.change = rank, epochs, change
        self.order = ShardOrder([open_container(path).groups for path in files], seed)
        self.first = 0 if start is None else self.order.position(start)

    def __iter__(self) -> Iterator[StreamBatch]:
        """Yield the batches of this process, or of this worker of it."""
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        end = None if self.epochs is None else self.epochs * len(self.order)
        begin = self.first + turn * self.batch_size
        while end is None or begin < end:
            stop = begin + self.batch_size if end is None else min(begin + self.batch_size, end)
            own = range(begin + self.rank * self.share, min(begin + (self.rank + 1) * self.share, stop))
            yield StreamBatch([self.change(self._row(self.order.place(p))) for p in own], self.order.place(stop))
            begin += turns * self.batch_size

    def _row(self, place: Place) -> dict[str, Any]:
        ends = list(accumulate(self.order.groups[place.shard]))
        group = bisect_right(ends, place.row)
        start = ends[group] - self.order.groups[place.shard][group]
        return open_container(self.files[place.shard]).row(group, place.row - start)
