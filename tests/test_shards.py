"""Shards hold what the manifest says, stream in an order that can be computed, and stand in for a manifest."""

import json
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from command import run
from tiny_images import made_up
from torch.utils.data import DataLoader

pytest.importorskip("pyarrow", reason="shards need the extra `scale`")

from helpers.data import parquet, shards
from helpers.data.image_set import ImageSet
from helpers.data.images import ImageError, encode_png, probe, read_bytes
from helpers.data.manifest import ManifestError, read_manifest, resolve, verify, write_manifest
from helpers.data.parquet import ShardError
from helpers.data.select import load_rows
from helpers.data.shards import Place, ShardOrder, ShardStream, read_shards, shard_files, write_shards
from helpers.detectors.crops import Augmentation, BalancedCrops, PhotographViews
from helpers.training.batches import StepDataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest with 96 files: 32 of each split."""
    import hashlib

    rows = []
    for split in ("train", "val", "test"):
        images = made_up(split)
        for number, img in enumerate(images.images()):
            data, path = encode_png(img), f"images/{split} {number}.png"
            place = tmp_path / "set" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            row = images.manifest.iloc[number].to_dict()
            digest = hashlib.sha256(data).hexdigest()
            rows.append({**row, "path": path, "width": 56, "height": 56, "format": "PNG", "sha256": digest})
    import pandas as pd

    df = pd.DataFrame(rows).assign(licence="CC0", origin="made up", note="kept")
    write_manifest(df, tmp_path / "set" / "manifest.csv")
    return tmp_path / "set"


@pytest.fixture
def sharded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as shards of 7 images, in row groups of a few."""
    monkeypatch.setattr(shards, "GROUP_BYTES", 16_000)
    out = folder.parent / "shards"
    write_shards(read_manifest(folder / "manifest.csv"), folder, out, rows=7, seed=3)
    return out


# Writing


def test_every_file_and_every_column_arrives(folder: Path, sharded: Path) -> None:
    df, found = read_manifest(folder / "manifest.csv"), read_shards(sharded)
    assert len(found) == 96
    assert verify(found, sharded) == []
    back = found.assign(path=found["path"].str.partition("/")[2])
    merged = df.merge(back, on=list(df.columns))
    assert len(merged) == 96
    one = found["path"].iloc[5]
    assert read_bytes(resolve(one, sharded)) == (folder / one.partition("/")[2]).read_bytes()
    assert {name.partition("-")[0] for name in found["path"]} == {"train", "val", "test"}
    assert len(shard_files(sharded, "train")) == 5
    assert len(parquet.open_container(sharded / "train-00000-of-00005.parquet").groups) > 1


def test_a_second_call_does_the_rest_and_other_shards_are_refused(folder: Path, sharded: Path) -> None:
    df, files = read_manifest(folder / "manifest.csv"), shard_files(sharded)
    before = {path: path.read_bytes() for path in files}
    files[2].unlink()
    files[4].write_bytes(before[files[4]][:500])
    kept = {path: path.stat().st_mtime_ns for path in files if path not in (files[2], files[4])}
    assert write_shards(df, folder, sharded, rows=7, seed=3)
    assert {path: path.read_bytes() for path in files} == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list(sharded.glob(".*"))
    with pytest.raises(ShardError, match="holds other shards"):
        write_shards(df, folder, sharded, rows=8, seed=3)
    with pytest.raises(ShardError, match="holds other images"):
        write_shards(df, folder, sharded, rows=7, seed=4)


def test_a_changed_file_or_a_missing_shard_is_said(folder: Path, sharded: Path) -> None:
    (folder / "images" / "val 3.png").write_bytes(encode_png(torch.zeros(3, 56, 56, dtype=torch.uint8)))
    with pytest.raises(ManifestError, match=r"val 3\.png: the file differs"):
        write_shards(read_manifest(folder / "manifest.csv"), folder, folder / "new", rows=7)
    with pytest.raises(ImageError, match="no such image in"):
        read_bytes(shard_files(sharded)[0] / "images" / "no.png")
    shard_files(sharded)[1].unlink()
    with pytest.raises(ShardError, match="is missing"):
        read_shards(sharded)
    with pytest.raises(ShardError, match="no Parquet"):
        shard_files(folder)


def test_the_hubs_library_reads_them(sharded: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the Hub's library is not installed")
    files = [str(path) for path in shard_files(sharded, "train")]
    rows = list(datasets.load_dataset("parquet", data_files=files, split="train", streaming=True))
    assert len(rows) == 32
    assert rows[0]["image"].size == (56, 56)
    assert rows[0]["label"] in ("real", "fake")


# Order


@pytest.mark.parametrize("seed", [0, 1])
def test_an_epoch_visits_every_row_once_in_an_order_of_its_own(seed: int) -> None:
    order = ShardOrder([[3, 2], [4], [1, 1, 5]], seed)
    epochs = [[order.place(epoch * len(order) + n) for n in range(len(order))] for epoch in range(3)]
    rows = {(shard, row) for shard, size in enumerate((5, 4, 7)) for row in range(size)}
    for number, places in enumerate(epochs):
        assert {(place.shard, place.row) for place in places} == rows
        assert {place.epoch for place in places} == {number}
        assert [order.position(place) for place in places] == list(range(number * 16, number * 16 + 16))
        visited = [place.shard for place in places]
        assert sum(a != b for a, b in pairwise(visited)) == 2  # one shard after the other
    assert len({tuple((p.shard, p.row) for p in places) for places in epochs}) == 3
    other = ShardOrder([[3, 2], [4], [1, 1, 5]], seed + 1)
    assert [other.place(n) for n in range(16)] != epochs[0]


def name_of(row: dict[str, object]) -> str:
    return str(row["path"])


def names(stream: ShardStream, workers: int = 0) -> list[list[str]]:
    return [batch.items for batch in DataLoader(stream, batch_size=None, num_workers=workers)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_no_row_is_lost_or_comes_twice_over_ranks_and_workers(sharded: Path, ranks: int, workers: int) -> None:
    files = shard_files(sharded, "train")
    parts = [
        names(ShardStream(files, 6, rank=rank, ranks=ranks, epochs=2, change=name_of), workers) for rank in range(ranks)
    ]
    assert set(Counter(name for part in parts for batch in part for name in batch).values()) == {2}
    whole = names(ShardStream(files, 6, epochs=2, change=name_of))
    joined = [list(chain(*batches)) for batches in zip(*parts, strict=True)]
    assert joined == whole


def pixels(row: dict[str, object]) -> torch.Tensor:
    from helpers.data.images import decode

    return decode(row["image"]["bytes"]).float().mean(dim=(1, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_from_any_place_bit_for_bit(sharded: Path, workers: int) -> None:
    files = shard_files(sharded, "train")
    whole = list(ShardStream(files, 5, seed=1, epochs=3, change=pixels))
    for stopped in (1, 7, 12):  # in mid-epoch, and in the second and third
        state = json.loads(json.dumps(whole[stopped - 1].next.to_dict()))
        stream = ShardStream(files, 5, seed=1, epochs=3, start=Place(**state), change=pixels)
        rest = list(DataLoader(stream, batch_size=None, num_workers=workers))
        assert len(rest) == len(whole) - stopped
        for left, right in zip(rest, whole[stopped:], strict=True):
            assert left.next == right.next
            assert all(torch.equal(a, b) for a, b in zip(left.items, right.items, strict=True))


def test_a_batch_that_cannot_be_shared_is_refused(sharded: Path) -> None:
    with pytest.raises(ShardError, match="cannot be shared"):
        ShardStream(shard_files(sharded), 5, ranks=2)


def test_memory_stays_flat(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "KEPT_BYTES", 60_000)
    monkeypatch.setattr(parquet, "KEPT_FILES", 3)
    most = 0
    for batch in ShardStream(shard_files(sharded), 4, epochs=2):
        assert batch.items
        most = max(most, sum(table.nbytes for table in parquet._GROUPS.values()))
    assert 0 < most <= 60_000
    assert len(parquet._OPEN) <= 3


# In the place of a manifest


def test_training_draws_from_one_shard_after_the_other(sharded: Path) -> None:
    df, root = load_rows(str(sharded), None, ["split=train"])
    images = ImageSet(df, root)
    assert [len(block) for block in images.blocks()] == [7, 7, 7, 7, 4]
    for make in (BalancedCrops, PhotographViews):
        crops = make(images, Augmentation(size=32), seed=2, length=50)
        assert crops.in_order
        steps = StepDataset(crops, seed=2, batch_size=10)
        rows = torch.cat([steps[step]["row"] for step in range(5)]).tolist()
        files = [df["path"].iloc[row].partition("/")[0] for row in rows]
        both = Counter(files)
        assert sum(a != b for a, b in pairwise(files)) <= 4 + 2 * both.total() // 10
        assert torch.equal(torch.cat([steps[step]["row"] for step in range(5)]), torch.tensor(rows))
        later = torch.cat([steps[step]["row"] for step in range(5, 10)]).tolist()
        assert later != rows


def test_train_and_evaluate_take_a_folder_of_shards(folder: Path, tmp_path: Path) -> None:
    assert run("data", "shard", folder / "manifest.csv", "--out", tmp_path / "s", "--rows", 9, "--json").exit_code == 0
    settings = ["--set", "steps=3", "--set", "mapping_steps=2", "--set", "batch_size=8", "--set", "size=32"]
    settings += ["--set", "backbone=tracenet", "--set", "view=bank", "--set", "pool=0", "--set", "subspace=0"]
    done = run("train", "ntf", "--manifest", tmp_path / "s", "--out", tmp_path / "d", *settings, "--set", "score=both")
    assert done.exit_code == 0, done.stderr
    reports = []
    for which in (folder / "manifest.csv", tmp_path / "s"):
        out = ["--scores", tmp_path / f"{len(reports)}.csv", "--no-cache", "--json", "--draws", 20]
        done = run("evaluate", "--detector", tmp_path / "d", "--manifest", which, *out)
        assert done.exit_code == 0, done.stderr
        reports.append(json.loads(done.stdout))
    assert reports[0]["images"] == reports[1]["images"] == 32
    assert reports[0]["means"][0]["metrics"]["auc"]["value"] == reports[1]["means"][0]["metrics"]["auc"]["value"]
    again = run("data", "shard", folder / "manifest.csv", "--out", tmp_path / "s", "--rows", 5)
    assert again.exit_code == 2
    assert "choose another folder" in again.stderr
    assert probe(read_bytes(next((folder / "images").iterdir()))).width == 56
    assert np.isfinite(reports[1]["means"][0]["metrics"]["auc"]["value"])
