"""The bench times what it says; ONNX Runtime gives the same scores."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from command import run
from test_predict import Brightness

from helpers.api import load_detector
from helpers.data.images import encode_png
from helpers.detectors import runtime, speed
from helpers.detectors.config import DetectorConfig, DetectorError
from helpers.lessons.lesson08.study import model_jobs


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stub that scores by the size of a file."""
    module = types.ModuleType("made_up_peer")
    module.asked = []
    module.score = lambda paths: module.asked.append(len(paths)) or [path.stat().st_size for path in paths]
    module.short = lambda paths: [0.0]
    monkeypatch.setitem(sys.modules, "made_up_peer", module)
    return module


def test_rates_are_ratios_in_one_run_and_a_peer_is_timed_beside(peer: types.ModuleType) -> None:
    words = ("--images", 3, "--side", 64, "--steps", 2, "--processes", 0)
    done = run("bench", "detector", *words, "--peer", "made_up_peer:score", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    rows = {row["part"]: row for row in document["rows"]}
    assert (document["detector"], document["config"]) == ("ntf_pretrained", "ntf")
    whole = rows["all of it"]
    assert whole["ratio"] == 1
    for part in ("decoding", "pipeline", "network", "peer made_up_peer:score"):
        assert rows[part]["ratio"] == pytest.approx(rows[part]["per_second"] / whole["per_second"])
    assert {"stage 1", "stage 2"} <= set(rows)
    assert rows["stage 2"]["ratio"] > 0
    assert peer.asked == [1, 3]


@pytest.mark.parametrize("name", ["nothing", "nosuchmodule:score", "made_up_peer:nothing", "made_up_peer:asked"])
def test_a_peer_that_is_none_is_refused(peer: types.ModuleType, name: str) -> None:
    with pytest.raises(DetectorError, match="--peer"):
        speed.find_peer(name)


def test_a_peer_that_leaves_images_out_is_refused(peer: types.ModuleType, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encode_png(torch.zeros(3, 40, 40, dtype=torch.uint8)))
    with pytest.raises(DetectorError, match="gave 1 scores of 2 images"):
        speed.peer_row("short", peer.short, sorted(tmp_path.iterdir()))


def test_onnx_runtime_gives_the_same_scores() -> None:
    pytest.importorskip("onnxruntime", reason="the extra `fast` is not installed")
    pytest.importorskip("onnx", reason="the extra `fast` is not installed")
    plain, fast = load_detector(), load_detector(setting="fast")
    plain.config = plain.config.at("fast")
    assert fast.runtime is not None
    generator = torch.Generator().manual_seed(1)
    sizes = ((300, 500), (240, 240), (64, 100))  # the last is judged by torch
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    assert [fast.runtime.fits(images[1][None]), fast.runtime.fits(images[2][None])] == [True, False]
    np.testing.assert_allclose(fast.score(images), plain.score(images), atol=1e-4)
    rows = {row.part: row for row in speed.backends(plain, count=2, repeats=1)}
    assert {"torch", "torch, channels-last", "ONNX Runtime"} <= set(rows)


def test_without_onnx_runtime_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    detector = Brightness(DetectorConfig(window=48))
    assert runtime.accelerate(detector).runtime is None


def test_jobs_share_hours_and_not_cost() -> None:
    rows = model_jobs(Brightness(DetectorConfig(window=48)), "default", 1e6, 0.05, [1, 10], 64)
    assert [(row["file"], row["cores"]) for row in rows] == [("PNG", 1), ("PNG", 10), ("JPEG", 1), ("JPEG", 10)]
    assert rows[0]["hours"] == pytest.approx(10 * rows[1]["hours"])
    assert rows[0]["cost"] == pytest.approx(rows[1]["cost"])
    assert rows[0]["hours"] == pytest.approx(1e6 * rows[0]["cpu_ms"] / 1000 / 3600)


@pytest.mark.slow
def test_a_stream_counts_every_image_once() -> None:
    pytest.importorskip("pyarrow", reason="shards need the extra `scale`")
    done = run("bench", "stream", "--images", 40, "--no-ray", "--json", "--detector", "zoo")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["evaluate"]["images"] == 40
    assert document["evaluate"]["peak_mb"] > 100


def test_the_parts_of_a_statement_are_timed_in_one_run() -> None:
    done = run("bench", "statement", "--megapixels", 0.03, "--repeats", 1, "--json")
    assert done.exit_code == 0, done.stderr
    rows = {row["part"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == {"decode", "score", "map of windows", "statement", "page as HTML"}
    assert rows["statement"]["ratio"] == 1
    assert all(
        row["ratio"] == pytest.approx(row["per_second"] / rows["statement"]["per_second"]) for row in rows.values()
    )
    assert min(row["cpu_ms"] for row in rows.values()) > 0


def test_one_process_and_several_are_timed_with_the_runtime_of_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []

    def noted(folder: Path, paths: list[Path], count: int, accelerated: bool) -> speed.Row:
        asked.append((count, accelerated))
        return speed.Row("", "", 1.0, 1.0)

    monkeypatch.setattr(speed, "in_processes", noted)
    paths = speed.write_images(tmp_path, 2, 64)
    judge = load_detector("zoo")
    speed.scoring(judge, paths, tmp_path, 2)
    judge.runtime = judge.logit
    monkeypatch.setattr(type(judge), "score_cut", lambda self, cut: [0.0 for _ in cut])
    speed.scoring(judge, paths, tmp_path, 1)
    assert asked == [(1, False), (2, False), (1, True)]
