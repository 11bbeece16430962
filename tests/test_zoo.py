"""The zoo's container, its commands, and what is shipped in data/zoo."""

import json
import shutil
import zipfile

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from helpers.cli.zoo import app
from helpers.data import catalog
from helpers.data.catalog import zoo as container
from helpers.data.crops import area_downscale
from helpers.data.images import decode, read_image
from helpers.data.manifest import ManifestError, read_manifest, resolve
from helpers.errors import NaturalTracesError
from helpers.generators import RECIPES, GeneratorError, build, load, release
from helpers.training import save_weights

SHIPPED = release.zoo_folder()
shipped = pytest.mark.skipif(not (SHIPPED / "manifest.csv").is_file(), reason="data/zoo is not in this checkout")


@pytest.fixture(scope="module")
def small_zoo(tmp_path_factory):
    """A whole zoo of two untrained GANs with eight images each and a few crops."""
    folder = tmp_path_factory.mktemp("zoo")
    names = ("dcgan", "lsgan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "RECIPES", {name: RECIPES[name] for name in names})
        patch.setattr(release, "IMAGES_PER_GENERATOR", 8)
        patch.setattr(release, "REFERENCE_COUNT", 16)
        for name in names:
            save_weights(build(name), folder / "weights" / f"{name}.safetensors", half=True)
            (folder / "cards").mkdir(exist_ok=True)
            summary = {"name": name, "steps": 0, "seconds": 0.0, "parameters": 1}
            (folder / "cards" / f"{name}.json").write_text(json.dumps(summary), encoding="utf-8")
        release.sample_all(folder)
        release.write_cards(folder)
        yield folder


@pytest.fixture
def copied(small_zoo, tmp_path):
    return shutil.copytree(small_zoo, tmp_path / "zoo")


class TestContainer:
    def test_sound_zoo_has_no_problems(self, small_zoo):
        assert container.verify(small_zoo) == []

    def test_rows(self, small_zoo):
        df = read_manifest(small_zoo / "manifest.csv")
        assert len(df) == 3 * 8
        assert df["label"].value_counts().to_dict() == {"fake": 16, "real": 8}
        assert set(df.loc[df["label"] == "fake", "split"]) == {"train", "val", "test"}
        assert (df[["width", "height"]] == 64).all(axis=None)
        assert set(container.EXTRA) <= set(df)

    def test_container_is_the_same_every_time(self, small_zoo, tmp_path):
        for name in ("a.zip", "b.zip"):
            container.write_container({"x/1.webp": b"one", "a/2.webp": b"two"}, tmp_path / name)
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "a.zip") as opened:
            assert opened.namelist() == ["a/2.webp", "x/1.webp"]

    def test_unpacks_once_and_reads_directly(self, small_zoo, tmp_path):
        root = container.unpack(small_zoo, tmp_path / "out")
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*.webp")}
        assert container.unpack(small_zoo, tmp_path / "out") == root
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*.webp")} == before
        assert len(before) == 24
        direct = container.read_image("dcgan/001.webp", small_zoo)
        assert torch.equal(direct, read_image(root / "dcgan" / "001.webp"))

    def test_lossless(self):
        img = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        data = container.encode_lossless(img)
        assert torch.equal(decode(data), img)
        assert container.pixels_sha256(decode(data)) == container.pixels_sha256(img)
        other = img.clone()
        other[0, 0, 0] ^= 1
        assert container.pixels_sha256(other) != container.pixels_sha256(img)

    def test_missing_things_are_named(self, tmp_path, small_zoo):
        with pytest.raises(container.ZooError, match=r"images\.zip"):
            container.unpack(tmp_path)
        with pytest.raises(container.ZooError, match="cannot read"):
            container.read_image("dcgan/999.webp", small_zoo)
        with pytest.raises(container.ZooError, match=r"files\.json"):
            container.verify(tmp_path)
        with pytest.raises(ManifestError):
            container.load(tmp_path)
        with pytest.raises(GeneratorError, match="zoo train dcgan"):
            load("dcgan", tmp_path)

    def test_names_that_leave_the_folder_are_refused(self, copied, tmp_path):
        container.write_container({"../evil.webp": b"x"}, copied / "images.zip")
        with pytest.raises(container.ZooError, match="unsafe"):
            container.unpack(copied, tmp_path / "out")
        assert not (tmp_path / "evil.webp").exists()
        assert not (tmp_path / "out").exists()


class TestVerify:
    @pytest.mark.parametrize(
        ("name", "kind"), [("images.zip", "hash"), ("weights/dcgan.safetensors", "hash"), ("manifest.csv", "hash")]
    )
    def test_one_changed_byte(self, copied, name, kind):
        data = bytearray((copied / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copied / name).write_bytes(data)
        assert [(p.path, p.kind) for p in container.verify(copied)] == [(name, kind)]

    def test_missing_and_unlisted(self, copied):
        (copied / "weights" / "lsgan.safetensors").unlink()
        (copied / "weights" / "more.safetensors").write_bytes(b"?")
        kinds = {p.path: p.kind for p in container.verify(copied)}
        assert kinds == {"weights/lsgan.safetensors": "missing", "weights/more.safetensors": "unlisted"}

    def test_swapped_images_are_found_although_every_file_is_listed(self, copied):
        with zipfile.ZipFile(copied / "images.zip") as opened:
            files = {name: opened.read(name) for name in opened.namelist()}
        files["dcgan/000.webp"], files["dcgan/001.webp"] = files["dcgan/001.webp"], files["dcgan/000.webp"]
        container.write_container(files, copied / "images.zip")
        release.write_listing(copied)
        assert {p.path for p in container.verify(copied)} == {"dcgan/000.webp", "dcgan/001.webp"}

    def test_image_without_a_row_is_found(self, copied):
        df = pd.read_csv(copied / "manifest.csv", dtype=str, keep_default_na=False)
        df.iloc[1:].to_csv(copied / "manifest.csv", index=False, lineterminator="\n")
        release.write_listing(copied)
        assert [p.kind for p in container.verify(copied)] == ["unlisted"]


class TestCommands:
    def test_verify(self, small_zoo, copied):
        assert CliRunner().invoke(app, ["verify", "--folder", str(small_zoo)]).exit_code == 0
        (copied / "curves").mkdir(exist_ok=True)
        (copied / "curves" / "x.csv").write_text("x", encoding="utf-8")
        result = CliRunner().invoke(app, ["verify", "--folder", str(copied), "--json"])
        assert result.exit_code != 0
        assert isinstance(result.exception, NaturalTracesError)
        assert json.loads(result.output)[0]["path"] == "curves/x.csv"

    def test_sample_check_compares_with_what_ships(self, copied, monkeypatch):
        words = ["sample", "--check", "--count", "4", "--folder", str(copied), "--json"]
        monkeypatch.setattr("helpers.generators.recipes.RECIPES", {name: RECIPES[name] for name in ("dcgan", "lsgan")})
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert json.loads(result.output) == [
            {"generator": name, "identical": 4, "of": 4, "largest": 0} for name in ("dcgan", "lsgan")
        ]
        save_weights(build("dcgan", seed=1), copied / "weights" / "dcgan.safetensors", half=True)
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, NaturalTracesError)
        assert json.loads(result.output)[0]["largest"] > release.LARGEST_ROUNDING

    def test_list(self):
        result = CliRunner().invoke(app, ["list", "--json"])
        assert [row["name"] for row in json.loads(result.output)] == list(RECIPES)

    @pytest.mark.parametrize("words", [["train"], ["train", "dcgan", "--all"], ["train", "nobody"]])
    def test_train_wants_names_or_all(self, words):
        assert isinstance(CliRunner().invoke(app, words).exception, NaturalTracesError)

    def test_train_adopts_what_ships(self, tmp_path):
        words = ["train", "dcgan", "--steps", "2", "--runs", str(tmp_path / "runs"), "--folder", str(tmp_path / "zoo")]
        result = CliRunner().invoke(app, [*words, "--device", "cpu"])
        assert result.exit_code == 0, result.output
        assert load("dcgan", tmp_path / "zoo").sample(1, seed=0).shape == (1, 3, 64, 64)
        assert (tmp_path / "zoo" / "curves" / "dcgan.csv").is_file()

    def test_unfinished_training_is_not_adopted(self, tmp_path):
        with pytest.raises(GeneratorError, match="not finished"):
            release.adopt("dcgan", tmp_path, tmp_path / "zoo")


class TestCards:
    def test_hold_what_the_reader_needs(self, small_zoo):
        card = json.loads((small_zoo / "cards" / "dcgan.json").read_text(encoding="utf-8"))
        assert card["follows"] == RECIPES["dcgan"].paper
        assert card["training"]["steps"] == 0
        for row in (
            *card["quality"]["generator"].values(),
            *card["quality"]["real crops of the training photographs"].values(),
        ):
            assert row["low"] <= row["high"]
            assert row["level"] == 0.95

    def test_untrained_generator_is_far_from_photographs(self, small_zoo):
        quality = json.loads((small_zoo / "cards" / "dcgan.json").read_text(encoding="utf-8"))["quality"]
        generated = next(iter(quality["generator"].values()))["value"]
        real = next(iter(quality["real crops of the training photographs"].values()))["value"]
        assert generated > real + 0.2

    def test_writing_them_twice_changes_nothing(self, copied):
        before = (copied / "cards" / "dcgan.json").read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(release, "RECIPES", {"dcgan": RECIPES["dcgan"]})
            patch.setattr(release, "REFERENCE_COUNT", 16)
            release.write_cards(copied)
        assert (copied / "cards" / "dcgan.json").read_bytes() == before


@shipped
class TestShipped:
    def test_every_file_and_image_is_sound(self):
        assert container.verify(SHIPPED) == []

    def test_stays_within_its_size(self):
        """Grain hardly compresses: 1664 images of 12 kB hold 13 MB without loss, weights half a megabyte each."""
        assert sum(int(entry["bytes"]) for entry in container.list_files(SHIPPED).values()) < 21e6

    def test_twelve_generators_and_as_many_matched_crops(self):
        df, root = catalog.load("zoo")
        counts = df.groupby("generator").size()
        assert set(counts.index) == {"", *RECIPES}
        assert (counts >= 128).all()
        assert (df["format"] == "WEBP").all()
        assert resolve(df["path"].iloc[0], root).is_file()

    def test_no_photograph_of_val_or_test_is_among_the_crops(self):
        df, _ = catalog.load("zoo")
        sources = catalog.photographs().groupby("split")["source"].agg(set)
        assert set(df.loc[df["label"] == "real", "source"]) <= sources["train"]

    def test_a_crop_is_where_its_row_says(self):
        df, root = catalog.load("zoo")
        row = df[(df["label"] == "real") & (df["mirrored"] == "no")].iloc[0]
        name = row["origin"].split()[2]
        img = area_downscale(catalog.photograph(name), int(row["scale"]))
        top, left = int(row["top"]), int(row["left"])
        assert torch.equal(read_image(root / row["path"]), img[:, top : top + 64, left : left + 64])

    @pytest.mark.parametrize("name", list(RECIPES))
    def test_weights_make_the_shipped_images(self, name):
        """To within rounding: another processor may order sums in another way."""
        generator = load(name)
        df, root = catalog.load("zoo")
        expected = read_image(root / df.loc[df["generator"] == name, "path"].iloc[0]).float()
        result = generator.sample(1, release.SAMPLE_SEED)[0].float()
        assert float((result - expected).abs().mean()) < 1.0

    @pytest.mark.parametrize("name", list(RECIPES))
    def test_card_and_curve_belong_to_the_weights(self, name):
        card = json.loads((SHIPPED / "cards" / f"{name}.json").read_text(encoding="utf-8"))
        curve = pd.read_csv(SHIPPED / "curves" / f"{name}.csv")
        assert card["training"]["parameters"] == sum(p.numel() for p in load(name).parameters())
        assert card["training"]["steps"] == RECIPES[name].config.steps
        assert len(curve) > 10

    def test_images_are_neither_noise_nor_one_picture(self):
        """Neighbouring pixels agree as they do in photographs, roughly, and images differ among themselves."""
        for name in RECIPES:
            card = json.loads((SHIPPED / "cards" / f"{name}.json").read_text(encoding="utf-8"))
            spread = card["quality"]["diversity"]
            assert spread["generator"] > 0.6 * spread["real"], name
            df, root = catalog.load("zoo")
            images = torch.stack([read_image(root / p) for p in df.loc[df["generator"] == name, "path"][:32]]).float()
            steps, deviation = images.diff(dim=3).square().mean(), images.var()
            assert steps < 0.35 * deviation, name
