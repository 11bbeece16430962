"""The study of lesson 03: alarms against known values, one step against the task, and what was recorded."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_images import made_up
from torch.nn.functional import normalize

from helpers.trace_mapping import TraceMapping, TraceTerms
from helpers.trace_study import (
    FULL,
    PIXEL_DIFFUSION,
    VARIANTS,
    Settings,
    Variant,
    bank_of,
    broken_copies,
    embeddings,
    small_encoder,
    spread,
    study,
    train_briefly,
    view_pool,
    without_broken,
)
from helpers.training_data import Augmentation
from helpers.views import BREAKERS

TINY = Settings(
    widths=(4, 6), embedding=4, steps=3, photographs=4, pool=8, prototypes=2, augmentation=Augmentation(32, 0.0)
)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, math.pi / 2])
def test_the_spread_of_two_directions_is_the_sine_of_half_their_angle(angle: float) -> None:
    rows = torch.tensor([[math.cos(angle), math.sin(angle)], [math.cos(angle), -math.sin(angle)]], dtype=torch.float64)
    assert spread(rows) == pytest.approx(math.sin(angle), abs=1e-12)


def test_for_unit_rows_spread_and_mean_share_the_square() -> None:
    rows = normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1, dim=1)
    assert spread(rows) ** 2 + float(rows.mean(dim=0).square().sum()) == pytest.approx(1)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = small_encoder(5, TINY).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(first[name], value) for name, value in small_encoder(5, TINY).state_dict().items())
    other = small_encoder(6, TINY).state_dict()
    assert any(not torch.equal(first[name], value) for name, value in other.items())


def test_a_pool_holds_kept_and_broken_views_and_can_lose_the_broken_ones() -> None:
    pool = view_pool(made_up(), 0, ("blur",), TINY)
    assert pool["first"].shape == pool["second"].shape == (8, 3, 32, 32)
    assert pool["broken"].shape == (8, 2, 3, 32, 32)
    dropped = without_broken(pool)
    assert dropped["broken"].shape == (8, 0, 3, 32, 32)
    assert pool["broken"].shape[1] == 2
    assert dropped["first"] is pool["first"]


def test_the_first_step_has_the_loss_of_the_task() -> None:
    pool = view_pool(made_up(), 0, settings=TINY)
    rows = torch.randperm(8, generator=torch.Generator().manual_seed(2))[:4]
    batch = {name: values[rows] for name, values in pool.items()}
    expected = TraceMapping(small_encoder(2, TINY)).losses("main", batch, torch.Generator())
    log = train_briefly(small_encoder(2, TINY), pool, TraceTerms(), 2, TINY)
    assert len(log) == 3
    for name in ("loss", "homogeneous", "heterogeneous", "decorrelation", "variance"):
        assert log[name][0] == pytest.approx(float(expected[name].detach()), rel=1e-6)


def test_a_short_training_repeats_and_leaves_no_hook() -> None:
    pool = view_pool(made_up(), 0, settings=TINY)
    encoders = [small_encoder(2, TINY) for _ in range(2)]
    logs = [train_briefly(encoder, pool, TraceTerms(), 2, TINY) for encoder in encoders]
    assert logs[0].equals(logs[1])
    assert not encoders[0].training
    assert not encoders[0]._forward_hooks
    before = small_encoder(2, TINY).state_dict()
    assert any(not torch.equal(before[name], value) for name, value in encoders[0].state_dict().items())


def test_the_alarms_are_those_of_the_kept_views() -> None:
    pool = view_pool(made_up(), 0, settings=TINY)
    rows = torch.randperm(8, generator=torch.Generator().manual_seed(2))[:4]
    views = torch.cat([pool["first"][rows], pool["second"][rows], pool["broken"][rows].flatten(0, 1)])
    with torch.no_grad():
        kept = small_encoder(2, TINY)(views)[0][:8]
    log = train_briefly(small_encoder(2, TINY), pool, TraceTerms(), 2, TINY)
    assert log["spread"][0] == pytest.approx(spread(kept), rel=1e-5)


def test_embeddings_do_not_depend_on_how_images_are_batched() -> None:
    encoder = small_encoder(0, TINY).eval()
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, alone = embeddings(encoder, images), encoder(images[66:67])
    for all_rows, one in zip(found, alone, strict=True):
        assert torch.allclose(all_rows[66], one[0], atol=1e-5)


def test_the_bank_has_unit_rows() -> None:
    bank = bank_of(small_encoder(0, TINY).eval(), view_pool(made_up(), 0, settings=TINY), TINY)
    assert bank.shape == (2, 4)
    assert torch.allclose(bank.norm(dim=1), torch.ones(2), atol=1e-5)


def test_broken_copies_depend_on_the_row_alone() -> None:
    images = made_up()
    some, one = broken_copies(images, "blur", [1, 2]), broken_copies(images, "blur", [2])
    assert torch.equal(some[1], one[0])
    assert not torch.equal(one[0], images.image(2))


@pytest.mark.slow
def test_a_study_of_two_variants_adds_up() -> None:
    variants = {FULL: Variant(), "not trained": Variant(trained=False)}
    found = study([0, 1], variants=variants, settings=Settings(widths=(4,), embedding=4, steps=2, pool=8))
    assert [entry["name"] for entry in found["variants"]] == list(variants)
    first, second = found["variants"]
    for entry in (first, second):
        per_run = np.mean([part["per_run"] for part in entry["generators"].values()], axis=0)
        assert entry["mean"]["per_run"] == pytest.approx(per_run, abs=2e-4)
        assert entry["mean"]["value"] == pytest.approx(per_run.mean(), abs=2e-4)
        assert set(entry["broken"]) == set(BREAKERS)
    assert first["difference"] is None
    gap = first["mean"]["value"] - second["mean"]["value"]
    assert second["difference"]["value"] == pytest.approx(gap, abs=2e-4)
    json.dumps(found)


# ------------------------------------------------------------------------------------------------ what was recorded


@pytest.fixture(scope="module")
def entries(project: Path) -> dict[str, dict]:
    record = json.loads((project / "data" / "results" / "traces_zoo.json").read_text(encoding="utf-8"))
    assert len(record["seeds"]) >= 3
    return {entry["name"]: entry for entry in record["variants"]}


def test_the_record_holds_every_variant(entries: dict[str, dict]) -> None:
    assert list(entries) == list(VARIANTS)
    assert all(set(entry["breakers"]) == set(VARIANTS[name].breakers) for name, entry in entries.items())


def test_attraction_alone_collapses_and_the_rank_does_not_see_it(entries: dict[str, dict]) -> None:
    collapsed, whole = entries["attraction alone"], entries[FULL]
    assert max(collapsed["spread"]["photographs"]) < min(whole["spread"]["photographs"]) / 2
    assert np.mean(collapsed["rank"]["photographs"]) > np.mean(whole["rank"]["photographs"])


def test_the_method_finds_generators_that_interpolate_and_misses_pixel_diffusion(entries: dict[str, dict]) -> None:
    areas = entries[FULL]["generators"]
    assert min(areas[name]["low"] for name in ("wgan_gp", "lsgan", "style", "latent")) > 0.9
    assert max(areas[name]["value"] for name in PIXEL_DIFFUSION) < 0.7
