"""The study of lesson 03: alarms against known values, one step against the task, and what was recorded."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_images import made_up
from torch.nn.functional import normalize

from helpers.detectors.crops import Augmentation
from helpers.detectors.ntf.stage1 import TraceMapping, TraceTerms
from helpers.lessons.lesson03.study import (
    FULL,
    PIXEL_DIFFUSION,
    VARIANTS,
    Settings,
    Variant,
    bank_of,
    broken_copies,
    embeddings,
    layer_table,
    small_encoder,
    spread,
    study,
    train_briefly,
    view_pool,
    without_broken,
)
from helpers.pixels.views import BREAKERS

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


def test_the_table_of_layers_follows_an_image_to_both_heads() -> None:
    encoder = small_encoder(0, TINY)
    table = layer_table(encoder, torch.zeros(3, 32, 32, dtype=torch.uint8))
    assert table["weights"].sum() == sum(parameter.numel() for parameter in encoder.parameters())
    assert list(table["shape"]) == [(6, 32, 32), (4, 32, 32), (6, 16, 16), (12,), (4,), (4,)]
    assert list(table.index[-2:]) == ["homogeneous head", "heterogeneous head"]


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
        result, alone = embeddings(encoder, images), encoder(images[66:67])
    for all_rows, one in zip(result, alone, strict=True):
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
    result = study([0, 1], variants=variants, settings=Settings(widths=(4,), embedding=4, steps=2, pool=8))
    assert [entry["name"] for entry in result["variants"]] == list(variants)
    first, second = result["variants"]
    for entry in (first, second):
        per_run = np.mean([part["per_run"] for part in entry["generators"].values()], axis=0)
        assert entry["mean"]["per_run"] == pytest.approx(per_run, abs=2e-4)
        assert entry["mean"]["value"] == pytest.approx(per_run.mean(), abs=2e-4)
        assert set(entry["broken"]) == set(BREAKERS)
    assert first["difference"] is None
    gap = first["mean"]["value"] - second["mean"]["value"]
    assert second["difference"]["value"] == pytest.approx(gap, abs=2e-4)
    json.dumps(result)


# what was recorded, and what lesson 03 says of it


def read(project: Path, name: str) -> dict[str, Any]:
    return json.loads((project / "data" / "results" / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def record(project: Path) -> dict[str, Any]:
    return read(project, "traces_zoo.json")


@pytest.fixture(scope="module")
def entries(record: dict[str, Any]) -> dict[str, dict]:
    return {entry["name"]: entry for entry in record["variants"]}


@pytest.fixture(scope="module")
def lesson(project: Path) -> str:
    path = project / "notebooks" / "solutions" / "03_natural_trace_mapping.ipynb"
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])


def areas(entry: dict[str, Any]) -> dict[str, float]:
    return {name: part["value"] for name, part in entry["generators"].items()}


def mean_over(entry: dict[str, Any], names: Sequence[str]) -> float:
    return float(np.mean([areas(entry)[name] for name in names]))


def test_the_record_holds_every_variant_as_the_code_defines_it(
    record: dict[str, Any], entries: dict[str, dict], lesson: str
) -> None:
    assert list(entries) == list(VARIANTS)
    for name, entry in entries.items():
        assert entry["breakers"] == list(VARIANTS[name].breakers)
        assert entry["terms"] == dict(VARIANTS[name].terms)
    assert record["settings"] == json.loads(json.dumps(asdict(Settings())))
    assert len(record["seeds"]) == 5
    assert len(entries) == 15
    assert "repeated it with five seeds and fifteen variants" in lesson


def test_attraction_alone_collapses_and_the_rank_does_not_see_it(entries: dict[str, dict]) -> None:
    collapsed, whole = entries["attraction alone"], entries[FULL]
    assert max(collapsed["spread"]["photographs"]) < min(whole["spread"]["photographs"]) / 2
    ranks = {name: np.mean(entry["rank"]["photographs"]) for name, entry in entries.items()}
    assert max(ranks, key=lambda name: ranks[name]) == "attraction alone"


def test_lesson_03_says_which_generators_are_found(entries: dict[str, dict], lesson: str) -> None:
    result, others = areas(entries[FULL]), [name for name in areas(entries[FULL]) if name not in PIXEL_DIFFUSION]
    assert len(others) == 7
    low, high = min(result[name] for name in others), max(result[name] for name in others)
    assert f"each has a mean of {low:.2f} to {high:.2f}" in lesson
    hidden = [result[name] for name in PIXEL_DIFFUSION]
    assert f"stay near chance, {min(hidden):.2f} to {max(hidden):.2f}, except in one training of five" in lesson
    runs = np.mean([entries[FULL]["generators"][name]["per_run"] for name in PIXEL_DIFFUSION], axis=0)
    assert runs.max() > 0.8
    assert sorted(runs)[-2] < 0.55
    untrained = areas(entries["not trained"])
    assert min(untrained[name] for name in PIXEL_DIFFUSION) > 0.7
    assert sum(untrained[name] < 0.5 for name in others) == 5


def test_lesson_03_states_the_ablation(entries: dict[str, dict], lesson: str) -> None:
    mean = {name: f"{entry['mean']['value']:.2f}" for name, entry in entries.items()}
    broken, homogeneous = mean["without broken views"], mean["without the homogeneous term"]
    assert f"falls from {mean[FULL]} to {broken} and {homogeneous}; untrained it is {mean['not trained']}" in lesson
    uncorrelated, special = mean["without decorrelation"], mean["without the heterogeneous term"]
    assert f"without decorrelation it rises to {uncorrelated}, without the heterogeneous term to {special}" in lesson
    for name in ("without decorrelation", "without the heterogeneous term"):
        assert entries[name]["difference"]["high"] < 0
    for name in ("without broken views", "without the homogeneous term", "attraction alone", "not trained"):
        assert entries[name]["difference"]["low"] > 0
    assert f"attraction alone (AUC {mean['attraction alone']})" in lesson
    runs = entries[FULL]["mean"]["per_run"]
    assert f"reach from {min(runs):.2f} to {max(runs):.2f}" in lesson


def test_lesson_03_states_what_single_breakers_find(entries: dict[str, dict], lesson: str) -> None:
    alone = {name: entries[f"broken by {name} alone"] for name in BREAKERS}
    least = min(area for name, area in areas(alone["periodic"]).items() if name not in PIXEL_DIFFUSION)
    assert f"finds all seven that enlarge, at {least:.2f} or more" in lesson
    hidden = [areas(alone["median"])[name] for name in PIXEL_DIFFUSION]
    assert f"to the natural side, {min(hidden):.2f} to {max(hidden):.2f}" in lesson
    periodic, together = (entry["mean"]["value"] for entry in (alone["periodic"], entries[FULL]))
    assert f"has a higher mean ({periodic:.2f}) than all six together ({together:.2f})" in lesson
    assert alone["periodic"]["difference"]["high"] < 0


def test_stage_1_alone_is_as_weak_in_the_wild_as_lesson_03_says(project: Path) -> None:
    variants = read(project, "wild_ablation.json")["variants"]

    def auc_of(name: str, part: str = "values") -> dict[str, float]:
        return {
            mean["tier"]: mean["metrics"]["auc"]["value"] for mean in variants[name][part] if mean["over"] == "unseen"
        }

    alone = auc_of("score: proximity after stage 1, no fake seen")
    linear = auc_of("score: linear model of photographs, no fake seen")
    assert 0.55 < alone["seen-source"] < 0.75
    assert 0.42 < alone["unseen-source"] < 0.58
    assert all(abs(alone[tier] - linear[tier]) < 0.05 for tier in alone)
    lost = {name: auc_of(name, "first_minus_this")["seen-source"] for name in variants if "without" in name}
    assert 0.01 < lost["without stage 1"] < 0.06
    assert lost["stage 1 without the homogeneous term"] > 0.01
    for name in ("the heterogeneous term", "decorrelation", "the variance floor"):
        assert abs(lost[f"stage 1 without {name}"]) < 0.0125
