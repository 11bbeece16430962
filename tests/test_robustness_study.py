"""The studies of lesson 07, their figures, and `python -m helpers robustness`."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import cli
from helpers.data import catalog
from helpers.data.image_set import ImageSet
from helpers.data.images import center_crop, decode
from helpers.detectors.registry import config_from, load_detector, make_detector
from helpers.evaluation.sweep import Cell
from helpers.lessons.lesson00.collecting import careless_files
from helpers.lessons.lesson07 import figures as robustness_plots
from helpers.lessons.lesson07 import study as studies
from helpers.lessons.lesson07.study import Setting, block_features, robustness_study, sample_set, unseen_fakes
from helpers.pixels.perturbations import RobustnessError, jpeg
from helpers.pixels.resynthesis import fit_patch_model

GENERATORS = ("seen", "first", "second")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def tiny_set() -> ImageSet:
    """Forty smooth and sixty grainy images of 40 pixels; the grainy ones count as fakes of three generators."""
    generator = torch.Generator().manual_seed(0)
    rows, images = [], []
    for index in range(100):
        fake = index % 5 >= 2
        noise = torch.randint(0, 60 if fake else 12, (3, 40, 40), generator=generator)
        images.append((noise + 90).to(torch.uint8))
        rows.append(
            {
                "label": "fake" if fake else "real",
                "generator": GENERATORS[index % 3] if fake else "",
                "family": "",
                "source": f"source-{index % 4}",
                "split": "test",
            }
        )
    return ImageSet.of(images, pd.DataFrame(rows))


def roughness_detector():
    """Make a spectrum detector that has learnt to call grain fake."""
    detector = make_detector(config_from({"detector": "spectrum", "size": 32, "jpeg": 0.0}))
    images = tiny_set()
    features = detector.embed(torch.stack(list(images.images())))
    detector.linear.fit(features, images.labels)
    detector.calibrate(images)
    detector.history = {"generators": ["seen"], "sources": []}
    return detector


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    images, detector = tiny_set(), roughness_detector()
    about = unseen_fakes(images.manifest.assign(row=range(len(images))), detector)
    chosen = [images.image(row) for row in about["row"]]
    cells = [Cell("jpeg", 80.0), Cell("blur", 2.0), Cell("resize-bicubic", 0.5), Cell("noise", 16.0)]
    return robustness_study(detector, "tiny", chosen, about, cells, surface=False, draws=50)


# Images


def test_fakes_of_training_generators_are_left_out() -> None:
    kept = unseen_fakes(tiny_set().manifest, roughness_detector())
    assert set(kept["generator"]) == {"", "first", "second"}
    assert (kept["label"] == "real").sum() == 40


def test_a_sample_holds_both_labels_alike_and_keeps_the_order() -> None:
    df = tiny_set().manifest
    kept = sample_set(df, 20, seed=1)
    assert kept["label"].value_counts().to_dict() == {"real": 10, "fake": 10}
    assert set(kept["generator"]) == {"", *GENERATORS}
    assert kept["path"].is_monotonic_increasing
    assert sample_set(df, 20, seed=1).equals(kept)
    assert sample_set(df, 0).equals(df)


def test_a_name_changes_with_the_weights(tmp_path: Path) -> None:
    detector = roughness_detector()
    detector.save(tmp_path / "a")
    detector.save(tmp_path / "b")
    detector.linear.bias += 1
    detector.save(tmp_path / "c")
    names = [studies.weights_name(tmp_path / name) for name in "abc"]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("spectrum-")


# Scores and records


def test_the_untouched_images_come_first_and_numbers_are_those_of_scikit_learn(study: dict[str, Any]) -> None:
    detector, images = roughness_detector(), tiny_set()
    about = unseen_fakes(images.manifest.assign(row=range(len(images))), detector)
    scores = detector.score([images.image(row) for row in about["row"]])
    fake = (about["label"] == "fake").to_numpy()
    clean = study["cells"][0]
    assert (clean["perturbation"], clean["strength"]) == ("none", 0.0)
    assert clean["auc"] == pytest.approx(roc_auc_score(fake, scores), abs=1e-4)
    called = scores >= detector.threshold
    assert clean["accuracy"] == pytest.approx(balanced_accuracy_score(fake, called), abs=1e-4)
    assert clean["called_real"] == pytest.approx(called[~fake].mean(), abs=1e-4)
    assert clean["called_fake"] == pytest.approx(called[fake].mean(), abs=1e-4)
    assert (study["real"], study["fake"], study["generators"]) == (40, int(fake.sum()), ["first", "second"])


def test_cells_that_make_images_too_small_are_named_instead_of_run(study: dict[str, Any]) -> None:
    assert [(row["perturbation"], row["strength"]) for row in study["skipped"]] == [("resize-bicubic", 0.5)]
    assert "20 x 20" in study["skipped"][0]["reason"]
    assert [row["perturbation"] for row in study["cells"]] == ["none", "jpeg", "blur", "noise"]


def test_blur_takes_the_grain_and_turns_every_verdict_to_real(study: dict[str, Any]) -> None:
    blurred = next(row for row in study["cells"] if row["perturbation"] == "blur")
    assert study["cells"][0]["accuracy"] > 0.95
    assert blurred["called_fake"] < 0.1
    assert blurred["accuracy_loss"] > 0.3


def test_the_surface_holds_every_pair_and_its_corner_is_the_untouched_set() -> None:
    images, detector = tiny_set(), roughness_detector()
    table = studies.score_surface(
        "tiny", detector.score, list(images.images()), images.manifest, factors=(1.0, 0.9), qualities=(50,)
    )
    assert table.groupby(["factor", "perturbation"]).size().to_dict() == {
        (0.9, "jpeg"): 100,
        (0.9, "none"): 100,
        (1.0, "jpeg"): 100,
        (1.0, "none"): 100,
    }
    corner = table[(table["factor"] == 1) & (table["perturbation"] == "none")]["score"]
    assert np.allclose(corner, detector.score(images.images()))


def test_finished_cells_are_read_from_the_cache(tmp_path: Path) -> None:
    images, calls = tiny_set(), []

    def score(views: list[torch.Tensor]) -> np.ndarray:
        calls.append(len(views))
        return np.arange(len(views), dtype=float)

    arguments = ("counted", score, list(images.images()), images.manifest, [Cell("none", 0.0), Cell("jpeg", 50.0)])
    first, _ = studies.score_cells(*arguments, cache=tmp_path)
    done = len(calls)
    second, _ = studies.score_cells(*arguments, cache=tmp_path)
    assert done > 0
    assert len(calls) == done
    pd.testing.assert_frame_equal(first, second)


def test_a_study_needs_both_labels() -> None:
    images, detector = tiny_set(), roughness_detector()
    real = images.manifest[images.manifest["label"] == "real"]
    with pytest.raises(RobustnessError, match="both real and fake"):
        studies.robustness_study(detector, "tiny", [], real, [])


@pytest.mark.slow
def test_augmentation_study_trains_each_setting_once(tmp_path: Path) -> None:
    settings = (Setting("never", 0.0), Setting("always", 1.0, (40, 60)))
    test, lines = tiny_zoo_test(), []
    result = studies.augmentation_study([0], (2, 2), tmp_path, settings=settings, test=test, say=lines.append)
    assert [row["setting"] for row in result["runs"]] == ["never"] * 11 + ["always"] * 11
    assert load_detector(tmp_path / "1-0").config.qualities == (40, 60)
    stamp = (tmp_path / "1-0" / "card.json").stat().st_mtime_ns
    again = studies.augmentation_study([0], (2, 2), tmp_path, settings=settings, test=test)
    assert (tmp_path / "1-0" / "card.json").stat().st_mtime_ns == stamp
    assert again["runs"] == result["runs"]
    assert len(lines) == 2


def tiny_zoo_test() -> ImageSet:
    from helpers.generators.sets import zoo_set

    zoo = zoo_set("test", ["flow"], reals=16)
    return ImageSet.of(list(zoo.images()), zoo.manifest)


# The leak of lesson 07


def test_block_features_see_on_which_grid_a_jpeg_was_made() -> None:
    img = center_crop(catalog.photograph("coffee"), 120)
    saved = jpeg(img, 60)
    plain, once, moved = (block_features(view) for view in (img, saved, saved[:, 4:, 4:]))
    assert plain.shape == (128,)
    by_grid = [float(features[64:].mean()) for features in (plain, once, moved)]
    assert abs(by_grid[0]) < 0.1
    assert by_grid[1] < -0.4  # rounding takes small coefficients away, on its own grid
    assert by_grid[2] > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_bands_of_lesson_07_hold_for_other_seeds(seed: int) -> None:
    """The sweep behind the notebook's bands: a detector of careless files is right, and then a coin."""
    everyday = catalog.photographs().query("scene == 'everyday'").drop_duplicates("source").set_index("name")
    scenes = {name: center_crop(catalog.photograph(name), 240) for name in everyday.index}
    train = list(everyday.index[everyday["split"] == "train"])
    model = fit_patch_model([scenes[name] for name in train], patches=2000, seed=seed)
    files = dict(careless_files(scenes, model, count=24, seed=seed))
    fake = np.array([name.startswith("fake") for name in files])
    learns = np.array([name.split("/")[-2] in train for name in files])
    lying = [decode(data) for data in files.values()]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(75, 96, (len(lying),), generator=generator).tolist()
    saved = [jpeg(img, quality) if one else img for img, quality, one in zip(lying, drawn, fake, strict=True)]
    first, second = (np.stack([block_features(img) for img in views]) for views in (lying, saved))

    def accuracy(learnt: np.ndarray, judged: np.ndarray) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        return float(model.fit(learnt[learns], fake[learns]).score(judged[~learns], fake[~learns]))

    assert accuracy(first, first) >= 0.95
    assert 0.45 <= accuracy(first, second) <= 0.56
    assert 0.75 <= accuracy(second, second) <= 0.97
    assert accuracy(second, first) >= 0.9


# Figures


def test_strengths_are_drawn_from_untouched_to_severe(study: dict[str, Any]) -> None:
    fig = robustness_plots.strength_figure(study, {"quality": ("jpeg",), "sigma": ("blur",)})
    shown = fig.axes[0].lines[0].get_ydata()
    assert list(shown) == [study["cells"][0]["ap"], study["cells"][1]["ap"]]
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["none", "80"]
    assert fig.axes[1].get_xlabel() == "sigma"


def test_summary_names_its_numbers(study: dict[str, Any]) -> None:
    fig = robustness_plots.summary_figure({"detector": "tiny", **study})
    assert f"{study['fake']} fakes of 2 unseen generators" in fig.get_suptitle()


def surface_record() -> dict[str, Any]:
    keys = ("factor", "quality", "ap", "called_real", "called_fake")
    rows = [
        (1.0, None, 0.9, 0.1, 0.8),
        (1.0, 50.0, 0.8, 0.2, 0.7),
        (0.5, None, 0.7, 0.3, 0.6),
        (0.5, 50.0, 0.6, 0.4, 0.5),
    ]
    cells = [dict(zip(keys, row, strict=True)) for row in rows]
    return {"surface": [cell | {"ap_low": cell["ap"] - 0.1, "ap_high": cell["ap"] + 0.1} for cell in cells]}


def test_surface_figure_marks_the_chosen_cell() -> None:
    fig = robustness_plots.surface_figure(surface_record(), (0.5, None))
    assert "AP 0.70 [0.60, 0.80]" in [ax.get_title() for ax in fig.axes]
    (frame,) = fig.axes[0].patches
    assert (round(frame.get_x()), round(frame.get_y())) == (0, 1)
    assert [bar.get_height() for bar in fig.axes[1].patches] == [0.3, 0.6]


def test_surface_alone_writes_every_value_where_it_belongs() -> None:
    fig = robustness_plots.surface_figure(surface_record())
    written = {text.get_position(): text.get_text() for text in fig.axes[0].texts}
    assert written == {(0, 0): "0.90", (1, 0): "0.80", (0, 1): "0.70", (1, 1): "0.60"}
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["1", "0.5"]
    assert not fig.axes[0].patches


def augmentation_record() -> dict[str, Any]:
    cells = studies.augmentation_cells()
    runs = [
        {"setting": setting, "seed": seed, "perturbation": name, "strength": float(s)}
        | {"ap": 0.5 + gain + seed / 100, "accuracy": 0.6 + gain, "called_real": 0.1 + gain}
        for setting, gain in (("never", 0.0), ("often", 0.2))
        for seed in range(3)
        for name, s in cells
    ]
    return {"settings": ["never", "often"], "runs": runs}


def test_augmentation_figure_and_table_show_means_over_seeds() -> None:
    fig = robustness_plots.augmentation_figure(augmentation_record())
    assert fig.axes[0].lines[0].get_ydata()[0] == pytest.approx(0.51)
    table = robustness_plots.augmentation_table(augmentation_record())
    assert table.loc["AP, untouched", "often"] == "0.71 (0.70 to 0.72)"
    assert table.loc["photos called fake, untouched", "never"] == "0.10 (0.10 to 0.10)"


def test_wall_shows_the_image_and_six_perturbations() -> None:
    fig = robustness_plots.perturbation_wall(torch.full((3, 64, 64), 90, dtype=torch.uint8))
    assert [ax.texts[0].get_text() for ax in fig.axes][:3] == ["as it is", "jpeg\n30", "resize\n0.5"]
    assert len(fig.axes) == 7


def test_score_figure_counts_every_image() -> None:
    fig = robustness_plots.score_figure({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 1.5, 1.0, 2.0]}, [0, 0, 0, 1], 1.5)
    for ax in fig.axes:
        bars = sum(patch.get_height() for patch in ax.patches if isinstance(patch, Rectangle))
        assert bars == 1
        assert ax.lines[0].get_xdata()[0] == 1.5
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim()


def test_threshold_table_quotes_the_record(study: dict[str, Any]) -> None:
    table = robustness_plots.threshold_table(study, [("none", 0), ("blur", 2)])
    assert list(table.index) == ["none 0", "blur 2"]
    assert table.loc["blur 2", "fakes called fake"] == f"{study['cells'][2]['called_fake']:.2f}"


def test_survival_figure_has_a_line_for_every_attack() -> None:
    fig = robustness_plots.survival_figure({"none": [1.0, 0.9], "attack": [0.0, 0.5]}, ["none", "80"])
    assert [list(line.get_ydata()) for line in fig.axes[0].lines] == [[1.0, 0.9], [0.0, 0.5]]


# Command


def test_command_sweeps_a_stored_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roughness_detector().save(tmp_path / "detector")
    words = ["robustness", "sweep", str(tmp_path / "detector"), "--most", "24", "--only", "jpeg", "--no-surface"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, "--cache", str(tmp_path / "cache"), "--draws", "20", "--json"])
    assert stopped.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["manifest"], result["real"], result["fake"]) == ("zoo", 12, 12)
    assert [row["strength"] for row in result["cells"]] == [0, 95, 90, 80, 70, 50, 30]
    assert "surface" not in result
    assert len(list((tmp_path / "cache").iterdir())) == 7


def test_command_draws_the_figure_of_a_record(
    tmp_path: Path, study: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"detector": "tiny", **study}))
    words = ["robustness", "figure", "--record", str(tmp_path / "record.json"), "--out", str(tmp_path / "a" / "b.png")]
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    assert (tmp_path / "a" / "b.png").read_bytes().startswith(b"\x89PNG")


def test_command_refuses_a_folder_without_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["robustness", "sweep", str(tmp_path)])
    assert stopped.value.code == 2
    assert "holds no detector" in capsys.readouterr().err
