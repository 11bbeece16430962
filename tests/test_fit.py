"""The training loop: equal to a plain PyTorch loop, and to itself after being killed, split, spread or starved."""

import json
import math
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from helpers.data.files import write_atomic
from helpers.data.seeds import derive_seed
from helpers.errors import NaturalTracesError
from helpers.training import (
    DivergedError,
    FitConfig,
    FitError,
    MemoryLimitError,
    StorageError,
    Task,
    fit,
    load_weights,
    read_log,
    read_weights,
    save_weights,
)
from helpers.training.batches import StepDataset, batch_places, split_batch, step_loader
from helpers.training.loop import is_out_of_memory
from helpers.training.storage import read_state, write_state

CPU = partial(FitConfig, accelerator="cpu", progress=False)


def points(items=40, seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(items, 3, generator=rng)
    return TensorDataset(inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3)


class Regression(Task):
    """The smallest task; subclasses below misbehave."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def optimizers(self):
        return {"main": torch.optim.AdamW(self.network.parameters(), lr=0.02)}

    def losses(self, turn, batch, generator):
        inputs, targets = batch
        return {"loss": functional.mse_loss(self.network(inputs), targets)}


class Images(Dataset):
    """Items with randomness of their own: torch's global generator, and an epoch that the loop must set."""

    def __init__(self, items=24, wait=0.0):
        self.items, self.wait, self.epoch = items, wait, 0

    def __len__(self):
        return self.items

    def __getitem__(self, index):
        time.sleep(self.wait)
        image = torch.full((3, 4, 4), index / self.items) + 0.1 * torch.randn(3, 4, 4)
        return {"image": image, "epoch": self.epoch, "index": index, "name": f"image {index}"}


class Adversaries(Task):
    """Everything that a checkpoint must hold: turns, dropout, noise, batch norm, momentum, schedule, average."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.generator = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 48))
        self.critic = nn.Sequential(
            nn.Flatten(), nn.Linear(48, 16), nn.Dropout(0.3), nn.LeakyReLU(0.2), nn.Linear(16, 1)
        )
        self.average = nn.Linear(16, 48).requires_grad_(False)
        self.heartbeat = None

    def optimizers(self):
        return {
            "critic": torch.optim.SGD(self.critic.parameters(), lr=0.05, momentum=0.9),
            "generator": torch.optim.Adam(self.generator.parameters(), lr=0.01, betas=(0.5, 0.99)),
        }

    def turns(self, step):
        return ("critic", "critic", "generator") if step % 3 == 2 else ("critic",)

    def losses(self, turn, batch, generator):
        real = batch["image"]
        noise = torch.randn(len(real), 6, generator=generator)
        fake = self.generator(noise).view_as(real)
        if turn == "generator":
            return {"loss": -self.critic(fake).mean()}
        gap = self.critic(fake).mean() - self.critic(real).mean()
        mixed = (0.5 * real + 0.5 * fake.detach()).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return {"loss": gap + penalty, "gap": gap}

    def learning_rate_factor(self, step, steps):
        return 0.5 * (1 + math.cos(math.pi * step / steps))

    def after_step(self, step):
        for kept, new in zip(self.average.parameters(), self.generator[3].parameters(), strict=True):
            kept.lerp_(new, 0.2)
        if self.heartbeat is not None:
            self.heartbeat.value = step + 1


def weights_of(task):
    return {name: tensor.clone() for name, tensor in task.state_dict().items()}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


def rows_without_seconds(log):
    return [line.split(",")[:1] + line.split(",")[2:] for line in log.read_text(encoding="utf-8").splitlines()]


# ------------------------------------------------------------------------------------------------- the plain loop


def test_fit_equals_a_plain_pytorch_loop_bit_for_bit(tmp_path):
    dataset, config = points(), CPU(steps=30, batch_size=8, seed=3)
    result = fit(Regression(), dataset, config, tmp_path)

    plain = Regression()
    optimizer = plain.optimizers()["main"]
    for step in range(30):
        rows = [index for _, index in batch_places(3, step, 8, len(dataset))]
        inputs, targets = dataset.tensors[0][rows], dataset.tensors[1][rows]
        optimizer.zero_grad()
        functional.mse_loss(plain.network(inputs), targets).backward()
        optimizer.step()
    assert_same_bits(result.task.state_dict(), plain.state_dict())
    assert (result.step, result.resumed_at, result.accumulate) == (30, 0, 1)
    assert not result.task.training


def test_fit_learns(tmp_path):
    result = fit(Regression(), points(), CPU(steps=300, batch_size=20, log_every=20), tmp_path)
    log = read_log(result.log)
    assert list(log.columns) == ["seconds", "main/loss"]
    assert list(log.index) == list(range(20, 301, 20))
    assert log["main/loss"].iloc[-1] < 0.02 * log["main/loss"].iloc[0]


def test_the_log_holds_means_over_its_window_and_every_turn(tmp_path):
    class Counting(Regression):
        def turns(self, step):
            return ("main", "main") if step == 4 else ("main",)

        def losses(self, turn, batch, generator):
            self.calls = getattr(self, "calls", -1) + 1
            return {**super().losses(turn, batch, generator), "call": torch.tensor(float(self.calls))}

    result = fit(Counting(), points(), CPU(steps=7, batch_size=4, log_every=3, checkpoint_every=5), tmp_path)
    log = read_log(result.log)
    assert list(log.index) == [3, 5, 6, 7]  # a window ends with each checkpoint, so that the log resumes exactly
    assert list(log["main/call"]) == [1.0, 4.0, 6.0, 7.0]  # steps 3 and 4 made calls 3, then 4 and 5


def test_turns_move_only_their_own_networks(tmp_path):
    class OnlyCritic(Adversaries):
        def turns(self, step):
            return ("critic",)

        def losses(self, turn, batch, generator):
            assert not any(parameter.requires_grad for parameter in self.generator.parameters())
            assert all(parameter.requires_grad for parameter in self.critic.parameters())
            return super().losses(turn, batch, generator)

    task = OnlyCritic()
    before = weights_of(task)
    result = fit(task, Images(), CPU(steps=3, batch_size=8), tmp_path)
    after = result.task.state_dict()
    assert all(torch.equal(before[n], after[n]) for n, _ in task.named_parameters() if n.startswith("generator."))
    assert not torch.equal(before["critic.1.weight"], after["critic.1.weight"])
    assert all(parameter.requires_grad for parameter in task.generator.parameters())
    assert not any(parameter.requires_grad for parameter in task.average.parameters())


def test_the_learning_rate_follows_the_tasks_factor(tmp_path):
    class Scheduled(Regression):
        def optimizers(self):
            return {"main": torch.optim.SGD(self.network.parameters(), lr=0.5)}

        def learning_rate_factor(self, step, steps):
            return 1.0 if step < 2 else 0.0

    two = fit(Scheduled(), points(), CPU(steps=2, batch_size=4), tmp_path / "two")
    ten = fit(Scheduled(), points(), CPU(steps=10, batch_size=4), tmp_path / "ten")
    one = fit(Scheduled(), points(), CPU(steps=1, batch_size=4), tmp_path / "one")
    assert_same_bits(two.task.state_dict(), ten.task.state_dict())
    assert not torch.equal(one.task.network[0].weight, two.task.network[0].weight)


def test_every_turn_of_every_step_has_random_numbers_of_its_own(tmp_path):
    class Noting(Adversaries):
        def losses(self, turn, batch, generator):
            explicit = torch.rand(1, generator=generator.clone_state()).item()
            self.noted.append((explicit, torch.default_generator.initial_seed()))
            return super().losses(turn, batch, generator)

    noted = []
    for seed in (0, 0, 1):
        task = Noting()
        task.noted = []
        fit(task, Images(), CPU(steps=6, batch_size=6, seed=seed), tmp_path / str(len(noted)))
        noted.append(task.noted)
    assert noted[0] == noted[1]
    everything = [number for run in noted[1:] for pair in run for number in pair]
    assert len(everything) == len(set(everything)) == 2 * 2 * 10


def test_clipping_bounds_the_step(tmp_path):
    class Plain(Regression):
        def optimizers(self):
            return {"main": torch.optim.SGD(self.network.parameters(), lr=1.0)}

    before = torch.cat([p.detach().flatten() for p in Plain().parameters()])
    result = fit(Plain(), points(), CPU(steps=1, batch_size=8, clip_gradient=0.01), tmp_path)
    after = torch.cat([p.detach().flatten() for p in result.task.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_callers_random_state_and_dataset_stay_as_they_were(tmp_path):
    dataset, task = Images(), Adversaries()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit(task, dataset, CPU(steps=8, batch_size=8), tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert dataset.epoch == 0


# ------------------------------------------------------------------------------------------------------- the order


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 7))
def test_every_epoch_visits_every_item_once(seed, batch_size, items):
    places = [place for step in range(items * 2) for place in batch_places(seed, step, batch_size, items)]
    epochs = len(places) // items
    assert [epoch for epoch, _ in places] == [position // items for position in range(len(places))]
    for epoch in range(epochs):
        assert sorted(index for at, index in places if at == epoch) == list(range(items))
    assert batch_places(seed, 1, batch_size, items) == places[batch_size : 2 * batch_size]


def test_order_depends_on_seed_and_epoch():
    orders = {tuple(i for _, i in batch_places(seed, step, 50, 50)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


def test_derived_seeds_differ_and_are_stable():
    keys = [
        (0, "item", 1, 2),
        (0, "item", 2, 1),
        (0, "turn", 1, 2),
        (1, "item", 1, 2),
        (0, "item", 12),
        ("0", "item", 12),
    ]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= derive_seed(*key) < 2**63 for key in keys)
    assert derive_seed(0, "item", 1) == 2708799723683117576  # fixed: shipped results depend on it


def collect(num_workers, ranks=1):
    shares = [StepDataset(Images(10), 1, 4).share_of(rank, ranks) for rank in range(ranks)]
    loaders = [step_loader(share, 2, 9, num_workers=num_workers, pin_memory=False) for share in shares]
    return [
        (
            torch.cat([p["image"] for p in parts]),
            torch.cat([p["epoch"] for p in parts]),
            [name for p in parts for name in p["name"]],
        )
        for parts in zip(*loaders, strict=True)
    ]


@pytest.mark.parametrize(("num_workers", "ranks"), [(2, 1), (0, 2), (0, 4)])
def test_workers_and_processes_see_the_same_items(num_workers, ranks):
    for one, many in zip(collect(0), collect(num_workers, ranks), strict=True):
        assert torch.equal(one[0], many[0])
        assert torch.equal(one[1], many[1])
        assert one[2] == many[2]


def test_items_are_drawn_anew_each_epoch():
    batches = collect(0)
    assert {int(epoch) for _, epochs, _ in batches for epoch in epochs} == {0, 1, 2, 3}


def test_workers_do_not_change_the_weights(tmp_path):
    none = fit(Adversaries(), Images(), CPU(steps=6, batch_size=8), tmp_path / "0")
    two = fit(Adversaries(), Images(), CPU(steps=6, batch_size=8, num_workers=2), tmp_path / "2")
    assert_same_bits(none.task.state_dict(), two.task.state_dict())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.data())
def test_micro_batches_cover_the_batch(size, data):
    parts = data.draw(st.integers(1, size))
    batch = {
        "x": torch.arange(size * 2).view(size, 2),
        "pair": (torch.arange(size), [f"{i}" for i in range(size)]),
        "k": 7,
    }
    pieces = list(split_batch(batch, size, parts))
    assert len(pieces) == parts
    assert sum(weight for _, weight in pieces) == pytest.approx(1)
    assert torch.equal(torch.cat([piece["x"] for piece, _ in pieces]), batch["x"])
    assert [name for piece, _ in pieces for name in piece["pair"][1]] == batch["pair"][1]
    assert all(len(p["x"]) == len(p["pair"][0]) == round(w * size) and p["k"] == 7 for p, w in pieces)


# --------------------------------------------------------------------------------------------- killed, and resumed

VICTIM = CPU(steps=45, batch_size=6, seed=2, checkpoint_every=4, log_every=3)


def victim(out, heartbeat=None, crime=None, wait=0.0):
    """Train in a process of its own; `crime` names the moment within a checkpoint at which the process dies."""
    torch.set_num_threads(1)
    task = Adversaries()
    task.heartbeat = heartbeat
    if crime is not None:
        arrange(out, *crime)
    fit(task, Images(wait=wait), VICTIM, out)


def arrange(out, moment, occasion):
    """Make the process kill itself, for real, in the middle of writing its `occasion`-th file."""
    real_sync, real_replace, count = os.fsync, os.replace, [0]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def sync(descriptor):
        temporary = out / "checkpoint.safetensors.tmp"
        is_checkpoint = temporary.exists() and os.path.samestat(os.fstat(descriptor), temporary.stat())
        if moment == "half written" and count[0] >= occasion and is_checkpoint:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            real_sync(descriptor)
            die()
        real_sync(descriptor)

    def replace(source, target):
        count[0] += 1
        if moment == "before the rename" and count[0] > occasion:
            die()
        real_replace(source, target)
        if moment == "after the rename" and count[0] > occasion:
            die()

    os.fsync, os.replace = sync, replace


needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(["helpers.training.loop", "lightning.fabric", "pytest", "hypothesis"])
    return context


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return fit(Adversaries(), Images(), VICTIM, tmp_path_factory.mktemp("undisturbed"))


def finish_and_compare(processes, out, undisturbed):
    last = processes.Process(target=victim, args=(out,))
    last.start()
    last.join(120)
    assert last.exitcode == 0
    mine, theirs = read_state(out / "checkpoint.safetensors"), read_state(undisturbed.checkpoint)
    assert mine["step"] == 45
    assert_same_bits(mine["task"], theirs["task"])
    assert_same_bits(mine["task"], undisturbed.task.state_dict())
    assert pickle.dumps(flat(mine["optimizers"])) == pickle.dumps(flat(theirs["optimizers"]))
    assert rows_without_seconds(out / "log.csv") == rows_without_seconds(undisturbed.log)


def flat(value):
    """Tensors as lists, so that nested states compare by value."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return [flat(part) for part in value] if isinstance(value, list | tuple) else value


@needs_kill
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_it_ends_with_the_same_weights(processes, undisturbed, tmp_path, seed):
    rng, reached, kills = random.Random(seed), 0, 0
    while reached < 38:
        heartbeat = processes.Value("i", 0)
        process = processes.Process(target=victim, args=(tmp_path, heartbeat, None, 0.0005))
        process.start()
        target, deadline = reached + rng.randint(1, 12), time.monotonic() + 60
        while heartbeat.value < target and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.006))
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        kills += process.exitcode == -signal.SIGKILL
        reached = max(reached, read_state(tmp_path / "checkpoint.safetensors")["step"])
    assert kills >= 3
    finish_and_compare(processes, tmp_path, undisturbed)


@needs_kill
def test_killed_within_checkpoints_it_ends_with_the_same_weights(processes, undisturbed, tmp_path):
    steps = []
    for moment, occasion in [
        ("half written", 0),
        ("before the rename", 2),
        ("half written", 3),
        ("after the rename", 3),
    ]:
        process = processes.Process(target=victim, args=(tmp_path, None, (moment, occasion)))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, moment
        steps.append(read_state(tmp_path / "checkpoint.safetensors")["step"] if occasion else -1)
    assert steps == sorted(set(steps))  # every attempt went further
    finish_and_compare(processes, tmp_path, undisturbed)


def test_a_finished_run_is_not_trained_again(undisturbed):
    class Unwilling(Adversaries):
        def losses(self, turn, batch, generator):
            raise AssertionError("trained again")

    Unwilling.__qualname__ = "Adversaries"
    again = fit(Unwilling(), Images(), VICTIM, undisturbed.checkpoint.parent)
    assert (again.resumed_at, again.step) == (45, 45)
    assert_same_bits(again.task.state_dict(), undisturbed.task.state_dict())


def test_resume_false_starts_anew(tmp_path):
    config = CPU(steps=4, batch_size=4, log_every=1)
    first = fit(Regression(seed=1), points(), config, tmp_path)
    old = weights_of(first.task)
    second = fit(Regression(seed=2), points(), config, tmp_path, resume=False)
    assert second.resumed_at == 0
    assert not torch.equal(second.task.network[0].weight, old["network.0.weight"])
    assert list(read_log(second.log).index) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "word"), [({"seed": 1}, "seed"), ({"batch_size": 5}, "batch_size"), ({"steps": 9}, "steps")]
)
def test_another_runs_folder_is_refused(tmp_path, change, word):
    fit(Regression(), points(), CPU(steps=2, batch_size=4), tmp_path)
    with pytest.raises(FitError, match=word):
        fit(Regression(), points(), CPU(**{"steps": 2, "batch_size": 4, **change}), tmp_path)


def test_another_dataset_task_or_network_is_refused(tmp_path):
    class Wider(Regression):
        def __init__(self):
            super().__init__()
            self.network[2] = nn.Linear(8, 1, bias=False)

    Wider.__qualname__ = "Regression"
    config = CPU(steps=2, batch_size=4)
    fit(Regression(), points(), config, tmp_path)
    with pytest.raises(FitError, match="items = 40, not 39"):
        fit(Regression(), points(39), config, tmp_path)
    with pytest.raises(FitError, match="task = 'Regression'"):
        fit(Adversaries(), points(), config, tmp_path)
    with pytest.raises(StorageError, match=r"does not fit the network.*network\.2\.bias"):
        fit(Wider(), points(), config, tmp_path)


def test_a_damaged_checkpoint_is_reported(tmp_path):
    config = CPU(steps=2, batch_size=4)
    result = fit(Regression(), points(), config, tmp_path)
    data = result.checkpoint.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"\x80\x04" + data, pickle.dumps({"step": 1})):
        result.checkpoint.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"checkpoint\.safetensors: not a sound safetensors file"):
            fit(Regression(), points(), config, tmp_path)
    save_weights(Regression(), result.checkpoint)
    with pytest.raises(StorageError, match="not a"):
        fit(Regression(), points(), config, tmp_path)


# ------------------------------------------------------------------------------------------------------ divergence


class Diverging(Regression):
    """Turns bad at one step: in the loss, or only in the gradient."""

    def __init__(self, step, loss_too):
        super().__init__()
        self.bad_step, self.loss_too, self.now = step, loss_too, 0
        self.now = 0

    def losses(self, turn, batch, generator):
        loss = super().losses(turn, batch, generator)["loss"]
        if self.now == self.bad_step:
            broken = (self.network[0].weight * 0).sum()
            loss = loss / broken if self.loss_too else loss + broken.abs().sqrt()  # the root's slope at 0 is infinite
        return {"loss": loss}

    def after_step(self, step):
        self.now = step + 1


def test_a_bad_loss_stops_and_leaves_the_last_good_checkpoint(tmp_path):
    good = fit(Regression(), points(), CPU(steps=8, batch_size=4), tmp_path / "good")
    task = Diverging(10, loss_too=True)
    with pytest.raises(DivergedError, match=r"'main' is inf at step 10") as caught:
        fit(task, points(), CPU(steps=20, batch_size=4, checkpoint_every=8), tmp_path / "bad")
    assert isinstance(caught.value, NaturalTracesError)
    state = read_state(tmp_path / "bad" / "checkpoint.safetensors")
    assert state["step"] == 8
    assert_same_bits(state["task"], good.task.state_dict())
    assert all(bool(p.isfinite().all()) for p in task.parameters())  # found before the optimizer moved


@pytest.mark.parametrize(
    ("bad_step", "message"), [(10, "at step 11"), (11, "a weight is NaN or infinite after step 12")]
)
def test_bad_weights_are_never_written(tmp_path, bad_step, message):
    with pytest.raises(DivergedError, match=message):
        fit(Diverging(bad_step, loss_too=False), points(), CPU(steps=20, batch_size=4, checkpoint_every=4), tmp_path)
    assert read_state(tmp_path / "checkpoint.safetensors")["step"] == 8


# ---------------------------------------------------------------------------------------------------------- memory


class Hungry(Regression):
    """Runs out of memory above some number of images."""

    limit = 3
    error = staticmethod(lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))

    def losses(self, turn, batch, generator):
        losses = super().losses(turn, batch, generator)
        if len(batch[0]) > self.limit:
            raise self.error()
        return losses


@pytest.mark.parametrize("batch_size", [8, 7])
def test_out_of_memory_splits_the_batch_and_keeps_the_gradient(tmp_path, batch_size):
    class Sgd(Hungry):
        def optimizers(self):
            return {"main": torch.optim.SGD(self.network.double().parameters(), lr=0.1)}

    class Roomy(Sgd):
        limit = 100

    dataset = TensorDataset(*(tensor.double() for tensor in points().tensors))
    config = CPU(steps=12, batch_size=batch_size)
    whole = fit(Roomy(), dataset, config, tmp_path / "whole")
    with pytest.warns(RuntimeWarning, match="out of memory at step 0") as caught:
        split = fit(Sgd(), dataset, config, tmp_path / "split")
    assert len([w for w in caught if "out of memory" in str(w.message)]) == 2  # 8 -> 4 -> 2, once and for all
    assert split.accumulate == 4
    for name, tensor in whole.task.state_dict().items():
        torch.testing.assert_close(split.task.state_dict()[name], tensor, rtol=1e-12, atol=1e-13)
    logs = [read_log(result.log)["main/loss"].iloc[-1] for result in (whole, split)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_accumulation_by_choice_equals_accumulation_by_need(tmp_path):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        need = fit(Hungry(), points(), CPU(steps=5, batch_size=8), tmp_path / "need")
    choice = fit(Hungry(), points(), CPU(steps=5, batch_size=8, accumulate=4), tmp_path / "choice")
    assert_same_bits(need.task.state_dict(), choice.task.state_dict())


def test_the_split_survives_a_restart(tmp_path):
    class Dying(Hungry):
        def after_step(self, step):
            if step == 5 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                raise KeyboardInterrupt

    Dying.__qualname__ = "Hungry"
    config = CPU(steps=9, batch_size=8, checkpoint_every=2)
    with pytest.warns(RuntimeWarning):
        whole = fit(Hungry(), points(), config, tmp_path / "whole")
    with pytest.warns(RuntimeWarning), pytest.raises(KeyboardInterrupt):
        fit(Dying(), points(), config, tmp_path / "cut")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no second attempt: the checkpoint knows
        resumed = fit(Dying(), points(), config, tmp_path / "cut")
    assert (resumed.resumed_at, resumed.accumulate) == (4, 4)
    assert_same_bits(whole.task.state_dict(), resumed.task.state_dict())


def test_what_cannot_be_split_says_so(tmp_path):
    class Coupled(Hungry):
        splittable = False

    class Starving(Hungry):
        limit = 0

    with pytest.raises(MemoryLimitError, match=r"8 images.*couples"):
        fit(Coupled(), points(), CPU(steps=2, batch_size=8), tmp_path / "coupled")
    with pytest.raises(FitError, match="couples"):
        fit(Coupled(), points(), CPU(steps=2, batch_size=8, accumulate=2), tmp_path / "chosen")
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryLimitError, match="a single image"):
        fit(Starving(), points(), CPU(steps=2, batch_size=8), tmp_path / "starving")


def test_other_errors_pass_unchanged(tmp_path):
    class Faulty(Hungry):
        error = staticmethod(lambda: RuntimeError("shapes differ"))

    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(Faulty(), points(), CPU(steps=2, batch_size=8), tmp_path)
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("memory format"))


# --------------------------------------------------------------------------------------------------- many processes


class Spread(Regression):
    """Exact arithmetic, running statistics, one process short of memory, and a crash on demand."""

    splittable = True

    def __init__(self, crash=None):
        super().__init__()
        self.crash = None if crash is None else str(crash)
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.double()

    def losses(self, turn, batch, generator):
        inputs, targets = batch
        self.norm(inputs)
        loss = functional.mse_loss(self.network(inputs), targets)
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            if len(inputs) > 2:
                raise torch.OutOfMemoryError("out of memory")
            if self.crash and not Path(self.crash).exists() and float(self.norm.num_batches_tracked) > 20:
                Path(self.crash).touch()
                loss = loss * float("nan")
        return {"loss": loss}


SPREAD = partial(CPU, steps=16, batch_size=8, checkpoint_every=5, log_every=2)


def exact_points():
    return TensorDataset(*(tensor.double() for tensor in points().tensors))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The default way, by spawning: every process imports everything anew, which takes most of the time."""
    return fit(Spread(), exact_points(), SPREAD(devices=2), tmp_path_factory.mktemp("both"))


def expected_running_mean():
    """Each process sees its own images, the second in halves (and once whole, before it ran out); then they average."""
    mean, inputs = torch.zeros(3, dtype=torch.float64), exact_points().tensors[0]
    for step in range(16):
        rows = [index for _, index in batch_places(0, step, 8, len(inputs))]
        pieces = [[rows[:4]], ([rows[4:]] if step == 0 else []) + [rows[4:6], rows[6:]]]
        means = [mean, mean]
        for process in range(2):
            for piece in pieces[process]:
                means[process] = 0.9 * means[process] + 0.1 * inputs[piece].mean(dim=0)
        mean = (means[0] + means[1]) / 2
    return mean


def test_two_processes_agree_with_one(both, tmp_path):
    alone = fit(Spread(), exact_points(), SPREAD(), tmp_path)
    for name, tensor in alone.task.named_parameters():
        torch.testing.assert_close(both.task.get_parameter(name), tensor, rtol=1e-10, atol=1e-12)
    log = [read_log(result.log)["main/loss"] for result in (alone, both)]
    assert list(log[0].index) == list(log[1].index)
    assert list(log[1]) == pytest.approx(list(log[0]), rel=1e-5)
    torch.testing.assert_close(both.task.norm.running_mean, expected_running_mean(), rtol=1e-10, atol=1e-12)
    assert read_state(both.checkpoint)["accumulate"] == [1, 2]  # only the second process split its share


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_two_processes_stop_together_and_resume_exactly(both, tmp_path):
    config = SPREAD(devices=2, strategy="ddp_fork")
    with pytest.raises(DivergedError, match="is nan at step"):
        fit(Spread(tmp_path / "crashed"), exact_points(), config, tmp_path)
    assert 0 < read_state(tmp_path / "checkpoint.safetensors")["step"] < 16
    resumed = fit(Spread(tmp_path / "crashed"), exact_points(), config, tmp_path)
    assert resumed.resumed_at > 0
    assert_same_bits(resumed.task.state_dict(), both.task.state_dict())


# -------------------------------------------------------------------------------------- precision, layout, compile


class Convolution(Task):
    """A small image network that remembers how its input looked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 2))
        self.seen = set()

    def optimizers(self):
        return {"main": torch.optim.Adam(self.parameters(), lr=0.01)}

    def losses(self, turn, batch, generator):
        out = self.network(batch["image"])
        channels_last = batch["image"].is_contiguous(memory_format=torch.channels_last)
        self.seen.add(
            (out.dtype, channels_last, self.network[0].weight.is_contiguous(memory_format=torch.channels_last))
        )
        return {"loss": (out.float().mean((1, 2, 3)) - batch["index"] / 24).square().mean()}


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights(tmp_path):
    result = fit(Convolution(), Images(), CPU(steps=4, batch_size=8, precision="bf16-mixed"), tmp_path / "half")
    full = fit(Convolution(), Images(), CPU(steps=4, batch_size=8), tmp_path / "full")
    assert {dtype for dtype, _, _ in result.task.seen} == {torch.bfloat16}
    for name, tensor in full.task.state_dict().items():
        assert result.task.state_dict()[name].dtype == torch.float32
        torch.testing.assert_close(result.task.state_dict()[name], tensor, atol=0.02, rtol=0.05)


def test_half_precision_resumes_with_its_loss_scale(tmp_path, monkeypatch):
    """Fabric offers float16 on GPUs only, so its precision plugin is handed over ready-made."""
    import lightning.fabric
    from lightning.fabric.plugins import MixedPrecision

    scales = []

    def half_on_cpu(precision, **settings):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=3)
        plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
        scales.append(scaler.get_scale)
        return real(plugins=[plugin], **settings)

    class Cut(Convolution):
        def after_step(self, step):
            if step == 8 and not (tmp_path / "cut once").exists():
                (tmp_path / "cut once").touch()
                raise KeyboardInterrupt

    Cut.__qualname__ = "Convolution"
    real = lightning.fabric.Fabric
    monkeypatch.setattr(lightning.fabric, "Fabric", half_on_cpu)
    config = CPU(steps=14, batch_size=8, precision="16-mixed", checkpoint_every=4, clip_gradient=1.0)
    before = Convolution().state_dict()
    whole = fit(Convolution(), Images(), config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Cut(), Images(), config, tmp_path / "cut")
    resumed = fit(Cut(), Images(), config, tmp_path / "cut")
    assert scales[0]() == scales[2]() != 2.0**20  # the scale had to fall, and the resumed run knows it
    assert resumed.resumed_at == 8
    assert {dtype for dtype, _, _ in whole.task.seen} == {torch.float16}
    assert not torch.equal(before["network.0.weight"], whole.task.network[0].weight)
    assert_same_bits(whole.task.state_dict(), resumed.task.state_dict())


def test_channels_last_reaches_images_and_weights_and_resumes(tmp_path):
    config = CPU(steps=6, batch_size=8, channels_last=True)
    result = fit(Convolution(), Images(), config, tmp_path / "last")
    plain = fit(Convolution(), Images(), CPU(steps=6, batch_size=8), tmp_path / "plain")
    assert {(a, b) for _, a, b in result.task.seen} == {(True, True)}
    assert {(a, b) for _, a, b in plain.task.seen} == {(False, False)}
    for name, tensor in plain.task.state_dict().items():
        torch.testing.assert_close(result.task.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)


class Wrapped(nn.Module):
    """A network of a class of our own: older torch (seen with 2.11) leaves a bare `nn.Sequential` uncompiled."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, inputs):
        return self.layers(inputs)


class OwnNetwork(Regression):
    def __init__(self):
        super().__init__()
        self.network = Wrapped(self.network)


def test_compile_compiles_the_networks_and_keeps_their_names(tmp_path, monkeypatch):
    graphs = []

    def keep(graph, inputs):  # a backend of the tracer's, in place of the C++ compiler
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    torch._dynamo.reset()
    result = fit(OwnNetwork(), points(), CPU(steps=3, batch_size=8, compile=True), tmp_path / "compiled")
    assert len(graphs) >= 1
    plain = fit(OwnNetwork(), points(), CPU(steps=3, batch_size=8), tmp_path / "plain")
    assert_same_bits(result.task.state_dict(), plain.task.state_dict())


# --------------------------------------------------------------------------------------------- settings, manners


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 3, "devices": 2}, "multiple"),
        ({"accumulate": 9}, "accumulate"),
        ({"precision": "64"}, "precision"),
    ],
)
def test_impossible_settings_are_refused(change, word):
    with pytest.raises(FitError, match=word):
        CPU(**{"steps": 2, "batch_size": 8, **change})


def test_mistakes_in_a_task_are_named(tmp_path):
    class Nameless(Regression):
        def losses(self, turn, batch, generator):
            return {"error": super().losses(turn, batch, generator)["loss"]}

    class Vector(Regression):
        def losses(self, turn, batch, generator):
            return {"loss": self.network(batch[0])}

    class Turnless(Regression):
        def turns(self, step):
            return ("main", "critic")

    config = CPU(steps=2, batch_size=4)
    for kind, word in [(Nameless, "'loss'"), (Vector, "scalar"), (Turnless, "critic")]:
        with pytest.raises(FitError, match=word):
            fit(kind(), points(), config, tmp_path / kind.__name__)
    with pytest.raises(FitError, match="empty"):
        fit(Regression(), TensorDataset(torch.zeros(0, 3), torch.zeros(0, 1)), config, tmp_path / "empty")


def test_the_bar_shows_only_at_a_terminal(tmp_path, capsys, monkeypatch):
    fit(Regression(), points(), FitConfig(steps=3, batch_size=4, accelerator="cpu"), tmp_path / "a")
    assert "step" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(Regression(), points(), FitConfig(steps=3, batch_size=4, accelerator="cpu"), tmp_path / "b")
    assert "3/3" in capsys.readouterr().err
    fit(Regression(), points(), CPU(steps=3, batch_size=4), tmp_path / "c")
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------------------------------------------- storage


def test_weights_travel_through_a_file(tmp_path):
    module = Adversaries()
    metadata = {"kind": "critic", "threshold": 0.1, "seeds": [1, 2]}
    save_weights(module, tmp_path / "deep" / "w.safetensors", metadata=metadata)
    other = Adversaries()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    assert load_weights(other, tmp_path / "deep" / "w.safetensors") == metadata
    assert_same_bits(module.state_dict(), other.state_dict())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["w.safetensors"]  # no temporary file stays


def test_half_precision_halves_the_file_and_keeps_counts(tmp_path):
    module = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    module[1].num_batches_tracked.fill_(70001)
    save_weights(module, tmp_path / "full", half=False)
    save_weights(module, tmp_path / "half", half=True)
    assert (tmp_path / "half").stat().st_size < 0.56 * (tmp_path / "full").stat().st_size
    tensors, _ = read_weights(tmp_path / "half")
    assert tensors["0.weight"].dtype == torch.float16
    fresh = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    load_weights(fresh, tmp_path / "half")
    assert fresh[0].weight.dtype == torch.float32
    assert int(fresh[1].num_batches_tracked) == 70001
    torch.testing.assert_close(fresh[0].weight, module[0].weight, rtol=1e-3, atol=1e-6)
    with pytest.raises(StorageError, match="float16"):
        save_weights({"big": torch.tensor([1e5])}, tmp_path / "big", half=True)


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in "ab":
        save_weights(Regression(), tmp_path / name, metadata={"b": 1, "a": {"y": 2, "x": 3}})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tied_sliced_and_channels_last_tensors_are_stored(tmp_path):
    weight = torch.arange(48.0).view(2, 3, 4, 2)
    state = {"a": weight, "tied": weight, "slice": weight[:, 1:], "last": weight.to(memory_format=torch.channels_last)}
    save_weights(state, tmp_path / "w")
    assert_same_bits(read_weights(tmp_path / "w")[0], state)


def test_files_of_other_libraries_can_be_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "w", metadata={"format": "pt"})
    tensors, metadata = read_weights(tmp_path / "w")
    assert torch.equal(tensors["x"], torch.ones(2))
    assert metadata == {}


def test_unsound_weights_are_refused(tmp_path):
    save_weights(Regression(), tmp_path / "w")
    with pytest.raises(StorageError, match="does not fit the network"):
        load_weights(nn.Linear(2, 2), tmp_path / "w")
    with pytest.raises(StorageError, match="cannot be read"):
        read_weights(tmp_path / "absent")
    torch.save({"x": torch.ones(2)}, tmp_path / "pickle")
    with pytest.raises(StorageError, match="not a sound safetensors file"):
        read_weights(tmp_path / "pickle")
    with pytest.raises(StorageError, match="JSON"):
        save_weights(Regression(), tmp_path / "w", metadata={"path": tmp_path})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda part: (
        st.lists(part, max_size=3)
        | st.tuples(part, part)
        | st.dictionaries(st.text(max_size=3) | st.integers(), part, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_states_come_back_as_they_were(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "state"
    write_state(path, value)
    back = read_state(path)
    assert back == value
    assert repr(back) == repr(value)  # also tells 1 from True, and a tuple from a list


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.LBFGS])
def test_optimizers_continue_exactly_from_a_file(tmp_path, kind):
    def train(network, optimizer, steps):
        for step in range(*steps):
            inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))

            def closure(inputs=inputs):
                optimizer.zero_grad()
                loss = network(inputs).square().mean()
                loss.backward()
                return loss

            optimizer.step(closure)

    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = kind(network.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    train(network, optimizer, (0, 4))
    write_state(tmp_path / "s", {"network": network.state_dict(), "optimizer": optimizer.state_dict()})
    twin = nn.Linear(3, 2)
    twin_optimizer = kind(twin.parameters(), lr=0.3)
    state = read_state(tmp_path / "s")
    twin.load_state_dict(state["network"])
    twin_optimizer.load_state_dict(state["optimizer"])
    train(network, optimizer, (4, 8))
    train(twin, twin_optimizer, (4, 8))
    assert_same_bits(network.state_dict(), twin.state_dict())


def test_states_that_cannot_be_stored_are_refused(tmp_path):
    for state in ({"x": object()}, {1.5: 2}, {"a": {"b/c": torch.ones(1)}, "a/b": {"c": torch.ones(1)}}):
        with pytest.raises(StorageError):
            write_state(tmp_path / "s", state)
    (tmp_path / "other").write_bytes(b"")
    header = json.dumps({"__metadata__": {"json": '{"call": "os.system"}'}}).encode()
    (tmp_path / "odd").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(StorageError, match="not a stored state"):
        read_state(tmp_path / "odd")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="file: cannot be written: No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
