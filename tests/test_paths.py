"""The two paths of docs/paths.md, walked: from a lesson to its code, and from an empty folder to a detector."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from command import run
from tiny_images import noise_photograph
from torch.nn.functional import avg_pool2d

from helpers.course import lessons, read_notebook
from helpers.course.execute import code_cells
from helpers.course.index import defined_names, module_file, names_in_code
from helpers.data.images import encode_png


@pytest.mark.parametrize("number", range(8))
def test_from_a_lesson_to_its_code(project: Path, number: int) -> None:
    """Every name that a lesson takes from the package lies in the file that its import names."""
    (path,) = lessons(project / "notebooks" / "solutions", number)
    code = "\n".join(cell.source for cell in code_cells(read_notebook(path)))
    names = names_in_code(code)
    assert any(name.startswith(f"helpers.lessons.lesson{number:02d}.") for name in names)
    for dotted in names:
        module, _, name = dotted.rpartition(".")
        file = module_file(module)
        assert file is not None, module
        assert name in defined_names(file), dotted


def commands(project: Path) -> list[list[str]]:
    """The commands of the page, in order."""
    page = (project / "docs" / "paths.md").read_text(encoding="utf-8")
    return [shlex.split(line)[1:] for line in re.findall(r"^natural-traces .*", page, re.MULTILINE)]


def smooth(img: torch.Tensor) -> torch.Tensor:
    """Take most of the grain away: what a spectrum tells at once."""
    return avg_pool2d(img.float(), 3, 1, 1, count_include_pad=False).round().to(torch.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small made-up pictures in the folders that the page names; the working directory."""
    generator = torch.Generator().manual_seed(0)
    parts = [f"real/place {number}" for number in range(16)] + [f"fake/generator {number}" for number in range(16)]
    for part in parts:
        (tmp_path / "images" / part).mkdir(parents=True)
        for number in range(2):
            img = noise_photograph(generator)
            img = smooth(img) if part.startswith("fake") else img
            (tmp_path / "images" / part / f"{number}.png").write_bytes(encode_png(img))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(encode_png(noise_photograph(generator)))
    (tmp_path / "pictures" / "two.png").write_bytes(encode_png(smooth(noise_photograph(generator))))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_from_an_empty_folder_to_a_detector_of_ones_own(project: Path, folder: Path) -> None:
    walked = commands(project)
    assert [words[0] for words in walked] == ["score", "score", "manifest", "train", "evaluate", "score"]
    for words in walked:
        small = ["--set", "size=32", "--set", "jpeg=0"] if words[0] == "train" else []
        done = run(*words, *small)
        assert done.exit_code == 0, (words, done.stderr)
    assert len((folder / "scores.csv").read_text(encoding="utf-8").splitlines()) == 3
    rows = [
        json.loads(line) for line in run("score", "pictures", "--detector", "runs/mine", "--json").stdout.splitlines()
    ]
    assert {Path(row["path"]).name: row["verdict"] for row in rows} == {
        "one.png": "photograph",
        "two.png": "generated",
    }
