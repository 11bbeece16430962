"""Two processes train what one trains: contrasts see the whole batch, a lost process ends the job, and it resumes."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_images import made_up
from torch import nn
from torch.utils.data import Dataset

from helpers.data.image_set import ImageSet
from helpers.data.images import encode_png
from helpers.data.manifest import ManifestError
from helpers.data.places import CACHE_VARIABLE
from helpers.detectors.config import config_path
from helpers.detectors.crops import Augmentation, BalancedCrops, PhotographViews
from helpers.detectors.networks import Backbone
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceMapping
from helpers.detectors.ntf.stage2 import SoftTransfer, Student
from helpers.detectors.pool import SHARD, ShardedMaps
from helpers.detectors.registry import make_detector, read_config
from helpers.detectors.scores import cached_table
from helpers.errors import NaturalTracesError
from helpers.training import FitConfig, FitError, Task, fit
from helpers.training.processes import gathered, is_first, launched, spread

needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")


class Double(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.double() / 255


def backbone(norm: bool = True) -> Backbone:
    """Small and exact, with a normalisation that no batch changes."""
    layers = [nn.Conv2d(3, 6, 3, 2), nn.GroupNorm(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return Backbone(Double(), nn.Sequential(*layers), 24)


def stage1() -> Task:
    torch.manual_seed(0)
    return TraceMapping(TraceEncoder(backbone(), 8).double(), learning_rate=0.01)


def stage2() -> Task:
    torch.manual_seed(0)
    student, teacher = Student(backbone(), 8), TraceEncoder(backbone(), 8).double()
    student.head[0] = nn.Identity()  # each process drops other features: equal in law, not in numbers
    bank = nn.functional.normalize(torch.randn(4, 8, dtype=torch.float64), dim=1)
    return SoftTransfer(student.double(), teacher, bank, learning_rate=0.01)


def examples(stage: str) -> Dataset:
    make = PhotographViews if stage == "stage1" else BalancedCrops
    return make(made_up("train"), Augmentation(size=32), seed=1, length=40)


CPU = {"accelerator": "cpu", "progress": False, "steps": 6, "batch_size": 8, "checkpoint_every": 2, "log_every": 1}


@needs_fork
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_contrasts_see_the_whole_batch(tmp_path: Path, stage: str) -> None:
    """Same loss and same weights as one process at the same global batch; the differences are those of rounding."""
    make = {"stage1": stage1, "stage2": stage2}[stage]
    one = fit(make(), examples(stage), FitConfig(**CPU), tmp_path / "one")
    two = fit(make(), examples(stage), FitConfig(**CPU, devices=2, strategy="ddp_fork"), tmp_path / "two")
    start = make().state_dict()
    moved = 0.0
    for name, tensor in two.task.state_dict().items():
        torch.testing.assert_close(tensor, one.task.state_dict()[name], rtol=1e-9, atol=1e-11)
        moved = max(moved, float((tensor.double() - start[name].double()).abs().max()))
    assert moved > 1e-3
    logs = [
        [line.split(",")[::2] for line in run.log.read_text().splitlines()[1:] if ",loss," in line]
        for run in (one, two)
    ]
    assert [float(row[-1]) for row in logs[1]] == pytest.approx([float(row[-1]) for row in logs[0]], rel=1e-6)


def test_one_process_gathers_what_it_has() -> None:
    rows = torch.rand(3, 2)
    assert gathered(rows)[0] is rows


class Lost(Task):
    """Loses its second process once, as when the system kills it for memory."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network, self.mark = nn.Linear(3, 1).double(), str(mark)
        self.register_buffer("steps", torch.zeros(()))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"main": torch.optim.SGD(self.network.parameters(), lr=0.1)}

    def losses(self, turn: str, batch: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        self.steps += 1
        second = torch.distributed.is_initialized() and torch.distributed.get_rank() == 1
        if second and self.steps == 4 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": self.network(batch).square().mean()}


class Numbers(Dataset):
    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, index % 3, 1.0], dtype=torch.float64) / 20


@needs_fork
def test_a_lost_process_ends_the_job_and_it_resumes(tmp_path: Path) -> None:
    config = FitConfig(**CPU, devices=2, strategy="ddp_fork")
    (tmp_path / "never").touch()
    whole = fit(Lost(tmp_path / "never"), Numbers(), config, tmp_path / "whole")
    with pytest.raises(FitError, match=r"process.*(SIGKILL|lost).*the last checkpoint is kept"):
        fit(Lost(tmp_path / "mark"), Numbers(), config, tmp_path / "cut")
    again = fit(Lost(tmp_path / "mark"), Numbers(), config, tmp_path / "cut")
    assert again.resumed_at == 2
    assert torch.equal(again.task.network.weight, whole.task.network.weight)


def test_several_machines_need_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (launched(), is_first(), spread(1, 1, "train")) == (None, True, (1, 1))
    assert spread(4, 1, "train") == (4, 1)
    with pytest.raises(NaturalTracesError, match="torchrun --nnodes 2 --nproc-per-node 3"):
        spread(3, 2, "train")
    with pytest.raises(FitError, match="torchrun"):
        fit(Lost(tmp_path), Numbers(), FitConfig(**CPU, nodes=2), tmp_path)
    for name, value in {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "5"}.items():
        monkeypatch.setenv(name, value)
    assert (launched(), is_first(), spread(1, 1, "train")) == ((4, 2), False, (4, 2))
    with pytest.raises(NaturalTracesError, match="4 processes on each of 2 machines"):
        spread(2, 2, "evaluate")
    with pytest.raises(FitError, match="multiple of 8 devices"):
        FitConfig(steps=1, batch_size=12, devices=4, nodes=2)


def test_maps_travel_by_name(tmp_path: Path) -> None:
    import pickle

    values = np.arange((SHARD + 3) * 4, dtype=np.float16).reshape(-1, 1, 2, 2)
    np.save(tmp_path / "0.npy", values[:SHARD])
    np.save(tmp_path / "1.npy", values[SHARD:])
    maps = ShardedMaps([tmp_path / "0.npy", tmp_path / "1.npy"])
    text = pickle.dumps(maps)
    assert len(text) < 1000
    chosen = np.array([SHARD + 1, 0, SHARD - 1])
    assert torch.equal(pickle.loads(text)[chosen], torch.from_numpy(values[chosen]))
    assert torch.equal(maps[SHARD + 2], torch.from_numpy(values[-1]))


def on_disk(folder: Path) -> Path:
    """A manifest with images of all splits."""
    import hashlib

    import pandas as pd

    from helpers.data.manifest import write_manifest

    parts = []
    for split in ("train", "val"):
        images: ImageSet = made_up(split)
        rows = images.manifest.assign(width=56, height=56, format="PNG", licence="", origin="")
        for number, img in enumerate(images.images()):
            path = folder / str(rows["path"].iloc[number])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(img))
        sums = [hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in rows["path"]]
        parts.append(rows.assign(sha256=sums))
    write_manifest(pd.concat(parts), folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.mark.slow
def test_the_command_trains_on_two_devices_and_by_torchrun(tmp_path: Path, project: Path) -> None:
    """One process judges and writes; validation images count once; both ways end with the same card."""
    words = ["train", "ntf", "--manifest", str(on_disk(tmp_path / "set")), "--json"]
    words += [f"--set={text}" for text in ("steps=2", "mapping_steps=2", "batch_size=16", "size=32")]
    words += [f"--set={text}" for text in ("backbone=tracenet", "view=bank", "pool=0", "subspace=0", "score=both")]
    quiet = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "helpers"]
    starts = {"spawned": ["-m", "helpers", *words, "--devices", "2"], "torchrun": [*torchrun, *words]}
    cards = {}
    for name, start in starts.items():
        command = [sys.executable, *start, "--out", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["validation_images"] == 32
        cards[name] = json.loads((tmp_path / name / "card.json").read_text())
    assert cards["spawned"]["config"]["devices"] == 2
    assert cards["spawned"]["threshold"] == pytest.approx(cards["torchrun"]["threshold"], abs=1e-6)


# Evaluation


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector on disk that learnt next to nothing, whose scores nonetheless differ between images."""
    out = tmp_path_factory.mktemp("judge")
    config = read_config(config_path("cross_entropy"), steps=2, batch_size=8, size=32, window=48, backbone="tracenet")
    make_detector(config).fit(made_up("train"), made_up("val"), out).save(out)
    return out


def rows_of(manifest: Path, name: str) -> pd.DataFrame:
    """The rows of the val split, one image twice under two names, and one row more than two shares of equal size."""
    df = pd.read_csv(manifest, keep_default_na=False)
    df = df[df["split"] == "val"].reset_index(drop=True)
    twin = df.iloc[[0]].assign(path=str(Path(df["path"][0]).with_name(name)))
    (manifest.parent / twin["path"].iloc[0]).write_bytes((manifest.parent / df["path"][0]).read_bytes())
    return pd.concat([df, twin], ignore_index=True)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path / "cache"


@pytest.mark.slow
def test_two_processes_score_every_row_once(tmp_path: Path, judge: Path, own_cache: Path) -> None:
    df = rows_of(on_disk(tmp_path / "set"), "twin.png")
    assert len(df) % 2 == 1
    one = cached_table(judge, df, tmp_path / "set", 0, cache=False)
    two = cached_table(judge, df, tmp_path / "set", 0, processes=(2, 1))
    assert list(two["path"]) == list(df["path"])
    np.testing.assert_allclose(two["score"], one["score"], rtol=1e-5)
    assert two["score"].nunique() > 2
    (kept,) = (own_cache / "scores").glob("*.json")
    assert set(json.loads(kept.read_text())["scores"]) == set(df["sha256"])

    (tmp_path / "set" / df["path"][1]).write_bytes(b"another file")  # of the second process
    with pytest.raises(ManifestError, match=Path(df["path"][1]).name):
        cached_table(judge, df, tmp_path / "set", 0, processes=(2, 1))


@pytest.mark.slow
def test_the_command_evaluates_on_two_devices_and_by_torchrun(
    tmp_path: Path, judge: Path, own_cache: Path, project: Path
) -> None:
    manifest = on_disk(tmp_path / "set")
    words = ["evaluate", "--detector", str(judge), "--manifest", str(manifest), "--split", "val", "--json"]
    words += ["--draws", "20", "--no-cache"]
    quiet = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "helpers"]
    starts = {"one": ["-m", "helpers", *words], "two": ["-m", "helpers", *words, "--devices", "2"]}
    reports = {}
    for name, start in (starts | {"torchrun": [*torchrun, *words]}).items():
        done = subprocess.run(
            [sys.executable, *start], capture_output=True, text=True, env=quiet, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        reports[name] = json.loads(done.stdout)
    assert reports["one"]["images"] == 32
    assert reports["two"] == reports["one"] == reports["torchrun"]
