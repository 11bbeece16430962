"""Sets as people have them: nothing is left out, split or labelled in silence."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from command import run

from helpers.data import collect, duplicates, images, splits
from helpers.data.collect import Collecting, collect_folder, collect_list
from helpers.data.manifest import ManifestError, read_manifest, shared_pictures


def scene(seed: int, side: int = 48) -> torch.Tensor:
    """Smooth colours under some grain; other seeds look different."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0]
    return (smooth + 4 * torch.randn(3, side, side, generator=generator)).clamp(0, 255).to(torch.uint8)


def write(root: Path, *names: str, start: int = 0) -> Path:
    """Write one picture per name; pictures differ."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode_png(scene(start + number)))
    return root


def names(pattern: str, count: int) -> list[str]:
    return [pattern.format(number) for number in range(count)]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Six photographs and six fakes, each its own source."""
    return write(tmp_path / "set", *names("real/r{}.png", 6), *names("fake/gan/f{}.png", 6))


def left_out(result: collect.Collection) -> dict[str, str]:
    return {one.path: one.reason for one in result.left_out}


# One source, duplicates, splits


@pytest.mark.parametrize("count", [8, 30])
def test_one_folder_of_photographs_is_split_by_image_and_said(tmp_path: Path, count: int) -> None:
    write(tmp_path, *names("real/coco/r{}.png", count), *names("fake/sdxl/f{}.png", count))
    result = collect_folder(tmp_path)
    counts = pd.crosstab(result.rows["split"], result.rows["label"])
    assert (counts > 0).to_numpy().all()
    assert counts.shape == (3, 2)
    assert result.split.by["real"] == "image"
    assert any("one source (coco)" in note and "--by" in note for note in result.split.notes)
    assert set(result.rows.loc[result.rows["label"] == "real", "source"]) == {"coco"}


def test_by_source_keeps_its_word_and_says_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, *names("real/coco/r{}.png", 8), *names("fake/sdxl/f{}.png", 8))
    result = collect_folder(tmp_path, Collecting(by="source"))
    assert len(set(result.rows.loc[result.rows["label"] == "real", "split"])) == 1
    assert sum("holds no real image" in note for note in result.split.notes) == 2


def test_split_by_a_column(tmp_path: Path) -> None:
    df = collect_folder(write(tmp_path, *names("real/a/r{}.png", 12), *names("fake/b/f{}.png", 12))).rows
    df = df.assign(camera=[f"c{number % 4}" for number in range(len(df))])
    result = splits.split_rows(df, by="camera")
    assert result.rows.groupby("camera")["split"].nunique().max() == 1
    with pytest.raises(ManifestError, match="no column 'lens'"):
        splits.split_rows(df, by="lens")


def test_test_only_needs_no_split(tmp_path: Path) -> None:
    result = collect_folder(write(tmp_path, "real/a.png", "fake/gan/b.png"), Collecting(test_only=True))
    assert result.rows["split"].tolist() == ["test", "test"]
    assert result.split.notes == ()


def test_the_same_file_lies_in_one_split(tmp_path: Path) -> None:
    write(tmp_path, *names("real/r{}.png", 12), *names("fake/gan/f{}.png", 12))
    for number in range(12):
        shutil.copy(tmp_path / f"real/r{number}.png", tmp_path / f"real/again{number}.png")
    for seed in range(4):
        result = collect_folder(tmp_path, Collecting(seed=seed))
        assert result.split.duplicates.equal == 12
        assert shared_pictures(result.rows) == []
        assert set(result.rows["split"]) == {"train", "val", "test"}


def test_nearly_the_same_picture_lies_in_one_split(tmp_path: Path) -> None:
    write(tmp_path, *names("real/r{}.png", 12), *names("fake/gan/f{}.png", 12), start=100)
    for number in range(12):
        (tmp_path / f"real/again{number}.jpg").write_bytes(images.encode_jpeg(scene(100 + number), 85))
    result = collect_folder(tmp_path)
    assert (result.split.duplicates.equal, result.split.duplicates.near) == (0, 12)
    by_name = result.rows.set_index("path")["split"]
    assert all(by_name[f"real/r{number}.png"] == by_name[f"real/again{number}.jpg"] for number in range(12))
    assert collect_folder(tmp_path, Collecting(fast=True)).split.duplicates.near == 0


def test_flat_pictures_are_no_duplicates_of_each_other() -> None:
    flat = [duplicates.perceptual_hash(torch.full((3, 40, 40), value, dtype=torch.uint8)) for value in (0, 128, 255)]
    assert flat == ["", "", ""]
    assert duplicates.find_duplicates(["a", "b", "c"], flat).near == 0


def test_near_pairs_are_all_pairs_within_the_limit() -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randint(0, 2, (30, 64), generator=generator)
    hashes = []
    for row in base:
        for flips in (0, 2, 4, 5, 9):
            bits = row.clone()
            bits[torch.randperm(64, generator=generator)[:flips]] ^= 1
            hashes.append(f"{int(''.join(map(str, bits.tolist())), 2):016x}")
    result = duplicates.find_duplicates([str(number) for number in range(len(hashes))], hashes).group
    values = [int(text, 16) for text in hashes]
    near = duplicates.NEAR_BITS
    links = [(i, j) for i in range(len(values)) for j in range(i) if (values[i] ^ values[j]).bit_count() <= near]
    wanted = duplicates.joined(len(values), links)
    assert [(result == one).tolist() for one in result] == [(wanted == one).tolist() for one in wanted]


def test_given_splits_stay_and_copies_leave_training(tmp_path: Path) -> None:
    gen = "sd14/imagenet_ai_0419_sdv4/{}/{}"
    for split, label, start in (("train", "nature", 0), ("train", "ai", 10), ("val", "nature", 20), ("val", "ai", 30)):
        write(tmp_path, *names(gen.format(split, label) + "/" + split + "{}.png", 5), start=start)
    shutil.copy(tmp_path / gen.format("val", "nature") / "val0.png", tmp_path / gen.format("train", "nature") / "x.png")
    result = collect_folder(tmp_path)
    df = result.rows
    assert df["label"].value_counts().to_dict() == {"real": 11, "fake": 10}
    assert set(df["generator"]) == {"", "sd14"}
    assert shared_pictures(df) == []
    assert df.loc[df["path"].str.endswith("/x.png"), "split"].tolist() == ["val"]
    assert any("moved to the split of their copies" in note for note in result.split.notes)
    assert df["split"].value_counts().to_dict() == {"val": 11, "train": 10}


# Layouts


def test_forensynths(tmp_path: Path) -> None:
    for name in ("progan/airplane", "progan/train", "biggan"):
        write(tmp_path, *names(name + "/0_real/{}.png", 4), *names(name + "/1_fake/{}.png", 4), start=100 * len(name))
    df = collect_folder(tmp_path).rows.set_index("path")
    assert df.loc["progan/train/1_fake/0.png", ["label", "generator", "source", "subset"]].tolist() == [
        "fake", "progan", "train", "progan/train",
    ]  # fmt: skip
    assert df.loc["biggan/1_fake/1.png", ["generator", "source"]].tolist() == ["biggan", "1"]
    assert df.loc["progan/airplane/0_real/1.png", ["label", "generator", "source"]].tolist() == ["real", "", "airplane"]
    inside = collect_folder(tmp_path / "progan").rows
    assert set(inside["generator"]) == {"", "progan"}
    assert set(inside["source"]) == {"airplane", "train"}
    one = collect_folder(tmp_path / "biggan").rows
    assert set(one["generator"]) == {"", "biggan"}


def test_splits_above_labels_and_capitals(tmp_path: Path) -> None:
    for number, split in enumerate(("Train", "TEST")):
        write(tmp_path, *names(split + "/REAL/{}.png", 4), *names(split + "/FAKE/{}.png", 4), start=50 * number)
    with pytest.raises(ManifestError, match="--generator"):
        collect_folder(tmp_path)
    df = collect_folder(tmp_path, Collecting(generator="sd14")).rows
    assert pd.crosstab(df["split"], df["label"]).to_numpy().tolist() == [[4, 4], [4, 4]]
    assert set(df["generator"]) == {"", "sd14"}


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_a_missing_label_shows_what_was_expected_and_found(plain: Path, missing: str) -> None:
    (plain / missing).rename(plain / "pictures")
    with pytest.raises(ManifestError) as caught:
        collect_folder(plain)
    for part in (f"holds no image files that are {missing}", "0_real/ and 1_fake/", "pictures/"):
        assert part in str(caught.value)


# Lists


def list_of(root: Path, **columns: list[str]) -> Path:
    path = root / "list.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


FILES = [f"real/r{number}.png" for number in range(6)] + [f"fake/gan/f{number}.png" for number in range(6)]


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ("label", ["0"] * 6 + ["1"] * 6),
        ("Label", ["Real"] * 6 + ["FAKE"] * 6),
        ("target", ["0.0"] * 6 + ["1.0"] * 6),
        ("is_fake", ["False"] * 6 + ["True"] * 6),
        ("is_real", ["1"] * 6 + ["0"] * 6),
        ("class", ["nature"] * 6 + ["ai"] * 6),
    ],
)
def test_lists_in_any_usual_spelling(plain: Path, column: str, labels: list[str]) -> None:
    path = list_of(plain, **{"Filename": FILES, column: labels, "model": [""] * 6 + ["gan"] * 6})
    df = collect_list(path).rows
    assert df.set_index("path").loc[FILES, "label"].tolist() == ["real"] * 6 + ["fake"] * 6
    assert set(df["generator"]) == {"", "gan"}


def test_lists_with_columns_of_any_name(plain: Path) -> None:
    path = list_of(plain, where=[f.replace("/", "\\") for f in FILES], what=["real"] * 6 + ["fake"] * 6)
    with pytest.raises(ManifestError, match=r"no column path or file.*found where, what.*--columns path=NAME"):
        collect_list(path)
    options = Collecting(columns=collect.parse_columns("path=where,label=what"), generator="gan")
    assert len(collect_list(path, options=options).rows) == 12
    for text in ("path", "path=", "colour=x"):
        with pytest.raises(ManifestError, match="--columns"):
            collect.parse_columns(text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": ["maybe", *["0"] * 5, *["1"] * 6]}, r"column 'label' must hold 0 or 1.*'maybe' \(row 1\)"),
        ({"path": ["/etc/passwd", *FILES[1:]]}, "does not lie below"),
        ({"path": ["../secret.png", *FILES[1:]]}, "path must be relative"),
        ({"path": ["real/none.png", *FILES[1:]]}, "no such file"),
        ({"split": ["monday"] * 12}, "split must be one of"),
    ],
)
def test_mistakes_in_lists_are_named(plain: Path, changes: dict[str, list[str]], reason: str) -> None:
    columns = {"path": FILES, "label": ["0"] * 6 + ["1"] * 6, "generator": ["gan"] * 12, **changes}
    with pytest.raises(ManifestError, match=reason):
        collect_list(list_of(plain, **columns))


def test_lists_keep_their_splits_and_take_absolute_paths(plain: Path) -> None:
    path = list_of(
        plain,
        path=[str((plain / name).absolute()) for name in FILES],
        label=["0"] * 6 + ["1"] * 6,
        generator=["gan"] * 12,
        split=["training", "validation", "test"] * 4,
    )
    df = collect_list(path).rows
    assert df["split"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    assert sorted(df["path"]) == sorted(FILES)


# What is meant, and what is not


def test_linked_folders_are_followed_once(plain: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", *names("e{}.png", 4), start=300)
    (plain / "real" / "a_link").symlink_to(elsewhere)
    (plain / "real" / "loop").symlink_to(plain / "real")
    (elsewhere / "up").symlink_to(plain)
    (plain / "real" / "dangling").symlink_to(tmp_path / "nowhere")
    (plain / "fake" / "twin").symlink_to(plain / "fake" / "gan")
    result = collect_folder(plain)
    assert (result.rows["label"] == "real").sum() == 10
    assert "real/a_link/e0.png" in set(result.rows["path"])
    reasons = left_out(result)
    assert reasons["real/loop"] == reasons["fake/twin"] == "a link to a folder that was read already"
    assert reasons["real/dangling"] == "a broken link"
    assert "outside" in reasons.get("real/a_link/up", "outside") or "read already" in reasons["real/a_link/up"]
    assert len(result.rows) == 16


def test_folders_beside_the_labels_are_not_taken(plain: Path) -> None:
    write(plain / "elsewhere", "real/more.png", start=400)
    result = collect_folder(plain)
    assert len(result.rows) == 12
    assert left_out(result)["elsewhere"] == "outside real and fake folders"


def test_endings_do_not_decide(plain: Path) -> None:
    write(plain, "real/CAPITALS.PNG", "real/none", "real/old.png.1", "real/photo.pnx", "fake/gan/mixed.JpEg", start=500)
    (plain / "real" / "notes.txt").write_text("BM is how this text begins", encoding="utf-8")
    (plain / "real" / "list.csv").write_text("a,b", encoding="utf-8")
    (plain / "real" / "empty.dat").touch()
    result = collect_folder(plain)
    assert len(result.rows) == 17
    reasons = left_out(result)
    assert reasons == {
        "real/notes.txt": "not an image (.txt)",
        "real/list.csv": "not an image (.csv)",
        "real/empty.dat": "not an image (.dat)",
    }
    assert result.to_dict()["left_out"]["count"] == 3


def test_hidden_files_are_left_out_and_counted(plain: Path) -> None:
    hidden = ("real/._r0.png", "real/.ipynb_checkpoints/r0-checkpoint.png", "fake/gan/Thumbs.db", "fake/__MACOSX/f.png")
    write(plain, *hidden, start=600)
    (plain / "real" / "._r1.png").write_bytes(b"\0\5\x16\7AppleDouble")
    result = collect_folder(plain)
    assert len(result.rows) == 12
    assert result.reasons == {"hidden": 5}
    assert set(left_out(result)) == {
        "real/._r0.png", "real/._r1.png", "real/.ipynb_checkpoints", "fake/gan/Thumbs.db", "fake/__MACOSX",
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_opened(plain: Path) -> None:
    os.mkfifo(plain / "real" / "pipe.png")
    assert left_out(collect_folder(plain))["real/pipe.png"] == "not a regular file"


def truncated(plain: Path) -> Path:
    data = images.encode_jpeg(scene(700), 90)
    (plain / "real" / "cut.jpg").write_bytes(data[: len(data) // 2])
    return plain


def test_damage_is_found_by_decoding_every_file(plain: Path) -> None:
    truncated(plain)
    with pytest.raises(ManifestError, match=r"1 unreadable.*cut\.jpg.*truncated.*--on-error skip"):
        collect_folder(plain)
    result = collect_folder(plain, Collecting(on_error="skip"))
    assert len(result.rows) == 12
    assert "truncated" in left_out(result)["real/cut.jpg"]
    assert len(collect_folder(plain, Collecting(fast=True)).rows) == 13
    with pytest.raises(ManifestError, match="on-error must be"):
        Collecting(on_error="perhaps")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\rb.png", b"a\nb.png", b"12:30.png", b"a\\b.png"])
def test_names_that_no_manifest_can_hold(plain: Path, name: bytes) -> None:
    place = os.fsencode(plain / "real") + b"/" + name
    try:
        shutil.copy(plain / "real" / "r0.png", place)
    except OSError:
        pytest.skip("this system does not allow such names")
    with pytest.raises(ManifestError, match="path must be relative") as caught:
        collect_folder(plain)
    assert str(caught.value).isprintable()
    result = collect_folder(plain, Collecting(on_error="skip"))
    assert len(result.rows) == 12
    assert len(result.left_out) == 1


# Commands


def call(*words: str) -> tuple[int, str, str]:
    done = run(*words)
    return done.exit_code, done.stdout, done.stderr


def test_the_command_says_all_of_it(tmp_path: Path) -> None:
    root = write(tmp_path / "set", *names("real/coco/r{}.png", 8), *names("fake/sdxl/f{}.png", 8))
    write(root, "real/._x.png", start=30)
    shutil.copy(root / "real/coco/r0.png", root / "real/coco/r0 copy.png")
    truncated(root)
    status, _, err = call("manifest", "folder", str(root), "--out", str(tmp_path / "m.csv"))
    assert (status, err.count("\n")) == (2, 1)
    line = ("manifest", "folder", str(root), "--out", str(tmp_path / "m.csv"), "--on-error", "skip")
    status, out, _ = call(*line)
    assert status == 0
    for part in (
        "17 images",
        "one source (coco)",
        "1 equal",
        "left out: 1 hidden, the first real/._x.png",
        "truncated",
    ):
        assert part in " ".join(out.split())
    status, out, _ = call(*line, "--json")
    result = json.loads(out)
    assert result["images"] == 17
    assert result["left_out"]["count"] == 2
    assert result["duplicates"] == {"equal": 1, "near": 0}
    assert result["shared_pictures"] == []
    assert len(read_manifest(tmp_path / "m.csv")) == 17


def test_the_commands_for_lists_and_splits(plain: Path, tmp_path: Path) -> None:
    path = list_of(plain, name=FILES, fake=["no"] * 6 + ["yes"] * 6)
    options = ("--columns", "path=name", "--generator", "gan", "--out", str(tmp_path / "m.csv"), "--json")
    status, out, _ = call("manifest", "list", str(path), *options)
    assert (status, json.loads(out)["images"]) == (0, 12)
    options = ("--out", str(tmp_path / "again.csv"), "--by", "generator", "--json")
    status, _, err = call("manifest", "split", str(tmp_path / "m.csv"), *options)
    assert status == 0, err
    status, _, err = call("manifest", "split", str(tmp_path / "m.csv"), "--out", "x.csv", "--by", "camera")
    assert status == 2
    assert "no column 'camera'" in err


def test_the_pixel_limit_is_an_option(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATURAL_TRACES_MAX_MEGAPIXELS", "250")  # restored afterwards
    line = ("manifest", "folder", str(plain), "--out", str(tmp_path / "m.csv"), "--max-megapixels")
    status, _, err = call(*line, "0.002")
    assert status == 2
    assert "0.002 megapixels are allowed" in err
    assert call(*line, "1")[0] == 0
    status, _, err = call("audit", str(tmp_path / "m.csv"), "--max-megapixels", "-3")
    assert status == 2
    assert "positive number of megapixels" in err
