"""Ensembles and pools of described crops, on tiny made-up images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.data.image_set import ImageSet
from helpers.detectors.config import DetectorError
from helpers.detectors.crops import BalancedCrops, Described
from helpers.detectors.ensemble import Ensemble
from helpers.detectors.linear import TraceSubspace, Whitening
from helpers.detectors.ntf.detector import NaturalTraceConfig, make_pools
from helpers.detectors.registry import config_as, config_from, load_detector, make_detector
from helpers.selection.ablation import ablate, describe_all

COUNTED = NaturalTraceConfig(
    backbone="cooccurrence",
    size=48,
    jpeg=0.0,
    pool=420,
    batch_size=32,
    mapping_steps=4,
    steps=30,
    subspace=20,
    score="all",
)


def made_up(split: str, count: int = 24, seed: int = 0) -> ImageSet:
    """Noise of two kinds: photographs are white noise, fakes are smoothed."""
    generator = torch.Generator().manual_seed(seed + {"train": 0, "val": 1, "test": 2}[split])
    images, rows = [], []
    for index in range(count):
        img = 128 + 20 * torch.randn(1, 3, 64, 64, generator=generator)
        fake = index % 2 == 1
        if fake:
            img = torch.nn.functional.avg_pool2d(img, 3, 1, 1) * 2 - 128
        images.append(img[0].clamp(0, 255).byte())
        generator_name = ("one", "two")[index // 2 % 2] if fake else ""
        rows.append(
            {
                "label": "fake" if fake else "real",
                "generator": generator_name,
                "family": "gan" if fake else "",
                "source": generator_name or f"photograph-{index}",
                "split": split,
            }
        )
    return ImageSet.of(images, pd.DataFrame(rows))


def test_a_pool_holds_the_descriptions_of_the_same_crops() -> None:
    crops = BalancedCrops(made_up("train"), COUNTED.augmentation, seed=3)
    pool = Described(crops, lambda images: images.float().flatten(1), 6)
    assert len(pool) == 6
    for index in range(6):
        assert torch.equal(pool[index]["image"], crops[index]["image"].float().flatten())
        assert int(pool[index]["label"]) == crops[index]["label"]


def test_whitening_gives_uncorrelated_unit_components() -> None:
    rows = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)) @ torch.randn(12, 12) + 3
    layer = Whitening(12, 5)
    layer.fit(rows)
    result = layer(rows)
    assert torch.allclose(result.mean(dim=0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(torch.cov(result.T), torch.eye(5), atol=0.02)


def test_subspace_is_near_for_what_it_was_fitted_to() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 40, generator=generator)
    inside = torch.randn(300, 3, generator=generator) @ basis + 0.01 * torch.randn(300, 40, generator=generator)
    model = TraceSubspace(40, 3)
    model.fit(inside)
    outside = inside[:50] + torch.randn(50, 40, generator=generator)
    assert float(model(outside).min()) > float(model(inside).max())


def test_counted_ntf_learns_saves_and_loads(tmp_path: Path) -> None:
    train, val = made_up("train"), made_up("val")
    detector = make_detector(COUNTED).fit(train, val, tmp_path / "run")
    assert detector.history["validation_auc"] > 0.95
    detector.save(tmp_path / "kept")
    scores = detector.score(val.images())
    again = load_detector(tmp_path / "kept").score(val.images())
    assert np.corrcoef(scores, again)[0, 1] > 0.999
    described = detector.logit(describe_all(val)).detach().double().numpy()
    assert described == pytest.approx(scores, rel=1e-3, abs=1e-3)


def test_ensemble_averages_members_on_one_scale(tmp_path: Path) -> None:
    train, val = made_up("train"), made_up("val")
    spectrum = config_from({"detector": "spectrum", "size": 48, "jpeg": 0.0})
    counted = config_as(COUNTED, "cross_entropy")
    members = [make_detector(one) for one in (spectrum, counted)]
    for number, member in enumerate(members):
        member.fit_weights(train, tmp_path / str(number))
    ensemble = Ensemble.from_members(members)
    ensemble.standardise(train)
    ensemble.note_history(train, val, ensemble.calibrate(val))
    images = torch.stack([val.image(row) for row in range(4)])
    for member in members:
        member._round()  # to half precision, as `calibrate` has done with the ensemble's copies
    parts = torch.stack([member.logit(images) for member in members], dim=1)
    expected = ((parts - ensemble.centre) / ensemble.spread).mean(dim=1)
    assert torch.allclose(ensemble.logit(images), expected, rtol=1e-5, atol=1e-5)
    ensemble.save(tmp_path / "ensemble")
    loaded = load_detector(tmp_path / "ensemble")
    assert isinstance(loaded, Ensemble)
    assert loaded.threshold == ensemble.threshold
    result, kept = loaded.score(val.images()), ensemble.score(val.images())
    assert np.corrcoef(result, kept)[0, 1] > 0.999


def test_an_ensemble_of_one_is_refused() -> None:
    with pytest.raises(DetectorError, match=r"members cannot be .*: should have at least 2 items"):
        config_from({"detector": "ensemble", "members": [{"detector": "spectrum"}]})


def test_ablation_compares_variants_with_the_first(tmp_path: Path) -> None:
    variants = {"ntf": {}, "score: head": {"score": "head"}, "cross-entropy": {"detector": "cross_entropy"}}
    sets = [made_up(split) for split in ("train", "val", "test")]
    tables = sets[2].manifest.assign(generator=lambda df: df["generator"].replace({"one": "three"}))
    sets[2] = ImageSet.of(list(sets[2].images()), tables.drop(columns="path"))
    result = ablate(*sets, COUNTED, [0], tmp_path, variants=variants)
    assert list(result) == list(variants)
    assert "first_minus_this" not in result["ntf"]
    means = {(mean["tier"], mean["over"]): mean for mean in result["score: head"]["first_minus_this"]}
    assert any(over == "unseen" for _, over in means)
    for entry in result.values():
        for mean in entry["values"]:
            assert 0 <= mean["metrics"]["ap"]["low"] <= mean["metrics"]["ap"]["high"] <= 1


def test_pools_depend_on_the_seed_alone() -> None:
    train = made_up("train")
    config = COUNTED.changed(pool=9)
    first, second, other = (make_pools(train, one) for one in (config, config, config.changed(seed=1)))
    assert torch.equal(first.crops.columns["image"], second.crops.columns["image"])
    assert not torch.equal(first.crops.columns["image"], other.crops.columns["image"])
    assert first.views.columns["broken"].shape == (3, 2, 1092)
