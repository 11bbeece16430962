"""Stage 1 as it trains: the loss falls, nothing collapses, terms can be left out, no fake is seen, runs resume."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_images import made_up

from helpers.data.image_set import ImageSet
from helpers.detectors.crops import Augmentation, PhotographViews
from helpers.detectors.networks import TraceNet, build_backbone
from helpers.detectors.ntf.stage1 import TraceEncoder, TraceMapping, TraceTerms, map_traces, natural_traces
from helpers.detectors.ntf.stage1_losses import effective_rank, homogeneous_loss, variance_floor
from helpers.training import FitConfig, Task, fit, read_log
from helpers.training.schedule import warm_cosine

CPU = partial(FitConfig, accelerator="cpu", progress=False)
PLAIN = Augmentation(size=32, jpeg=0.0)
TERMS = ("homogeneous", "heterogeneous", "decorrelation", "variance")


def encoder(seed: int = 0, size: int = 8) -> TraceEncoder:
    torch.manual_seed(seed)
    return TraceEncoder(build_backbone("tracenet", "bank", widths=(6, 8)), size)


def batch(images: ImageSet | None = None, count: int = 6) -> dict[str, torch.Tensor]:
    views = PhotographViews(images or made_up(), PLAIN, seed=1)
    return torch.utils.data.default_collate([views[index] for index in range(count)])


def losses(task: Task, views: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return task.losses("main", views, torch.Generator())


def bits(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert not [name for name in left if not torch.equal(left[name], right[name])]


# ---------------------------------------------------------------------------------------------------- the encoder


def test_both_embeddings_have_unit_norm_and_come_from_heads_of_their_own() -> None:
    net, images = encoder().eval(), torch.randint(0, 256, (5, 3, 32, 40), dtype=torch.uint8)
    homogeneous, heterogeneous = net(images)
    for embedding in (homogeneous, heterogeneous):
        assert embedding.shape == (5, 8)
        assert torch.allclose(embedding.norm(dim=1), torch.ones(5))
    assert not torch.allclose(homogeneous, heterogeneous, atol=0.1)
    assert torch.allclose(net.traces(images), homogeneous, atol=1e-6)
    assert torch.equal(net.describe(images), net.backbone(images))


# ------------------------------------------------------------------------------------------------------- the terms


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = {"homogeneous": 0.7, "heterogeneous": 0.3, "decorrelation": 2.0, "variance": 1.5}
    result = losses(TraceMapping(encoder(), TraceTerms(**weights)), batch())
    expected = sum(weight * float(result[name]) for name, weight in weights.items())
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert all(not result[name].requires_grad for name in (*TERMS, "rank"))


def test_terms_see_the_views_that_they_are_about() -> None:
    task, views = TraceMapping(encoder().eval()), batch()
    result = losses(task, views)
    kept = task.encoder.traces(torch.cat([views["first"], views["second"]]))
    broken = task.encoder.traces(views["broken"].flatten(0, 1))
    expected = homogeneous_loss(kept, views["row"].repeat(2), broken, 0.2)
    assert float(result["homogeneous"]) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert float(result["rank"]) == pytest.approx(effective_rank(torch.cat([kept, broken]).detach()), rel=1e-3)


@pytest.mark.parametrize("dropped", TERMS)
def test_a_dropped_term_pulls_no_more(dropped: str) -> None:
    net, views = encoder(), batch()
    result = losses(TraceMapping(net, replace(TraceTerms(), **{dropped: 0.0})), views)
    others = sum(getattr(TraceTerms(), name) * float(result[name]) for name in TERMS if name != dropped)
    assert float(result["loss"].detach()) == pytest.approx(others, rel=1e-5)


def test_without_terms_that_use_a_head_the_head_gets_no_gradient() -> None:
    net, views = encoder(), batch()
    only = TraceTerms(homogeneous=1.0, heterogeneous=0.0, decorrelation=0.0, variance=0.0)
    losses(TraceMapping(net, only), views)["loss"].backward()
    assert all(float(p.grad.abs().max()) == 0 for p in net.heterogeneous.parameters() if p.grad is not None)
    assert max(float(p.grad.abs().max()) for p in net.homogeneous.parameters()) > 0


def test_a_photograph_drawn_twice_is_not_told_from_itself() -> None:
    task, views = TraceMapping(encoder().eval()), batch(count=4)
    doubled = {name: torch.cat([value, value[:1]]) for name, value in views.items()}
    once, twice = losses(task, views), losses(task, doubled)
    assert float(twice["heterogeneous"]) == pytest.approx(float(once["heterogeneous"]), rel=1e-5)


def test_a_batch_that_shows_one_photograph_alone_is_no_error() -> None:
    views = {name: value[:1].repeat(3, *[1] * (value.ndim - 1)) for name, value in batch().items()}
    result = losses(TraceMapping(encoder()), views)
    assert float(result["homogeneous"]) == 0
    assert torch.isfinite(result["loss"])
    result["loss"].backward()


# ---------------------------------------------------------------------------------------------------- the training


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[TraceEncoder, Path]:
    out = tmp_path_factory.mktemp("mapped")
    config = CPU(steps=40, batch_size=8, log_every=10, channels_last=True)
    return map_traces(encoder(), made_up(), config, out, augmentation=PLAIN, kinds=("blur", "median")), out


def test_some_steps_lower_the_loss_and_keep_the_rank(mapped: tuple[TraceEncoder, Path]) -> None:
    net, out = mapped
    log = read_log(out / "log.csv")
    assert log["main/loss"].iloc[-1] < log["main/loss"].iloc[0] - 0.2
    assert log["main/homogeneous"].iloc[-1] < log["main/homogeneous"].iloc[0]
    assert log["main/rank"].iloc[-1] > 2
    assert not net.training


def test_the_mapping_tells_broken_views_of_other_photographs_from_kept_ones(mapped: tuple[TraceEncoder, Path]) -> None:
    net, _ = mapped
    test = made_up("test")
    bank = natural_traces(net, made_up(), PLAIN, count=4, crops=64)
    views = PhotographViews(test, PLAIN, seed=9, kinds=("blur", "median"))
    items = [views[index] for index in range(24)]
    with torch.no_grad():
        kept = net.traces(torch.stack([item["first"] for item in items])) @ bank.T
        broken = net.traces(torch.cat([item["broken"] for item in items])) @ bank.T
    assert float(kept.max(dim=1).values.mean()) > float(broken.max(dim=1).values.mean()) + 0.2


def test_without_the_variance_floor_and_instances_the_rank_is_lower(tmp_path: Path) -> None:
    """Attraction alone, without any broken view's repulsion being hard, pulls photographs onto few directions."""
    config, ranks = CPU(steps=40, batch_size=8, log_every=10), []
    for terms in (TraceTerms(), TraceTerms(heterogeneous=0, decorrelation=0, variance=0)):
        out = tmp_path / str(len(ranks))
        net = map_traces(encoder(), made_up(), config, out, augmentation=PLAIN, terms=terms, kinds=("blur",))
        images = torch.stack([item["first"] for item in (PhotographViews(made_up(), PLAIN)[i] for i in range(32))])
        with torch.no_grad():
            ranks.append(effective_rank(net.traces(images)))
            if terms.variance == 0:
                assert float(variance_floor(net.traces(images))) > 0
    assert ranks[0] > ranks[1]


def test_fakes_change_nothing(tmp_path: Path) -> None:
    results = []
    for fakes in ({"checkers": 16}, {"checkers": 2}):
        images = made_up(fakes=fakes, strength=3.0 * len(results) + 3)
        config = CPU(steps=3, batch_size=4)
        net = map_traces(encoder(), images, config, tmp_path / str(len(results)), augmentation=PLAIN, kinds=("blur",))
        results.append((bits(net), natural_traces(net, images, PLAIN, count=3, crops=12)))
    assert_same_bits(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


class Interrupted(RuntimeError):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, kind: type[Task], step: int) -> None:
    """Let training stop within a step, once."""
    original, count = kind.losses, [0]

    def stopping(self: Task, *arguments: object) -> dict[str, torch.Tensor]:
        count[0] += 1
        if count[0] == step:
            raise Interrupted
        return original(self, *arguments)

    monkeypatch.setattr(kind, "losses", stopping)


def test_an_interrupted_mapping_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CPU(steps=9, batch_size=4, checkpoint_every=3, log_every=1)
    run = partial(map_traces, photographs=made_up(), config=config, augmentation=Augmentation(size=32, jpeg=0.5))
    whole = run(encoder(), out=tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupt(patched, TraceMapping, 6)
        with pytest.raises(Interrupted):
            run(encoder(), out=tmp_path / "parts")
    resumed = run(encoder(seed=5), out=tmp_path / "parts")  # other fresh weights: those of the checkpoint count
    assert_same_bits(bits(whole), bits(resumed))
    logs = [read_log(tmp_path / name / "log.csv").drop(columns="seconds") for name in ("whole", "parts")]
    assert logs[0].equals(logs[1])


# ------------------------------------------------------------------------------------------------- natural traces


def test_natural_traces_are_unit_vectors_and_repeat_with_the_seed(mapped: tuple[TraceEncoder, Path]) -> None:
    net, _ = mapped
    first, second, other = (natural_traces(net, made_up(), PLAIN, count=5, crops=70, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (5, 8)
    assert torch.allclose(first.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_natural_traces_come_from_as_many_crops_as_asked(
    mapped: tuple[TraceEncoder, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("helpers.detectors.ntf.stage1.prototypes", lambda rows, *_: seen.append(rows) or rows)
    natural_traces(mapped[0], made_up(), PLAIN, crops=70)
    assert seen[0].shape == (70, 8)
    assert torch.allclose(seen[0].norm(dim=1), torch.ones(70), atol=1e-5)


# ---------------------------------------------------------------------------------------------------- the schedule


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    factors = torch.tensor([warm_cosine(step, 1000) for step in range(1000)])
    assert float(factors[0]) == pytest.approx(1 / 50, rel=1e-3)
    assert int(factors.argmax()) == 49
    assert (factors[:49].diff() > 0).all()
    assert (factors[50:].diff() <= 0).all()
    assert float(factors[500]) == pytest.approx(0.5, abs=1e-6)
    assert float(factors[-1]) == pytest.approx(0.01)
    assert max(warm_cosine(step, 8) for step in range(8)) > 0.9  # a short run warms up within its first quarter


def test_training_uses_the_same_loop_as_everything_else(tmp_path: Path) -> None:
    views = PhotographViews(made_up(), PLAIN, seed=0, kinds=("blur",))
    config = CPU(steps=2, batch_size=4)
    direct = fit(TraceMapping(encoder()), views, config, tmp_path / "direct").task
    mapped = map_traces(encoder(), made_up(), config, tmp_path / "mapped", augmentation=PLAIN, kinds=("blur",))
    assert_same_bits(bits(direct.encoder), bits(mapped))
    assert isinstance(mapped.backbone.body, TraceNet)
