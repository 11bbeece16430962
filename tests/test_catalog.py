from pathlib import Path

import pandas as pd
import pytest

from helpers.data import catalog, images, manifest
from helpers.data.manifest import ManifestError


@pytest.mark.parametrize("name", ["photographs", "textures"])
def test_committed_manifest_is_what_the_command_makes(name: str, tmp_path: Path) -> None:
    written = {path.parent.name: path for path in catalog.write_embedded(tmp_path)}
    assert written[name].read_bytes() == (catalog.data_dir() / name / "manifest.csv").read_bytes()


@pytest.mark.parametrize("name", ["photographs", "textures"])
def test_every_embedded_file_verifies(name: str) -> None:
    df, root = catalog.load(name)
    assert root is None
    assert manifest.verify(df, root) == []


def test_photographs_are_all_colour_photographs_of_the_wheels() -> None:
    """Whatever colour picture a wheel ships is in the manifest, or is named here as no photograph."""
    no_photographs = {"color.png", "logo.png", "logo2.png", "horse.png", "chessboard_RGB.png", "phantom.png",
                      "Minduka_Present_Blue_Pack.png"}  # fmt: skip
    folders = ["pkg:skimage/data", "pkg:sklearn/datasets/images", "pkg:matplotlib/mpl-data/sample_data"]
    files = [path for folder in folders for path in manifest.resolve(folder, None).iterdir()]
    pictures = [path for path in files if path.suffix in {".png", ".jpg"}]
    shipped = {path.name for path in pictures if images.probe_file(path).mode != "L"}
    listed = {Path(path).name for path in catalog.photographs()["path"]}
    assert listed <= shipped
    assert shipped - listed <= no_photographs


def test_split_is_by_photograph_and_each_split_has_everyday_scenes() -> None:
    df = catalog.photographs()
    assert manifest.shared_sources(df) == []
    assert set(df.loc[df["name"].str.startswith("motorcycle"), "source"]) == {"motorcycle"}
    counts = pd.crosstab(df["split"], df["scene"])
    assert (counts.loc[list(manifest.SPLITS)] > 0).all(axis=None)
    assert counts.loc["test", "everyday"] >= 2
    assert set(df["scene"]) == {"everyday", "scientific"}
    assert df["name"].is_unique


def test_textures_are_grey_and_never_train() -> None:
    df = catalog.textures()
    assert set(df["split"]) == {"test"}
    for name in df["name"]:
        img = catalog.photograph(name)
        assert (img[0] == img[1]).all()
        assert (img[0] == img[2]).all()


def test_terms_and_origin_stand_everywhere() -> None:
    for df in (catalog.photographs(), catalog.textures()):
        assert (df["licence"] != "").all()
        assert (df["origin"] != "").all()


def test_photograph_by_name() -> None:
    assert catalog.photograph("coffee").shape == (3, 400, 600)
    with pytest.raises(ManifestError, match="no such picture"):
        catalog.photograph("unicorn")


def test_unknown_name() -> None:
    with pytest.raises(ManifestError, match="photographs"):
        catalog.load("unicorn")
    assert {"photographs", "textures", "benchmark"} <= set(catalog.names())


def test_benchmark_by_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(catalog.DATA_VARIABLE, str(tmp_path))
    assert catalog.benchmark_folder() is None
    with pytest.raises(ManifestError, match=catalog.DATA_VARIABLE):
        catalog.load("benchmark")
    manifest.write_manifest(catalog.textures(), tmp_path / "benchmark" / "manifest.csv")
    df, root = catalog.load("benchmark")
    assert root == tmp_path / "benchmark"
    assert len(df) == len(catalog.textures())
    monkeypatch.setenv(catalog.DATA_VARIABLE, str(tmp_path / "benchmark"))
    assert catalog.benchmark_folder() == tmp_path / "benchmark"
