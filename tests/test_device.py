"""`--device` means one thing everywhere: where the network runs, in training and in scoring."""

from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from helpers.api import find_device
from helpers.cli.application import application
from helpers.detectors.config import config_path
from helpers.detectors.ensemble import EnsembleConfig
from helpers.detectors.registry import read_config
from helpers.training import FitConfig, FitError
from helpers.training.task import fabric_place

RUNS_A_NETWORK = {
    "ablate", "app", "calibrate", "combine", "evaluate", "holdout", "range", "robustness redraw", "robustness sweep",
    "score", "train", "verdicts", "zoo train",
}  # fmt: skip


def _leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "list_commands"):
        context = command.make_context("natural-traces", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _leaves(command.get_command(context, name), (*words, name))
    else:
        yield " ".join(words), command


def test_commands_that_run_a_network_take_a_device() -> None:
    with_device = {name for name, leaf in _leaves(application()) if any("--device" in one.opts for one in leaf.params)}
    assert with_device == RUNS_A_NETWORK


@pytest.mark.parametrize(
    "words",
    [
        ("train", "spectrum", "--out", "run"),
        ("holdout", "ntf", "--out", "run"),
        ("ablate", "ntf", "--out", "run"),
        ("calibrate", "ntf_pretrained", "--photographs", ".", "--out", "run"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_done(
    words: tuple[str, ...], tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(application(), [*words, "--device", "cuda:99"])
    assert "cuda:99: no such device here" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_device_reaches_the_loop_and_no_claim() -> None:
    config = read_config(config_path("ntf_pretrained"))
    moved = config.trained_on("cuda:1")
    assert moved.fit_config(3).accelerator == "cuda:1"
    assert {name for name, value in moved.values().items() if value != config.values()[name]} <= config.not_trained
    both = EnsembleConfig(members=(config, config)).trained_on("cpu")
    assert [member.fit_config(3).accelerator for member in both.members] == ["cpu", "cpu"]
    spectrum = read_config(config_path("spectrum"))
    assert spectrum.trained_on("cuda") == spectrum  # no loop: it is computed on the CPU


def test_one_gpu_of_several() -> None:
    assert FitConfig(steps=1, batch_size=2, accelerator="cuda:1").accelerator == "cuda:1"
    assert fabric_place("cuda:1", 1) == ("cuda", [1])
    assert fabric_place("cuda", 2) == ("cuda", 2)
    with pytest.raises(FitError, match="cuda:1 is one device, not 2"):
        FitConfig(steps=1, batch_size=2, accelerator="cuda:1", devices=2)


def test_find_device() -> None:
    assert find_device("cpu") == "cpu"
    assert find_device("auto") in {"cpu", "cuda", "mps"}
