"""From images to scores, from validation images to a threshold, from memory to disk and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_images import in_memory, made_up, noise_photograph

from helpers.data.image_set import ImageSet
from helpers.data.images import ImageError, encode_png, luminance
from helpers.detectors.base import (
    BATCH,
    CARD,
    CARD_VERSION,
    WEIGHTS,
    WINDOWS,
    Detector,
    batch_sizes,
    licences_of,
    windows,
)
from helpers.detectors.config import CropConfig, DetectorError
from helpers.detectors.ntf.detector import NaturalTraceConfig
from helpers.detectors.ntf.stage1 import TraceTerms
from helpers.detectors.registry import config_as, config_from, find_detector, load_detector, make_detector, read_config
from helpers.evaluation.metrics import fit_platt, threshold_of_best_accuracy
from helpers.training import StorageError

SPECTRUM = config_from({"detector": "spectrum", "size": 32, "jpeg": 0.0})
NAMES = ("cross_entropy", "neighbours", "ntf", "one_class", "probe", "spectrum", "supcon")


class Brightness(Detector):
    """Scores by mean brightness, so that every score can be told by hand."""

    name = "brightness"

    class Config(NaturalTraceConfig):
        """Settings that training depends on, and a score that it does not."""

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
    detector = make_detector(SPECTRUM.changed(window=40))
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
    detector = Brightness(Brightness.Config(window=64, windows=4))
    images = [picture(70, 64), picture(200, 333, 1), picture(40, 50, 2), picture(65, 65, 3)] * 6
    scores = detector.score(images)
    for img, score in zip(images, scores, strict=True):
        expected = np.mean([float(luminance(view).mean()) for view in windows(img, 64, 4)])
        assert score == pytest.approx(expected, abs=1e-5)
    assert np.allclose(detector.score(iter(images[::-1]))[::-1], scores, atol=1e-6)
    assert max(shape[0] for shape in detector.seen) <= WINDOWS
    assert detector.score([]).shape == (0,)


def test_a_gpu_takes_more_at_once_than_a_processor() -> None:
    assert batch_sizes(torch.device("cpu")) == (BATCH, WINDOWS)
    for device in ("cuda:1", "mps"):
        assert all(gpu > cpu for gpu, cpu in zip(batch_sizes(torch.device(device)), (BATCH, WINDOWS), strict=True))


@pytest.mark.parametrize("shape", [(31, 200), (200, 31), (1, 1)])
def test_images_that_are_too_small_are_named(shape: tuple[int, int], tmp_path: Path) -> None:
    detector = Brightness(Brightness.Config())
    height, width = shape
    with pytest.raises(DetectorError, match=f"{width} x {height} pixels is too small: 32 are needed"):
        detector.score([picture(64, 64), picture(*shape)])
    (tmp_path / "tiny.png").write_bytes(encode_png(picture(*shape)))
    with pytest.raises(DetectorError, match=r"tiny\.png: an image of .* is too small"):
        detector.score_files([tmp_path / "tiny.png"])


def test_files_score_as_their_images_do_in_order(tmp_path: Path) -> None:
    detector = Brightness(Brightness.Config(window=48))
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
    detector = Brightness(Brightness.Config(size=32, window=48))
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
    assert "licences" not in detector.history  # the manifest names none


def test_a_card_counts_the_licences_of_what_it_learnt_from() -> None:
    named = made_up().manifest.assign(licence="")
    named.loc[:4, "licence"] = "CC0-1.0"
    assert licences_of(named) == {"CC0-1.0": 5, "not stated": len(named) - 5}


def test_other_test_images_change_neither_threshold_nor_calibration(tmp_path: Path) -> None:
    kept = []
    for strength in (2.0, 60.0):
        detector = Brightness(Brightness.Config(size=32))
        detector.fit(made_up(), made_up("val"), tmp_path)
        detector.score(made_up("test", strength=strength).images())
        kept.append((detector.threshold, detector.calibration, detector.history))
    assert kept[0] == kept[1]


def test_both_labels_are_needed_before_anything_is_trained(tmp_path: Path) -> None:
    only = made_up("val")
    real = in_memory(list(only.images())[:16], only.manifest.iloc[:16].drop(columns="path").to_dict("records"), "val")
    detector = Brightness(Brightness.Config(size=32))
    with pytest.raises(DetectorError, match="the validation images hold none that is fake"):
        detector.fit(made_up(), real, tmp_path)
    with pytest.raises(DetectorError, match="the training images hold none that is fake"):
        detector.fit(real, made_up("val"), tmp_path)
    assert not hasattr(detector, "learnt")


def test_a_folder_takes_no_second_run_with_other_settings_or_images(tmp_path: Path) -> None:
    """Training continues what it finds in a folder, so another run there would silently return the first one."""
    base = Brightness.Config(size=32)
    Brightness(base).fit(made_up(), made_up("val"), tmp_path)
    Brightness(base.changed(window=50, score="head", num_workers=1)).fit(made_up(), made_up("val"), tmp_path)
    with pytest.raises(DetectorError, match="holds a run with other jpeg, terms: choose another folder"):
        Brightness(base.changed(jpeg=0.1, terms={"variance": 2.0})).fit(made_up(), made_up("val"), tmp_path)
    with pytest.raises(DetectorError, match="other images: choose"):
        Brightness(base).fit(made_up(reals={"here": 9}), made_up("val"), tmp_path)


# ---------------------------------------------------------------------------------------------------- save and load


def test_a_saved_detector_gives_the_same_scores_up_to_half_precision(trained: Detector, tmp_path: Path) -> None:
    trained.save(tmp_path, {"manifest": "made up"})
    result = load_detector(tmp_path)
    images = list(made_up("test").images())
    before = trained.score(images)
    # The threshold was fixed with rounded weights, so that nothing changes on the way.
    assert result.score(images) == pytest.approx(before, abs=1e-6)
    assert (result.threshold, result.calibration, result.history, result.config) == (
        trained.threshold, trained.calibration, trained.history, trained.config,
    )  # fmt: skip
    assert not result.training
    card = json.loads((tmp_path / CARD).read_text())
    assert (card["detector"], card["manifest"]) == ("spectrum", "made up")
    result.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_what_holds_no_detector_is_refused(trained: Detector, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="holds no detector"):
        load_detector(tmp_path / "absent")
    trained.save(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    old = {name: value for name, value in card.items() if name != "version"}
    for broken, message in (
        ({**card, "threshold": None}, "float"),
        ({**card, "config": {**card["config"], "colour": 1}}, "colour: no such setting"),
        ({"config": {}, "version": CARD_VERSION}, "detector"),
        (old, f"its card has version None, not {CARD_VERSION}: train it anew"),
        (old | {"version": 1}, f"its card has version 1, not {CARD_VERSION}: train it anew"),
        (old | {"version": 99}, f"its card has version 99, not {CARD_VERSION}: update this package"),
        ([], "list"),
    ):
        (tmp_path / CARD).write_text(json.dumps(broken))
        with pytest.raises(DetectorError, match=f"holds no detector: .*{message}") as result:
            load_detector(str(tmp_path))
        assert "\n" not in str(result.value)
    (tmp_path / CARD).write_text(json.dumps(card))
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(StorageError, match="not a sound safetensors file"):
        load_detector(tmp_path)


# ----------------------------------------------------------------------------------------------------- make by name


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_depend_on_the_seed_alone(name: str) -> None:
    sizes = {"embedding": 8, "prototypes": 3}
    kind = find_detector(name)
    config = kind.Config(**{key: value for key, value in sizes.items() if key in kind.Config.model_fields})
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    first = make_detector(config)
    assert torch.equal(torch.rand(4), expected)
    torch.rand(5)
    second, other = make_detector(config), make_detector(config.changed(seed=1))
    assert (first.name, config.kind, kind) == (name, name, type(first))
    left, right = first.state_dict(), second.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)
    if any(parameter.numel() > 1 for parameter in first.parameters()):
        assert any(not torch.equal(left[key], value) for key, value in other.state_dict().items())


def test_an_untrained_one_class_starts_where_the_whole_method_starts() -> None:
    whole, alone = (make_detector(find_detector(name).Config(seed=3)) for name in ("ntf", "one_class"))
    left, right = whole.teacher.state_dict(), alone.teacher.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)


# --------------------------------------------------------------------------------------------------- configurations


def test_a_configuration_is_read_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('detector = "one_class"\nqualities = [50, 60]\n[terms]\nvariance = 0.5\n')
    config = read_config(path, seed=4, steps=9)
    assert (config.kind, config.qualities, config.terms) == ("one_class", (50, 60), TraceTerms(variance=0.5))
    assert (config.seed, config.steps, config.size) == (4, 9, CropConfig().size)
    assert (config.augmentation.size, config.augmentation.qualities) == (config.size, (50, 60))
    assert config_from({"detector": "one_class", **json.loads(json.dumps(config.values()))}) == config
    assert config.changed(seed=4) == config
    with pytest.raises(DetectorError, match=r"mine.toml: holds settings of one_class, where those of ntf are needed"):
        read_config(path, NaturalTraceConfig)


@pytest.mark.parametrize("name", [*NAMES, "ensemble"])
def test_no_setting_of_one_kind_is_taken_for_another(name: str, tmp_path: Path) -> None:
    """Each kind has the settings that it uses and no other, and says so in its card."""
    known = set(find_detector(name).Config.model_fields)
    for setting in ("prototypes", "transfer", "score", "members", "steps", "backbone", "nonsense"):
        if setting not in known:
            with pytest.raises(DetectorError, match=f"{setting}: no such setting of {name}"):
                config_from({"detector": name, setting: 1})
    if name != "ensemble":
        make_detector(config_from({"detector": name})).save(tmp_path)
        assert set(json.loads((tmp_path / CARD).read_text())["config"]) == known


def test_settings_of_another_kind_are_taken_over_where_both_have_them() -> None:
    base = NaturalTraceConfig(steps=7, size=48, view="rgb", score="head", terms=TraceTerms(variance=2.0))
    result = config_as(base, "cross_entropy", smoothing=0.1)
    assert (result.kind, result.steps, result.size, result.view, result.smoothing) == (
        "cross_entropy",
        7,
        48,
        "rgb",
        0.1,
    )
    assert config_as(base, "ntf") == base
    with pytest.raises(DetectorError, match="score: no such setting of spectrum"):
        config_as(base, "spectrum", score="head")


IMPOSSIBLE = [
    ("colour = 1", r"bad.toml: colour: no such setting of ntf \(known: window, .*teacher\)"),
    ("lerning_rate = 1", r"lerning_rate: no such setting of ntf \(did you mean learning_rate\?\)"),
    ("terms = {homogenous = 1}", r"terms.homogenous: no such setting of ntf \(did you mean homogeneous\?\)"),
    ("transfer = {sharpnes = 1}", r"transfer.sharpnes: .*did you mean sharpness\?"),
    ('terms = {homogeneous = "x"}', r"bad.toml: terms.homogeneous cannot be 'x': should be a valid number"),
    ("seed = ", "bad.toml: cannot be read"),
    ('steps = "many"', "steps cannot be 'many': should be a valid integer"),
    ("steps = 1.5", "steps cannot be 1.5: should be a valid integer"),
    ("steps = true", "steps cannot be True: should be a valid integer"),
    ("jpeg = true", "jpeg cannot be True: should be a valid number"),
    ("teacher = 1", "teacher cannot be 1: should be a valid boolean"),
    ("view = 2", "view cannot be 2: should be a valid string"),
    ("steps = 0", "steps cannot be 0: should be greater than or equal to 1"),
    ("window = 20", "window cannot be 20: should be greater than or equal to 32"),
    ("size = 49", "size cannot be 49: should be a multiple of 2"),
    ("windows = 9", "windows cannot be 9: should be less than or equal to 8"),
    ("jpeg = 1.5", "jpeg cannot be 1.5: should be less than or equal to 1"),
    ("jpeg = nan", "jpeg cannot be nan: should be a finite number"),
    ("camera = -0.5", "camera cannot be -0.5: should be greater than or equal to 0"),
    ("learning_rate = 0.0", "learning_rate cannot be 0.0: should be greater than 0"),
    ("qualities = [96, 60]", r"qualities cannot be \[96, 60\]: should have the lower quality first"),
    ("qualities = [96]", "qualities.1 is missing"),
    ("seed = 1979-05-27", "seed cannot be '1979-05-27'"),
    ('score = "guess"', "score cannot be 'guess': should be 'head', .* or 'all'"),
    ('score = "subspace"', "the score subspace needs a subspace above 0"),
    ('breakers = ["melt"]', r"breakers cannot be \['melt'\]: should hold some of resample"),
    ('transfer = {targets = "firm"}', "transfer cannot be .*: targets must be one of soft"),
]


@pytest.mark.parametrize(("text", "message"), IMPOSSIBLE)
def test_impossible_configurations_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('detector = "ntf"\n' + text)
    with pytest.raises(DetectorError, match=message) as result:
        read_config(tmp_path / "bad.toml")
    assert "\n" not in str(result.value)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(DetectorError, match="configuration: members is missing"):
        config_from({"detector": "ensemble"})


def test_a_configuration_without_a_kind_lists_the_kinds(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("steps = 1")
    with pytest.raises(DetectorError, match=r"bad.toml: needs detector, one of .*, ntf, ntf_pretrained, one_class"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text('detector = "oracle"')
    with pytest.raises(DetectorError, match=r"oracle: no such detector \(known: .*ntf, ntf_pretrained, one_class"):
        read_config(tmp_path / "bad.toml")


def test_a_configuration_that_is_not_there_is_named() -> None:
    with pytest.raises(DetectorError, match=r"absent\.toml: cannot be read: No such file"):
        read_config(Path("absent.toml"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_configuration_is_read_in_the_encodings_of_editors(encoding: str, end: str, tmp_path: Path) -> None:
    text = end.join(['# größe "groß"', 'detector = "spectrum"', "size = 48", ""])
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-sig" else text.encode(encoding)
    (tmp_path / "mine.toml").write_bytes(data)
    assert read_config(tmp_path / "mine.toml").size == 48


def test_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('detector = "spectrum"\n# größe\n'.encode("latin-1"))
    with pytest.raises(DetectorError, match=r"latin.toml: cannot be read: line 2 is not in UTF-8; save it as UTF-8$"):
        read_config(tmp_path / "latin.toml")


def test_every_configuration_of_the_project_can_be_made(project: Path) -> None:
    paths = sorted((project / "data" / "configs").glob("*.toml"))
    assert {path.stem for path in paths} >= {"ntf", "cross_entropy", "npr", "zoo"}
    for path in paths:
        config = read_config(path).without_files()  # first weights need not be installed here
        assert make_detector(config).config == config


def test_noise_photographs_are_what_they_say() -> None:
    img = noise_photograph(torch.Generator().manual_seed(0))
    assert (img.shape, img.dtype) == ((3, 56, 56), torch.uint8)
