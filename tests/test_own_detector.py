"""The page docs/own_detector.md: its code is run, trained, evaluated and scored as it says."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run
from tiny_images import made_up

from helpers.data.images import encode_png
from helpers.detectors import registry


@pytest.fixture
def page(project: Path) -> str:
    return (project / "docs" / "own_detector.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> Iterator[Path]:
    """A folder with what the page says, and a small set of images."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    settings = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert settings
    Path("colour_noise.py").write_text(code, encoding="utf-8")
    Path("mine.toml").write_text(settings[1], encoding="utf-8")
    for split in ("train", "val", "test"):
        images = made_up(split, strength=14.0)
        for row, label in enumerate(images.manifest["label"]):
            path = Path("set", label, *([] if label == "real" else ["checkers"]), f"{split}-{row}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(images.image(row)))
    write_manifest(Path("set"))
    yield tmp_path
    sys.modules.pop("colour_noise", None)


def write_manifest(folder: Path) -> None:
    """Split by the names of the files."""
    from helpers.data import manifest
    from helpers.data.collect import manifest_from_folder

    df = manifest_from_folder(folder)
    splits = df["path"].str.extract(r"(train|val|test)-")[0]
    manifest.write_manifest(df.assign(split=splits, source=df["label"]), folder / "manifest.csv")


def commands(page: str) -> list[list[str]]:
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [line.removeprefix("python -m helpers ").split() for line in block.splitlines()]


def test_the_page_leads_from_a_class_to_scores(here: Path, page: str) -> None:
    train, evaluate, score = (run(*words) for words in commands(page))
    assert train.exit_code == 0, train.stderr
    assert json.loads((here / "runs/mine/card.json").read_text())["config"]["crops"] == 400
    assert evaluate.exit_code == 0, evaluate.stderr
    assert "colour_noise: 32 images, 1 run(s)" in evaluate.stdout
    assert score.exit_code in (0, 2), score.stderr  # 2: the manifest lies among the pictures
    rows = [json.loads(line) for line in score.stdout.splitlines()]
    right = [(row["verdict"] == "generated") == ("checkers" in row["path"]) for row in rows if row["score"] is not None]
    assert len(right) == 96
    assert sum(right) > 80


def test_the_other_commands_take_it_as_well(here: Path, page: str) -> None:
    assert run(*commands(page)[0]).exit_code == 0
    words = ("--plugin", "colour_noise.py", "robustness", "sweep", "runs/mine", "--manifest", "set/manifest.csv")
    done = run(*words, "--only", "jpeg", "--no-surface", "--draws", 2, "--seen", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["detector"] == "colour_noise"
    words = ("--plugin", "colour_noise.py", "holdout", "mine.toml", "--manifest", "set/manifest.csv", "--json")
    done = run(*words)
    assert (done.exit_code, "two generators and two photo sources" in done.stderr) == (2, True)


def test_the_code_is_forty_lines(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 40


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.py", None, "plug-in absent.py: cannot be imported: FileNotFoundError"),
        ("no_such_module", None, "plug-in no_such_module: cannot be imported: ModuleNotFoundError"),
        ("broken.py", "1 / 0", "plug-in broken.py: cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_one_line(
    name: str, text: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    done = run("--plugin", name, "cache", "info")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
