"""From images to scores, from validation images to a threshold, from memory to disk and back."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_images import in_memory, made_up, noise_photograph

from helpers.data.image_set import ImageSet
from helpers.data.images import ImageError, encode_png, luminance
from helpers.detectors.base import CARD, WEIGHTS, WINDOWS, Detector, windows
from helpers.detectors.config import DetectorConfig, DetectorError, config_from, read_config
from helpers.detectors.registry import DETECTORS, load_detector, make_detector
from helpers.evaluation.metrics import fit_platt, threshold_of_best_accuracy
from helpers.training import StorageError

SPECTRUM = DetectorConfig(detector="spectrum", size=32, jpeg=0.0)
NAMES = ("cross_entropy", "neighbours", "ntf", "one_class", "probe", "spectrum", "supcon")


class Brightness(Detector):
    """Scores by mean brightness, so that every score can be told by hand."""

    name = "brightness"

    def logit(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = [*getattr(self, "seen", []), tuple(images.shape)]
        return luminance(images.float() / 255).mean(dim=(1, 2))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(2, 3))

    def fit_weights(self, train: ImageSet, out: Path) -> None:
        self.learnt = train


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    torch.manual_seed(0)
    detector = make_detector(replace(SPECTRUM, window=40))
    images = torch.stack(list(made_up().images()))
    detector.linear.fit(detector.embed(images), made_up().labels)
    detector.note_history(made_up(), made_up("val"), detector.calibrate(made_up("val")))
    return detector.eval()


# ---------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("height", [32, 239, 240, 241, 333])
@pytest.mark.parametrize("width", [33, 240, 1024])
def test_windows_are_native_different_and_inside(height: int, width: int) -> None:
    img = torch.arange(height * width).reshape(1, height, width).expand(3, -1, -1)
    cut = windows(img, 240, 4)
    assert len(cut) == (1 if height <= 240 else 2) * (1 if width <= 240 else 2)
    places = set()
    for view in cut:
        assert view.shape == (3, min(height, 240), min(width, 240))
        top, left = divmod(int(view[0, 0, 0]), width)
        assert torch.equal(view, img[:, top : top + 240, left : left + 240])
        places.add((top, left))
    assert len(places) == len(cut)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (4, [(20, 20), (20, 60), (60, 20), (60, 60)]),
        (3, [(20, 20), (60, 60)]),
        (2, [(20, 20), (60, 60)]),
        (1, [(40, 40)]),
    ],
)
def test_windows_lie_symmetrically(most: int, expected: list[tuple[int, int]]) -> None:
    img = torch.arange(100 * 100).reshape(1, 100, 100).expand(3, -1, -1)
    assert [divmod(int(view[0, 0, 0]), 100) for view in windows(img, 20, most)] == expected


def test_two_windows_lie_side_by_side_in_a_strip() -> None:
    assert [view.shape[1:] for view in windows(torch.zeros(3, 20, 100), 20, 2)] == [(20, 20), (20, 20)]


# ----------------------------------------------------------------------------------------------------------- scores


def test_a_score_is_the_mean_over_windows_whatever_comes_before_it() -> None:
    detector = Brightness(DetectorConfig(window=64, windows=4))
    images = [picture(70, 64), picture(200, 333, 1), picture(40, 50, 2), picture(65, 65, 3)] * 6
    scores = detector.score(images)
    for img, score in zip(images, scores, strict=True):
        expected = np.mean([float(luminance(view).mean()) for view in windows(img, 64, 4)])
        assert score == pytest.approx(expected, abs=1e-5)
    assert np.allclose(detector.score(iter(images[::-1]))[::-1], scores, atol=1e-6)
    assert max(shape[0] for shape in detector.seen) <= WINDOWS
    assert detector.score([]).shape == (0,)


@pytest.mark.parametrize("shape", [(31, 200), (200, 31), (1, 1)])
def test_images_that_are_too_small_are_named(shape: tuple[int, int], tmp_path: Path) -> None:
    detector = Brightness(DetectorConfig())
    height, width = shape
    with pytest.raises(DetectorError, match=f"{width} x {height} pixels is too small: 32 are needed"):
        detector.score([picture(64, 64), picture(*shape)])
    (tmp_path / "tiny.png").write_bytes(encode_png(picture(*shape)))
    with pytest.raises(DetectorError, match=r"tiny\.png: an image of .* is too small"):
        detector.score_files([tmp_path / "tiny.png"])


def test_files_score_as_their_images_do_in_order(tmp_path: Path) -> None:
    detector = Brightness(DetectorConfig(window=48))
    images = [picture(40 + number % 13, 60 + number % 7, number) for number in range(75)]
    paths = [tmp_path / f"{number}.png" for number in range(75)]
    for path, img in zip(paths, images, strict=True):
        path.write_bytes(encode_png(img))
    expected = detector.score(images)
    for threads in (1, 3):
        assert np.array_equal(detector.score_files(iter(paths), threads=threads), expected)
    changed = detector.score_files(paths, lambda img: 255 - img)
    assert np.allclose(changed, 1 - expected, atol=1e-5)
    paths[40].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"40\.png"):
        detector.score_files(paths)


def test_scoring_leaves_training_mode_and_keeps_no_gradient(trained: Detector) -> None:
    trained.train()
    first = trained.score([picture(64, 64)])
    assert not trained.training
    assert np.array_equal(first, trained.score([picture(64, 64)]))


# ------------------------------------------------------------------------------------- threshold and calibration


def test_threshold_and_calibration_are_those_of_the_validation_images(tmp_path: Path) -> None:
    train, val = made_up(), made_up("val", strength=30.0)
    detector = Brightness(DetectorConfig(size=32, window=48))
    assert detector.fit(train, val, tmp_path) is detector
    assert detector.learnt is train
    scores = detector.score(val.images())
    assert detector.threshold == threshold_of_best_accuracy(val.labels, scores)
    assert detector.calibration == fit_platt(val.labels, scores)
    expected = detector.calibration.apply(scores)
    assert np.array_equal(detector.probability(scores), expected)
    assert ((expected > 0) & (expected < 1)).all()
    assert detector.history["generators"] == ["checkers"]
    assert detector.history["sources"] == ["elsewhere", "here", "there"]
    assert (detector.history["real"], detector.history["fake"], detector.history["validation_images"]) == (16, 16, 32)


def test_other_test_images_change_neither_threshold_nor_calibration(tmp_path: Path) -> None:
    kept = []
    for strength in (2.0, 60.0):
        detector = Brightness(DetectorConfig(size=32))
        detector.fit(made_up(), made_up("val"), tmp_path)
        detector.score(made_up("test", strength=strength).images())
        kept.append((detector.threshold, detector.calibration, detector.history))
    assert kept[0] == kept[1]


def test_both_labels_are_needed_before_anything_is_trained(tmp_path: Path) -> None:
    only = made_up("val")
    real = in_memory(list(only.images())[:16], only.manifest.iloc[:16].drop(columns="path").to_dict("records"), "val")
    detector = Brightness(DetectorConfig(size=32))
    with pytest.raises(DetectorError, match="the validation images hold none that is fake"):
        detector.fit(made_up(), real, tmp_path)
    with pytest.raises(DetectorError, match="the training images hold none that is fake"):
        detector.fit(real, made_up("val"), tmp_path)
    assert not hasattr(detector, "learnt")


def test_a_folder_takes_no_second_run_with_other_settings_or_images(tmp_path: Path) -> None:
    """Training continues what it finds in a folder, so another run there would silently return the first one."""
    base = DetectorConfig(size=32)
    Brightness(base).fit(made_up(), made_up("val"), tmp_path)
    Brightness(replace(base, window=50, score="head", num_workers=1)).fit(made_up(), made_up("val"), tmp_path)
    with pytest.raises(DetectorError, match="holds a run with other jpeg, terms: choose another folder"):
        Brightness(replace(base, jpeg=0.1, terms={"variance": 2.0})).fit(made_up(), made_up("val"), tmp_path)
    with pytest.raises(DetectorError, match="other images: choose"):
        Brightness(base).fit(made_up(reals={"here": 9}), made_up("val"), tmp_path)


# ---------------------------------------------------------------------------------------------------- save and load


def test_a_saved_detector_gives_the_same_scores_up_to_half_precision(trained: Detector, tmp_path: Path) -> None:
    trained.save(tmp_path, {"manifest": "made up"})
    found = load_detector(tmp_path)
    images = list(made_up("test").images())
    before = trained.score(images)
    # The threshold was fixed with rounded weights, so that nothing changes on the way.
    assert found.score(images) == pytest.approx(before, abs=1e-6)
    assert (found.threshold, found.calibration, found.history, found.config) == (
        trained.threshold, trained.calibration, trained.history, trained.config,
    )  # fmt: skip
    assert not found.training
    card = json.loads((tmp_path / CARD).read_text())
    assert (card["detector"], card["manifest"]) == ("spectrum", "made up")
    found.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_what_holds_no_detector_is_refused(trained: Detector, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="holds no detector"):
        load_detector(tmp_path / "absent")
    trained.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    for broken in ({**card, "threshold": None}, {**card, "config": {**card["config"], "colour": 1}}, {"config": {}}):
        (tmp_path / CARD).write_text(json.dumps(broken))
        with pytest.raises(DetectorError, match="holds no detector"):
            load_detector(tmp_path)
    (tmp_path / CARD).write_text(json.dumps(card))
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(StorageError, match="not a sound safetensors file"):
        load_detector(tmp_path)


# ----------------------------------------------------------------------------------------------------- make by name


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_depend_on_the_seed_alone(name: str) -> None:
    config = DetectorConfig(detector=name, embedding=8, prototypes=3)
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    first = make_detector(config)
    assert torch.equal(torch.rand(4), expected)
    torch.rand(5)
    second, other = make_detector(config), make_detector(replace(config, seed=1))
    assert (first.name, DETECTORS[name]) == (name, type(first))
    left, right = first.state_dict(), second.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)
    if any(parameter.numel() > 1 for parameter in first.parameters()):
        assert any(not torch.equal(left[key], value) for key, value in other.state_dict().items())


def test_unknown_detectors_are_named_with_the_known_ones() -> None:
    with pytest.raises(DetectorError, match=r"oracle: no such detector \(known: .*ntf, one_class"):
        make_detector(DetectorConfig(detector="oracle"))


# --------------------------------------------------------------------------------------------------- configurations


def test_a_configuration_is_read_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('detector = "supcon"\nqualities = [50, 60]\n[terms]\nvariance = 0.5\n')
    config = read_config(path, seed=4, steps=9)
    assert (config.detector, config.qualities, config.terms) == ("supcon", (50, 60), {"variance": 0.5})
    assert (config.seed, config.steps, config.size) == (4, 9, DetectorConfig().size)
    assert (config.augmentation.size, config.augmentation.qualities) == (config.size, (50, 60))
    assert config_from(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "bad.toml: unknown entries colour"),
        ("seed = ", "bad.toml: cannot be read"),
        ('steps = "many"', "steps cannot be 'many'"),
        ("steps = 1.5", "steps cannot be 1.5"),
        ("jpeg = true", "jpeg cannot be True"),
        ("steps = 0", "steps must be at least 1, not 0"),
        ("window = 20", "window must be at least 32"),
        ("size = 49", "size must be even, not 49"),
        ("windows = 5", "windows must be 1 to 4"),
        ("jpeg = 1.5", "jpeg must be 0 to 1"),
        ("camera = -0.5", "camera must be 0 to 1"),
        ("learning_rate = 0.0", "learning_rate must be above 0"),
        ("qualities = [96, 60]", "qualities must be two of 1 to 100"),
        ("qualities = [96]", "qualities must be two of 1 to 100"),
        ('score = "guess"', "score must be one of head"),
        ('score = "subspace"', "score subspace needs a subspace"),
        ('breakers = ["melt"]', "breakers must be of resample"),
        ("terms = {colour = 1}", "terms or transfer: .*'colour'"),
        ("transfer = {heat = 1}", "terms or transfer: .*'heat'"),
        ('transfer = {targets = "firm"}', "targets must be one of soft"),
    ],
)
def test_impossible_configurations_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=message) as found:
        read_config(tmp_path / "bad.toml")
    assert "\n" not in str(found.value)


def test_a_configuration_that_is_not_there_is_named() -> None:
    with pytest.raises(DetectorError, match=r"absent\.toml: cannot be read"):
        read_config(Path("absent.toml"))


def test_every_configuration_of_the_project_can_be_made(project: Path) -> None:
    paths = sorted((project / "data" / "configs").glob("*.toml"))
    assert {path.stem for path in paths} >= {"ntf", "cross_entropy", "npr", "zoo"}
    for path in paths:
        assert make_detector(read_config(path)).config == read_config(path)


def test_noise_photographs_are_what_they_say() -> None:
    img = noise_photograph(torch.Generator().manual_seed(0))
    assert (img.shape, img.dtype) == ((3, 56, 56), torch.uint8)
