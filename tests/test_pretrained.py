"""Natural-trace forensics on pretrained features, from weights to a hold-out, on a tiny set with fresh weights."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.data.image_set import ImageSet, TrainingDataError
from helpers.data.manifest import ManifestError
from helpers.detectors.config import DetectorError, changes_from, config_path
from helpers.detectors.features import FeatureError, FeatureNet, _network, imagenet_weights
from helpers.detectors.ntf.pretrained import SCORES, PretrainedConfig, PretrainedTraceDetector, combine, training_pool
from helpers.detectors.pool import BalancedMaps, CropPlan, MapPool, PhotographMaps, build_pool
from helpers.detectors.registry import load_detector, make_detector, read_config
from helpers.evaluation.metrics import auc
from helpers.pixels.autoencoders import TinyAutoencoder
from helpers.selection.calibration import calibrate_on_held_out, calibrate_on_photographs
from helpers.selection.grouped import grouped_folds, grouped_holdout, summary

SETTINGS = {"size": 32, "steps": 4, "mapping_steps": 2, "batch_size": 8, "crops": 2, "prototypes": 2, "embedding": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the package holds it: timm's entries in timm's order, under other names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "network.pth"
    torch.save({f"layer.{place}": value for place, value in enumerate(_network().state_dict().values())}, path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATURAL_TRACES_CACHE", str(tmp_path_factory.getbasetemp() / "pretrained-cache"))


def pictures(count: int = 32, side: int = 56) -> ImageSet:
    """Photographs are noise, generated pictures the same with a checkerboard."""
    rng = np.random.default_rng(0)
    board = 30 * (np.indices((side, side)).sum(axis=0) % 2)
    images, rows = [], []
    for number in range(count):
        fake = number % 2
        values = rng.integers(60, 160, (3, side, side)) + fake * board
        images.append(torch.from_numpy(values.astype(np.uint8)))
        name = ("quirk", "mesh", "loom-1", "loom-2")[number // 2 % 4] if fake else ""
        rows.append({"label": "fake" if fake else "real", "generator": name, "family": name})
        rows[-1]["source"] = name or ("attic", "shed", "barn", "loft")[number // 2 % 4]
    return ImageSet.of(images, pd.DataFrame(rows).assign(split="train", sha256=[f"{n:064x}" for n in range(count)]))


def config(weights: Path, **changes: object) -> PretrainedTraceDetector.Config:
    return PretrainedTraceDetector.Config(weights=str(weights), **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def pool(weights: Path) -> MapPool:
    net = FeatureNet(imagenet_weights(str(weights)))
    plan = CropPlan(side=32, own=2, copies=0, broken=1)
    entries = plan.entries(list(pictures().manifest["label"]), decoders=False)
    maps = torch.rand(len(entries), 24, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    assert net.lower.channels == maps.shape[1]
    rows, kinds = (
        np.array(column)
        for column in zip(*[(r, ("own", "copy", "broken").index(k)) for r, k, _ in entries], strict=True)
    )
    return MapPool(maps, rows, kinds, pictures().manifest)


# ---------------------------------------------------------------- features


def test_weights_are_matched_by_order_and_shape(weights: Path) -> None:
    loaded, stored = imagenet_weights(str(weights)), torch.load(weights, weights_only=True)
    assert list(loaded) == list(_network().state_dict())
    assert all(torch.equal(a, b) for a, b in zip(loaded.values(), stored.values(), strict=True))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(FeatureError, match="holds no weights of"):
        imagenet_weights(str(tmp_path / "other.pth"))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="cannot be read"):
        imagenet_weights(str(tmp_path / "evil.pth"))


def test_features_agree_with_timms_own_maps(weights: Path) -> None:
    entries = imagenet_weights(str(weights))
    net, whole = FeatureNet(entries).eval(), _network().eval()
    whole.load_state_dict(entries)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = whole.bn1(whole.conv_stem((images.float() - 127.5) / 127.5))
        expected = []
        for number, stage in enumerate(whole.blocks[:5]):
            maps = stage(maps)
            if number:
                flat = maps.flatten(2)
                expected += [flat.mean(dim=2), flat.std(dim=2, correction=0)]
        assert torch.allclose(net(images), torch.cat(expected, dim=1), atol=1e-4)


def test_the_lower_part_and_all_normalisation_stay_fixed_in_training(weights: Path) -> None:
    net = FeatureNet(imagenet_weights(str(weights))).train()
    assert not any(parameter.requires_grad for parameter in net.lower.parameters())
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(layer.training for layer in norms)


# ---------------------------------------------------------------- the pool


def test_a_pool_is_made_once_and_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helpers.detectors.pool.SHARD", 16)
    images, seen = pictures(8), []

    def lower(crops: torch.Tensor) -> torch.Tensor:
        seen.append(len(crops))
        if sum(seen) > 16 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        return crops.float().mean(dim=(2, 3))[..., None, None]

    stopped: list[bool] = []
    plan = CropPlan(side=32, own=2, copies=0, broken=1)
    with pytest.raises(KeyboardInterrupt):
        build_pool(images, lower, plan, tmp_path)
    first = build_pool(images, lower, plan, tmp_path)
    assert len(first) == 8 * 2 + 4
    done = len(seen)
    again = build_pool(images, lower, plan, tmp_path)
    assert len(seen) == done  # nothing was computed again
    every = np.arange(len(first))
    assert torch.equal(first.maps[every], again.maps[every])
    assert torch.equal(first.maps[every][3], first.maps[3])


def test_other_images_make_another_pool(tmp_path: Path) -> None:
    def lower(crops: torch.Tensor) -> torch.Tensor:
        return crops.float().mean(dim=(2, 3))[..., None, None]

    plan = CropPlan(side=32, own=1, copies=0, broken=0)
    build_pool(pictures(4), lower, plan, tmp_path)
    other = pictures(4)
    other.manifest["sha256"] = "0" * 64
    build_pool(other, lower, plan, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_classes_alternate_and_groups_count_by_the_root_of_their_size(pool: MapPool) -> None:
    items = [BalancedMaps(pool, seed=1)[index] for index in range(40)]
    assert [item["label"] for item in items] == [0, 1] * 20
    labels = (pool.manifest["label"] == "fake").to_numpy().astype(int)
    assert [labels[item["row"]] for item in items] == [0, 1] * 20


def test_rows_that_are_not_allowed_are_never_drawn(pool: MapPool) -> None:
    allowed = (pool.manifest["source"] != "attic").to_numpy()
    rows = {BalancedMaps(pool, allowed=allowed)[index]["row"] for index in range(200)}
    rows |= {int(PhotographMaps(pool, allowed=allowed)[index]["row"]) for index in range(100)}
    assert rows <= set(np.flatnonzero(allowed).tolist())


def test_stage_1_sees_no_generated_picture(pool: MapPool) -> None:
    rows = [int(PhotographMaps(pool)[index]["row"]) for index in range(60)]
    assert set(pool.manifest["label"].iloc[rows]) == {"real"}


def test_a_label_must_not_be_missing(pool: MapPool) -> None:
    with pytest.raises(TrainingDataError, match="both real and fake"):
        BalancedMaps(pool, allowed=(pool.manifest["label"] == "real").to_numpy())


# ---------------------------------------------------------------- the detector


@pytest.fixture(scope="module")
def trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainedTraceDetector:
    folder = tmp_path_factory.mktemp("decoders")
    torch.manual_seed(1)
    from safetensors.torch import save_file

    network = TinyAutoencoder(latent=4)
    for part in ("encoder", "decoder"):
        save_file(dict(getattr(network, part).state_dict()), folder / f"taesd_{part}.safetensors")
    chosen = config(weights, decoders=str(folder), autoencoders=("taesd",), teacher=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NATURAL_TRACES_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("helpers.detectors.ntf.pretrained.LINEAR_CROPS", 64)
        detector = make_detector(chosen)
        detector.fit(pictures(), pictures(), tmp_path_factory.mktemp("run"))
    assert isinstance(detector, PretrainedTraceDetector)
    return detector


def test_it_learns_a_checkerboard(trained: PretrainedTraceDetector) -> None:
    images = pictures()
    assert auc(images.labels, trained.score(images.images())) > 0.95


def test_saved_and_loaded_it_scores_the_same(trained: PretrainedTraceDetector, tmp_path: Path) -> None:
    calibrated = trained.for_inference()
    calibrated.save(tmp_path)
    loaded = load_detector(tmp_path)
    images = [pictures().image(row) for row in range(6)]
    assert np.allclose(loaded.score(images), calibrated.score(images), atol=1e-4)
    assert "teacher" not in "".join(loaded.state_dict())


def test_parts_are_standardised_on_training_photographs(
    weights: Path, pool: MapPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.detectors.ntf.pretrained.LINEAR_CROPS", 64)
    detector = make_detector(config(weights))
    assert isinstance(detector, PretrainedTraceDetector)
    detector.fit_pool(pool, tmp_path)
    with torch.no_grad():
        parts = detector._parts(pool.maps[pool.of("own", "real")].float(), None)[:, :3]
    standard = (parts - detector.centre[:3]) / detector.spread[:3]
    assert torch.allclose(standard.mean(dim=0), torch.zeros(3), atol=1e-3)
    assert torch.all(standard.std(dim=0) <= 1)


@torch.no_grad()
def test_what_a_score_does_not_ask_is_not_computed(
    trained: PretrainedTraceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = torch.stack(list(pictures(4).images()))
    parts = trained.member_scores(crops)
    others = [name for name in SCORES if name != "stage1"]
    with monkeypatch.context() as patch:
        for name in others:
            patch.setattr(trained, "config", trained.config.changed(score=name))
            assert torch.allclose(trained.logit(crops), combine(parts, name), atol=1e-5)
        patch.setattr(trained.linear, "forward", lambda _features: pytest.fail("the linear model was asked"))
        patch.setattr(trained, "config", trained.config.changed(score="proximity"))
        trained.logit(crops)


def test_the_score_of_stage_1_asks_the_teacher(weights: Path) -> None:
    with pytest.raises(DetectorError, match="asks the teacher"):
        make_detector(config(weights, score="stage1"))


def test_one_entry_of_a_table_can_be_set() -> None:
    changes = changes_from(["transfer.targets=hard", "transfer.repulsion=0.25", "copies=0.5"])
    assert changes == {"transfer": {"targets": "hard", "repulsion": 0.25}, "copies": 0.5}
    control = read_config(config_path("pretrained_control"), PretrainedConfig, **changes)
    assert (control.transfer.targets, control.transfer.repulsion, control.transfer.contrast) == ("hard", 0.25, 0.0)
    with pytest.raises(DetectorError, match=r"transfer\.target: no such setting"):
        read_config(config_path("ntf_pretrained"), **changes_from(["transfer.target=hard"]))


# ---------------------------------------------------------------- choosing and calibrating


def test_every_row_is_held_out_once_and_variants_stay_together() -> None:
    manifest = pictures().manifest
    folds = grouped_folds(manifest, count=3)
    assert np.sum([fold.held_out for fold in folds], axis=0).tolist() == [1] * len(manifest)
    assert any("loom" in fold.families for fold in folds)


def test_photographs_are_held_out_with_the_generator_of_their_repository() -> None:
    manifest = pictures().manifest
    repositories = {"shed": "faces", "mesh": "faces", "attic": "walks"}
    manifest["origin_repo"] = [repositories.get(name, name) for name in manifest["source"]]
    folds = grouped_folds(manifest, count=3)
    assert [("mesh" in fold.families) == ("shed" in fold.sources) for fold in folds] == [True] * 3
    assert np.sum([fold.held_out for fold in folds], axis=0).tolist() == [1] * len(manifest)


def test_test_images_cannot_be_held_out() -> None:
    with pytest.raises(DetectorError, match="choosing on test images"):
        grouped_folds(pictures().manifest.assign(split="test"))


def test_a_holdout_judges_what_it_left_out_and_calibrates(
    weights: Path, trained: PretrainedTraceDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.detectors.ntf.pretrained.LINEAR_CROPS", 64)
    images, chosen = pictures(), config(weights)
    table = grouped_holdout(images, training_pool(images, chosen), chosen, tmp_path, count=2)
    assert len(table) == 2 * len(images)
    assert {row["score"] for row in summary(table)} == {"head", "proximity", "tuned", "linear", "all"}
    calibrate_on_held_out(trained, table)
    real = table[table["label"] == "real"]["all"]
    assert trained.conformal is not None
    assert np.mean(real >= trained.threshold) <= 0.1
    for _, part in table[table["label"] == "real"].groupby("history"):  # the level holds for each history by itself
        assert np.mean(part["all"] >= trained.threshold) <= 0.15
    chosen_threshold = trained.threshold
    assert chosen_threshold == max(_threshold(trained, part) for _, part in table.groupby("history"))
    photographs = np.linspace(0, 1, 40)
    calibrate_on_photographs(trained, photographs)
    assert np.mean(photographs >= trained.threshold) <= 0.05


def test_a_holdout_does_not_go_on_where_another_was(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.detectors.ntf.pretrained.LINEAR_CROPS", 64)
    images, chosen = pictures(), config(weights)
    pool = training_pool(images, chosen)
    first = grouped_holdout(images, pool, chosen, tmp_path, count=2, histories=("plain",))
    again = grouped_holdout(images, pool, chosen, tmp_path, count=2, histories=("plain",))
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(DetectorError, match="a run with other copies"):
        grouped_holdout(images, pool, chosen.changed(copies=0.5), tmp_path, count=2)
    learnt = np.ones(len(images), bool)
    learnt[:4] = False
    with pytest.raises(DetectorError, match="a run with other images"):
        grouped_holdout(images, pool, chosen, tmp_path, count=2, learnt=learnt)


def _threshold(trained: PretrainedTraceDetector, table: pd.DataFrame) -> float:
    calibrate_on_held_out(trained, table.drop(columns="history"))
    return trained.threshold


def test_a_few_photographs_are_too_few(trained: PretrainedTraceDetector) -> None:
    with pytest.raises(DetectorError, match="too few"):
        calibrate_on_photographs(trained, [0.0, 1.0])


def test_decoders_may_be_named_as_the_catalogue_does(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATURAL_TRACES_DATA", str(tmp_path))
    with pytest.raises(ManifestError, match="data get autoencoders"):
        training_pool(pictures(8), config(weights, decoders="autoencoders"))
