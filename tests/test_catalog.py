from pathlib import Path

import pandas as pd
import platformdirs
import pytest

from helpers.data import catalog, images, manifest, places
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
    shipped = {path.name for path in pictures if images.probe(images.read_bytes(path)).mode != "L"}
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
    assert {"photographs", "textures", "zoo"} <= set(catalog.names())


def test_data_sets_lie_below_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(places.DATA_VARIABLE, str(tmp_path))
    assert places.data_sets() == {}
    with pytest.raises(ManifestError, match=places.DATA_VARIABLE):
        catalog.load("benchmark")
    for name in ("benchmark", "my own"):
        manifest.write_manifest(catalog.textures(), tmp_path / name / "manifest.csv")
        df, root = catalog.load(name)
        assert root == tmp_path / name
        assert len(df) == len(catalog.textures())
    assert {"benchmark", "my own"} < set(catalog.names())


def test_without_the_variable_data_sets_lie_in_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(places.DATA_VARIABLE, raising=False)
    monkeypatch.setenv(places.CACHE_VARIABLE, str(tmp_path / "cache"))
    assert places.data_root() == tmp_path / "cache" / "data"
    monkeypatch.delenv(places.CACHE_VARIABLE)
    assert places.data_root().parent == platformdirs.user_cache_path("natural-traces", appauthor=False)


def test_nothing_is_looked_for_beside_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Path
) -> None:
    monkeypatch.delenv(places.DATA_VARIABLE, raising=False)
    assert project.parent not in places.data_root().parents
    with pytest.raises(ManifestError, match="no such data set"):
        catalog.load("benchmark")


def test_what_does_not_ship_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(places.PlaceError, match=r"data/results/unicorn\.json: not found"):
        places.shipped("results", "unicorn.json")
    (tmp_path / "_data" / "configs").mkdir(parents=True)
    monkeypatch.setattr(places, "_PACKAGE", tmp_path)  # as a wheel is unpacked
    assert places.data_dir() == tmp_path / "_data"
    with pytest.raises(places.PlaceError, match="in a checkout of the project only"):
        places.shipped("results")


def test_clearing_the_cache_keeps_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(places.CACHE_VARIABLE, str(tmp_path / "cache"))
    assert places.cached() == places.clear_cache() == []
    for part in ("scores/ab/1.npy", "scores/2.npy", "data/mine/manifest.csv"):
        path = tmp_path / "cache" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    assert places.clear_cache() == [places.CachePart("scores", 2, 10)]
    assert places.cached() == []
    assert (tmp_path / "cache" / "data" / "mine" / "manifest.csv").is_file()
