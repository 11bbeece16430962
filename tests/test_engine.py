"""The engine scores what one process scores: shards, restarts, bad files, addresses and Parquet."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from command import run
from test_predict import Brightness
from tiny_images import noise_photograph

pytest.importorskip("pyarrow", reason="the engine writes Parquet: it needs the extra `ray`")

from helpers.data.images import encode_png
from helpers.detectors import engine
from helpers.detectors.config import DetectorConfig
from helpers.detectors.engine import EngineError, Shard


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, and two files that are none."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "files").mkdir()
    for number in range(10):
        (tmp_path / "files" / f"{number}.png").write_bytes(encode_png(noise_photograph(generator, 48)))
    (tmp_path / "files" / "cut.png").write_bytes(encode_png(noise_photograph(generator, 48))[:200])
    (tmp_path / "files" / "empty.jpg").write_bytes(b"")
    return tmp_path / "files"


def table(out: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(out.glob("*.parquet"))], ignore_index=True)


# Without Ray


def test_the_plan_is_the_same_every_time(folder: Path) -> None:
    shards = engine.plan([str(folder)], 5)
    assert [len(shard.paths) for shard in shards] == [5, 5, 2]
    assert shards == engine.plan([str(folder)], 5)
    assert shards[2].name == "scores-00002-of-00003.parquet"
    assert len({shard.mark("a") for shard in shards} | {shards[0].mark("b")}) == 4
    remote = engine.plan([f"file://{folder}"], 5)
    assert [len(shard.paths) for shard in remote] == [5, 5, 2]
    assert remote[0].paths[0] == f"file://{folder}/0.png"
    (folder.parent / "none").mkdir()
    with pytest.raises(EngineError, match="no picture found"):
        engine.plan([str(folder.parent / "none")])
    with pytest.raises(EngineError, match="cannot be listed"):
        engine.plan(["nosuchthing://bucket/folder"])


def test_a_shard_is_written_whole_with_its_refused_files(folder: Path, tmp_path: Path) -> None:
    (shard,) = engine.plan([str(folder), str(folder / "gone.png")], 50)
    done = engine.score_shard(Brightness(DetectorConfig(window=48)), shard, tmp_path / "out", "mark")
    assert (done.images, done.refused) == (13, 3)
    rows = table(tmp_path / "out").set_index("path")
    assert rows.loc[str(folder / "gone.png"), "error"] == "no such file"
    assert rows["score"].isna().sum() == 3
    assert engine.finished(tmp_path / "out" / shard.name, "mark").images == 13
    with pytest.raises(EngineError, match="another detector"):
        engine.finished(tmp_path / "out" / shard.name, "other")
    (tmp_path / "out" / shard.name).write_bytes(b"torn")
    assert engine.finished(tmp_path / "out" / shard.name, "mark") is None


def test_an_address_that_fails_is_a_row(folder: Path, tmp_path: Path) -> None:
    shard = Shard(0, 1, (f"file://{folder}/3.png", f"file://{folder}/gone.png", f"file://{folder}/empty.jpg"))
    engine.score_shard(Brightness(DetectorConfig(window=48)), shard, tmp_path / "out", "mark")
    rows = table(tmp_path / "out")
    assert rows["error"].isna().tolist() == [True, False, False]
    assert "cannot be fetched" in rows["error"].iloc[1]


def test_what_is_missing_is_said(folder: Path) -> None:
    done = run("score", folder, "--engine", "ray")
    assert done.exit_code == 2
    assert "--out FOLDER" in done.stderr


# With Ray


@pytest.fixture(scope="module")
def cluster(project: Path) -> Iterator[None]:
    """Two workers on this machine."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project))
        patch.setenv("RAY_worker_niceness", "0")  # on a busy machine Ray's polite workers would wait for ever
        ray.init(num_cpus=2, **engine._QUIET)
        yield
        ray.shutdown()


@pytest.mark.slow
def test_two_workers_score_what_one_process_scores(cluster: None, folder: Path, tmp_path: Path) -> None:
    one = run("score", folder, "--json", "--quiet")
    expected = {row["path"]: row for row in map(json.loads, one.stdout.splitlines())}
    words = ("score", folder, "--engine", "ray", "--out", tmp_path / "out", "--shard", 3, "--processes", 2)
    done = run(*words)
    assert done.exit_code == 2  # two files were refused
    assert "12 picture(s) in 4 shard(s), 2 refused, 0 known before" in done.stderr
    rows = table(tmp_path / "out").set_index("path")
    assert rows.index.is_unique
    assert set(rows.index) == set(expected)
    for path, row in expected.items():
        if row["error"]:
            assert rows.loc[path, "error"] == row["error"]
        else:
            for name in ("score", "probability", "p_photograph", "p_generated"):
                assert rows.loc[path, name] == pytest.approx(row[name], abs=2e-3 if name != "score" else 1e-4)
            assert rows.loc[path, "verdict"] == row["verdict"]
    files = sorted((tmp_path / "out").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in files[1:]}
    files[0].unlink()
    again = run(*words)
    assert "9 known before" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert table(tmp_path / "out").set_index("path")["score"].equals(rows["score"])
    other = run(*words[:-4], "--shard", 4)
    assert other.exit_code == 2
    assert "choose another folder" in other.stderr


@pytest.mark.slow
def test_parquet_in_parquet_out(cluster: None, folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.png"))
    images = pa.array([{"bytes": path.read_bytes(), "path": path.name} for path in files])
    (tmp_path / "in").mkdir()
    for number in range(2):
        pq.write_table(pa.table({"image": images.slice(number * 6, 6)}), tmp_path / "in" / f"{number}.parquet")
    done = run("score", tmp_path / "in", "--engine", "ray", "--out", tmp_path / "out", "--processes", 2)
    assert "11 picture(s) in 2 shard(s), 1 refused" in done.stderr
    rows = table(tmp_path / "out")
    assert rows["path"].iloc[0] == "0.parquet/row 0"
    assert rows["error"].notna().sum() == 1
