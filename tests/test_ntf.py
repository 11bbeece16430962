"""Both stages in one detector: it learns an easy mark, its parts are what they say, and its runs resume."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_images import made_up

from helpers.detectors.config import DetectorError
from helpers.detectors.crops import BalancedCrops
from helpers.detectors.ntf import detector as ntf
from helpers.detectors.ntf.detector import (
    BANK_TEMPERATURE,
    NaturalTraceConfig,
    NaturalTraceDetector,
    fit_stage1,
    training_crops,
)
from helpers.detectors.ntf.stage1 import natural_traces
from helpers.detectors.ntf.stage1_losses import proximity
from helpers.detectors.ntf.stage2 import SoftTransfer
from helpers.detectors.registry import config_as, load_detector, make_detector
from helpers.evaluation.metrics import auc

TINY = NaturalTraceConfig(
    size=32, jpeg=0.3, qualities=(85, 96), window=48, embedding=8, prototypes=4, batch_size=8, mapping_steps=6, steps=25
)


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer crops for the bank and for the scale of the parts."""
    monkeypatch.setattr(ntf, "natural_traces", functools.partial(natural_traces, crops=24))
    original = NaturalTraceDetector._standardise
    monkeypatch.setattr(NaturalTraceDetector, "_standardise", functools.partialmethod(original, count=48))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NaturalTraceDetector:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shorten(monkeypatch)
        detector = make_detector(TINY).fit(
            made_up(strength=14.0), made_up("val", strength=14.0), tmp_path_factory.mktemp("ntf")
        )
    assert isinstance(detector, NaturalTraceDetector)
    return detector


def kept(value: torch.Tensor) -> torch.Tensor:
    """What half precision leaves of a weight."""
    return value.half().to(value.dtype) if value.is_floating_point() else value


def test_it_tells_an_easy_mark_from_photographs(trained: NaturalTraceDetector) -> None:
    test = made_up("test", {"unseen": 16}, {"other checkers": 16}, strength=14.0)
    scores = trained.score(test.images())
    assert auc(test.labels, scores) > 0.9
    assert np.mean((scores >= trained.threshold) == (test.labels == 1)) > 0.75
    assert trained.history["generators"] == ["checkers"]


def test_its_parts_are_the_head_and_two_distances_from_the_traces(trained: NaturalTraceDetector) -> None:
    images = torch.stack(list(made_up("test").images()))
    with torch.no_grad():
        result = trained.parts(images)
        embedding, logits = trained.student(images)
        assert result.shape == (32, 3)
        assert torch.allclose(result[:, 0], logits)
        assert torch.allclose(result[:, 1], -proximity(embedding, trained.bank, BANK_TEMPERATURE))
        assert torch.allclose(result[:, 2], -proximity(trained.teacher.traces(images), trained.bank, BANK_TEMPERATURE))
        assert torch.allclose(trained.embed(images), embedding)
    assert torch.allclose(trained.bank.norm(dim=1), torch.ones(4), atol=2e-3)  # kept in half precision


@pytest.mark.parametrize(
    ("score", "columns"), [("head", [0]), ("proximity", [1]), ("both", [0, 1]), ("stage1", [2]), ("all", [0, 1, 2])]
)
def test_the_score_is_the_mean_of_its_standardised_parts(
    trained: NaturalTraceDetector, score: str, columns: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "config", trained.config.changed(score=score))
    images = torch.stack(list(made_up("test").images()))
    with torch.no_grad():
        parts = (trained.parts(images) - trained.centre) / trained.spread
        assert torch.allclose(trained.logit(images), parts[:, columns].mean(dim=1), atol=1e-5)


def test_parts_are_put_on_the_scale_of_training_photographs(trained: NaturalTraceDetector) -> None:
    crops = BalancedCrops(made_up(strength=14.0), TINY.augmentation, TINY.seed + 1)
    with torch.no_grad():
        parts = torch.cat([trained.parts(crops[index]["image"][None]) for index in range(0, 48, 2)])
    assert torch.allclose(trained.centre, parts.mean(dim=0), atol=0.01)  # parts that were kept in half precision
    assert torch.allclose(trained.spread, parts.std(dim=0) + 1e-3, rtol=0.05)


def test_the_teacher_keeps_what_stage_one_learnt(trained: NaturalTraceDetector, tmp_path: Path) -> None:
    alone = make_detector(TINY)
    assert isinstance(alone, NaturalTraceDetector)
    fit_stage1(alone.teacher, made_up(strength=14.0), TINY, tmp_path)
    left, right = alone.teacher.state_dict(), trained.teacher.state_dict()
    assert all(torch.equal(kept(left[name]), right[name]) for name in left)
    assert not torch.equal(trained.student.backbone.body.layers[0].weight, right["backbone.body.layers.0.weight"])


def test_saved_and_loaded_it_scores_the_same(trained: NaturalTraceDetector, tmp_path: Path) -> None:
    trained.save(tmp_path)
    images = list(made_up("test").images())
    before, after = trained.score(images), load_detector(tmp_path).score(images)
    assert np.array_equal(after, before)  # the same weights in the same layout: the same additions in the same order


class Interrupted(RuntimeError):
    pass


def test_interrupted_in_stage_two_it_ends_with_the_same_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, original, count = TINY.changed(mapping_steps=2, steps=4), SoftTransfer.losses, [0]
    train, val = made_up(), made_up("val")

    def stopping(self: SoftTransfer, *arguments: object) -> dict[str, torch.Tensor]:
        count[0] += 1
        if count[0] == 3:
            raise Interrupted
        return original(self, *arguments)

    whole = make_detector(config).fit(train, val, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(SoftTransfer, "losses", stopping)
        with pytest.raises(Interrupted):
            make_detector(config).fit(train, val, tmp_path / "parts")
    resumed = make_detector(config).fit(train, val, tmp_path / "parts")
    left, right = whole.state_dict(), resumed.state_dict()
    assert not [name for name in left if not torch.equal(left[name], right[name])]
    assert (whole.threshold, whole.calibration) == (resumed.threshold, resumed.calibration)


def test_without_stage_one_the_teacher_stays_untrained(tmp_path: Path) -> None:
    config = TINY.changed(mapping_steps=0)
    detector, fresh = make_detector(config), make_detector(config)
    fit_stage1(detector.teacher, made_up(), config, tmp_path)
    left, right = detector.teacher.state_dict(), fresh.teacher.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not list(tmp_path.iterdir())


def test_pools_and_counts_belong_together() -> None:
    for change, message in (
        ({"pool": 300}, "pool must be 0 with the backbone tracenet"),
        ({"backbone": "cooccurrence"}, "pool must be at least 201 with the backbone cooccurrence, not 0"),
        ({"backbone": "cooccurrence", "pool": 300, "subspace": 160}, "pool must be at least 321"),
    ):
        config = TINY.changed(**change)
        with pytest.raises(DetectorError, match=message):
            training_crops(made_up(), config, make_detector(config).teacher.backbone)
    with pytest.raises(DetectorError, match="subspace must be at most 255, not 256"):
        make_detector(TINY.changed(subspace=256))


def test_a_lean_detector_scores_the_same_without_its_teacher(trained: NaturalTraceDetector, tmp_path: Path) -> None:
    images = torch.stack(list(made_up("test").images()))
    slim = trained.for_inference()
    slim.save(tmp_path / "slim")
    trained.save(tmp_path / "whole")
    loaded = load_detector(tmp_path / "slim")
    with torch.no_grad():
        assert torch.allclose(slim.logit(images), trained.logit(images), rtol=1e-4)
        assert torch.allclose(loaded.logit(images), load_detector(tmp_path / "whole").logit(images), rtol=1e-4)
        assert loaded.parts(images).shape == (32, 2)
    assert loaded.threshold == trained.threshold
    assert (tmp_path / "slim/weights.safetensors").stat().st_size < (
        0.6 * (tmp_path / "whole/weights.safetensors").stat().st_size
    )
    with pytest.raises(DetectorError, match="cannot be trained"):
        loaded.fit_weights(made_up(), tmp_path / "again")


def test_a_score_that_asks_the_teacher_keeps_it(trained: NaturalTraceDetector) -> None:
    asking = make_detector(trained.config.changed(score="stage1"))
    assert asking.for_inference() is asking
    with pytest.raises(DetectorError, match="asks the teacher"):
        make_detector(trained.config.changed(score="stage1", teacher=False))
    gaussian = make_detector(config_as(trained.config, "one_class"))
    assert gaussian.for_inference() is gaussian
