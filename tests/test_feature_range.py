"""What resembles no known picture is refused: the range of features, its limit, its file, and the shipped one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import run
from test_pretrained import config, own_cache, pictures, weights  # noqa: F401
from textured_images import textured
from torch import Tensor

from helpers import api
from helpers.data import catalog
from helpers.data.files import StorageError
from helpers.data.images import encode_png
from helpers.data.manifest import write_manifest
from helpers.detectors.base import RANGE
from helpers.detectors.config import DetectorError, config_path
from helpers.detectors.feature_range import FeatureRange, fit_range
from helpers.detectors.registry import load_detector, make_detector, read_config
from helpers.detectors.statement import explain, out_of_range
from helpers.lessons.lesson09.study import noise, screenshot
from helpers.selection.calibration import calibrate_range
from helpers.training import save_weights

GROUPS = [f"source {number % 10}" for number in range(1000)]


def plane(count: int, seed: int, spread: float = 0.1) -> Tensor:
    """Points near a plane in twenty dimensions."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 20, generator=generator) * spread
    points[:, :2] += torch.randn(count, 2, generator=generator) * 3
    return points


def test_the_share_that_was_asked_for_lies_inside_and_what_leaves_the_plane_outside() -> None:
    known = fit_range(plane(1000, 0), GROUPS, directions=2, share=0.9)
    ratios = np.array([known.ratio(row[None]) for row in plane(2000, 1)])
    assert np.mean(ratios <= 1) == pytest.approx(0.9, abs=0.03)
    far_along, far_off = plane(1, 2), plane(1, 2)
    far_along[:, 0] += 6
    far_off[:, 10] += 6
    assert known.ratio(far_off) > 5 * known.ratio(far_along)
    assert known.ratio(torch.cat([far_off, far_along])) == pytest.approx(
        (known.ratio(far_off) + known.ratio(far_along)) / 2
    )


def test_every_group_weighs_alike() -> None:
    # 900 pictures of nine sources lie close; the tenth source has 20 that lie ten times as far out.
    near, far = plane(900, 0, 0.05), plane(20, 1, 0.5)
    groups = [f"source {number % 9}" for number in range(900)] + ["far"] * 20
    limit = {
        share: fit_range(torch.cat([near, far]), groups, directions=2, share=share).limit for share in (0.85, 0.95)
    }
    assert limit[0.95] > 4 * limit[0.85], "a tenth of all groups lies far out, though few pictures do"


def test_a_group_is_judged_by_the_others() -> None:
    # One source varies where no other does; judged with itself in the model it would look near.
    own = plane(1000, 0)
    own[::10, 5] += 4 * torch.randn(100, generator=torch.Generator().manual_seed(3))
    alone = fit_range(own, GROUPS, directions=3, share=0.97)
    mixed = fit_range(own, [f"source {number // 100}" for number in range(1000)], directions=3, share=0.97)
    assert alone.limit > 2 * mixed.limit


def test_too_little_is_refused() -> None:
    with pytest.raises(DetectorError, match="4 photo sources and generators are too few: 5"):
        fit_range(plane(40, 0), [str(number % 4) for number in range(40)], directions=2)
    with pytest.raises(DetectorError, match="16 pictures are too few for 30 directions"):
        fit_range(plane(20, 0), [str(number % 5) for number in range(20)], directions=30)


def test_a_file_gives_the_same_range_and_an_unsound_one_is_refused(tmp_path: Path) -> None:
    known = fit_range(plane(1000, 0), GROUPS, directions=2)
    known.save(tmp_path / RANGE)
    again = FeatureRange.load(tmp_path / RANGE)
    assert (again.limit, again.share) == (known.limit, known.share)
    rows = plane(5, 4)
    assert again.ratio(rows) == pytest.approx(known.ratio(rows), rel=0.01)  # half precision
    save_weights({"mean": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(StorageError, match="holds no range of features"):
        FeatureRange.load(tmp_path / "other.safetensors")
    save_weights(known.subspace, tmp_path / "no limit.safetensors")
    with pytest.raises(StorageError, match="holds no range of features: 'limit'"):
        FeatureRange.load(tmp_path / "no limit.safetensors")


def test_a_detector_keeps_its_range_and_other_weights_lose_it(weights: Path, tmp_path: Path) -> None:  # noqa: F811
    detector = make_detector(config(weights))
    assert load_or_none(detector, tmp_path) is None
    width = detector.describe(torch.zeros(1, 3, 64, 64)).shape[1]
    points = torch.randn(200, width, generator=torch.Generator().manual_seed(0))
    detector.feature_range = fit_range(points, GROUPS[:200], directions=4)
    kept = load_or_none(detector, tmp_path)
    assert kept is not None
    assert kept.limit == detector.feature_range.limit
    detector.feature_range = None
    assert load_or_none(detector, tmp_path) is None
    assert not (tmp_path / RANGE).exists()


def load_or_none(detector: object, folder: Path) -> FeatureRange | None:
    detector.save(folder)
    return load_detector(folder).feature_range


def test_a_kind_without_features_says_so() -> None:
    with pytest.raises(DetectorError, match="spectrum: has no features"):
        calibrate_range(
            make_detector(read_config(config_path("spectrum"))), pictures(2), progress=lambda done, of: None
        )


def test_the_command_writes_the_range_and_leaves_weights_and_card(
    weights: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "detector"
    make_detector(config(weights)).save(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = pd.DataFrame({"path": [f"{number}.png" for number in range(200)]})
    for number, name in enumerate(rows["path"]):
        (tmp_path / name).write_bytes(encode_png(textured(number)))
    sources = [f"source {number % 8}" for number in range(200)]
    rows = rows.assign(label="real", generator="", family="", source=sources, split="train", width=48, height=48)
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in rows["path"]]
    rows = rows.assign(format="PNG", sha256=hashes, licence="CC0-1.0", origin="made by the test")
    write_manifest(rows, tmp_path / "manifest.csv")
    done = run("range", folder, "--manifest", tmp_path / "manifest.csv", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["pictures"] == 200
    assert load_detector(folder).feature_range is not None
    assert {name: (folder / name).read_bytes() for name in before} == before


# The shipped detector


def test_pictures_that_nobody_would_ask_about_are_refused_by_the_shipped_detector() -> None:
    detector = api.load_detector()
    for name, img in (("noise", noise()), ("screenshot", screenshot())):
        statement = explain(encode_png(img), detector)
        assert statement.verdict == "inconclusive", name
        assert any("resembles none of the pictures" in reason for reason in statement.reasons), name
    assert detector.conformal.verdicts(detector.score([noise()])) == ["photograph"], "what it would say without"


def test_photographs_of_the_package_lie_inside() -> None:
    detector = api.load_detector()
    for name in catalog.photographs()["name"]:
        views = detector.views(catalog.photograph(name))[:2]
        assert detector.feature_range.ratio(detector.describe_views(views)) < 1, name


def test_small_photographs_are_not_measured_by_a_range_of_larger_windows() -> None:
    detector = api.load_detector()
    img = catalog.photograph("hubble_deep_field")
    for top, left in ((0, 0), (200, 300), (500, 600)):
        part = img[:, top : top + 128, left : left + 128]
        assert out_of_range(detector, part, None, detector.views(part)) == ()
