"""Which files a command line means, and which rows can be read."""

import hashlib
import os
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers.data.images import encode_jpeg, encode_png
from helpers.data.inputs import find_inputs, looks_like_image, read_list, walk
from helpers.data.readable import split_readable

PNG = encode_png(torch.zeros(3, 40, 50, dtype=torch.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "b.png": PNG, "a.JPG": b"", "deep/er/c.webp": b"", "no ending": PNG, "notes.txt": b"text", "[1].png": PNG,
        ".hidden.png": PNG, "._b.png": PNG, ".ipynb_checkpoints/b.png": PNG, "__MACOSX/b.png": PNG, "Thumbs.db": b"",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def names(paths: list[str], root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in paths]


def test_a_folder_gives_its_images_in_order_and_counts_the_rest(folder: Path) -> None:
    result = find_inputs([str(folder)])
    assert names(result.paths, folder) == ["[1].png", "a.JPG", "b.png", "no ending", "deep/er/c.webp"]
    assert result.left_out == Counter({"hidden folder": 2, "hidden file": 3, "no image": 1})
    assert not result.refused


def test_files_are_taken_as_they_are_and_once(folder: Path) -> None:
    text, hidden, brackets = (str(folder / name) for name in ("notes.txt", ".hidden.png", "[1].png"))
    result = find_inputs([text, hidden, brackets, text, str(folder / "deep"), str(folder / "deep")])
    assert names(result.paths, folder) == ["notes.txt", ".hidden.png", "[1].png", "deep/er/c.webp"]


def test_patterns_and_what_names_nothing(folder: Path) -> None:
    result = find_inputs([str(folder / "**" / "*.webp"), str(folder / "*.gif"), str(folder / "absent.png"), ""])
    assert names(result.paths, folder) == ["deep/er/c.webp"]
    assert list(result.refused.values()) == ["no file matches", "no such file", "no such file"]
    assert len(result) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_linked_folders_are_followed_and_loops_end(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.png").write_bytes(PNG)
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    assert [path for path in walk(str(folder)) if path.endswith("far.png")] == [str(folder / "linked" / "far.png")]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_names_that_are_no_utf8_and_odd_names(folder: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9\r:\\.png"
    Path(os.fsdecode(odd)).write_bytes(PNG)
    assert odd in [os.fsencode(path) for path in find_inputs([str(folder)]).paths]


def test_an_image_is_known_by_its_ending_or_its_beginning(tmp_path: Path) -> None:
    jpeg = encode_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), 90)
    for name, data, expected in (("x.HEIC", b"", True), ("x", jpeg, True), ("x.dat", b"RIFF0000WEBP", True),
                                 ("x.py", b"import this", False), ("y", b"", False)):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert looks_like_image(str(tmp_path / name)) is expected
    assert not looks_like_image(str(tmp_path / "absent"))


def test_lists_with_a_mark_or_in_utf16() -> None:
    assert read_list("\ufeffä.png\nb.png".encode()) == ["ä.png", "b.png"]
    assert read_list("ä.png\r\nb.png\r\n".encode("utf-16")) == ["ä.png", "b.png"]
    assert read_list(b"") == []


def test_rows_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(PNG)
    (tmp_path / "cut.png").write_bytes(PNG[:60])
    df = pd.DataFrame({"path": ["cut.png", "good.png", "absent.png"], "label": ["real", "fake", "real"]})
    kept, refused = split_readable(df, tmp_path)
    assert kept["path"].tolist() == ["good.png"]
    assert kept.index.tolist() == [0]
    assert [one.path for one in refused] == ["cut.png", "absent.png"]
    assert refused[1].error == "no such file"
    assert refused[0].to_dict()["error"]
    hashed = df.iloc[[1, 1]].assign(sha256=[hashlib.sha256(PNG).hexdigest(), "0" * 64])
    kept, refused = split_readable(hashed, tmp_path)
    assert (len(kept), [one.error for one in refused]) == (1, ["the file differs from its sha256 in the manifest"])
    _, small = split_readable(df.iloc[[1]], tmp_path, least=64)
    assert small[0].error == "50 x 40 pixels are fewer than the 64 x 64 needed"
