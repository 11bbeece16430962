"""`natural-traces score` on good, bad and odd files."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import run
from test_predict import Brightness

from helpers import api
from helpers.data.images import encode_jpeg, encode_png
from helpers.detectors.config import DetectorConfig
from helpers.detectors.predict import Prediction

BRIGHT, DARK = (encode_png(torch.full((3, 40, 40), level, dtype=torch.uint8)) for level in (220, 20))
FILES = {
    "bright.png": BRIGHT, "dark.PNG": DARK, "in/ner/no ending": BRIGHT, "cut.png": BRIGHT[:50], "empty.jpg": b"",
    "text.png": b"not an image", "small.png": encode_png(torch.zeros(3, 8, 8, dtype=torch.uint8)),
    "photo.jpeg": encode_jpeg(torch.full((3, 64, 50), 30, dtype=torch.uint8), 80), "notes.txt": b"left out",
    ".hidden.png": BRIGHT,
}  # fmt: skip
GOOD = {
    "bright.png": "generated",
    "dark.PNG": "photograph",
    "in/ner/no ending": "generated",
    "photo.jpeg": "photograph",
}
BAD = ("cut.png", "empty.jpg", "small.png", "text.png")


@pytest.fixture(autouse=True)
def judge(monkeypatch: pytest.MonkeyPatch) -> Brightness:
    one = Brightness(DetectorConfig(window=48))
    monkeypatch.setattr(api, "load_detector", lambda which, device, setting: one)
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(data)
    return tmp_path / "files"


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_with_good_bad_and_odd_files(folder: Path) -> None:
    done = run("score", folder, "--json")
    rows = {Path(row["path"]).relative_to(folder).as_posix(): row for row in map(json.loads, done.stdout.splitlines())}
    assert done.exit_code == 2
    assert {name: row["verdict"] for name, row in rows.items() if row["error"] is None} == GOOD
    assert sorted(name for name, row in rows.items() if row["error"]) == sorted(BAD)
    for name in BAD:
        assert (rows[name]["score"], rows[name]["probability"], rows[name]["verdict"]) == (None, None, None)
        assert str(folder) not in rows[name]["error"]
    assert rows["bright.png"]["score"] == pytest.approx(92)
    assert done.stderr == "8 picture(s), 2 generated, 2 photograph, 4 refused; left out: 1 hidden file, 1 no image\n"


def test_all_good_is_status_0_and_every_form_says_the_same(folder: Path) -> None:
    good = [folder / name for name in GOOD]
    plain, table, lines = run("score", *good, "--csv"), run("score", *good), run("score", *good, "--json", "--quiet")
    assert (plain.exit_code, table.exit_code, lines.exit_code) == (0, 0, 0)
    assert lines.stderr == ""
    rows, documents = read_csv(plain.stdout), [json.loads(line) for line in lines.stdout.splitlines()]
    assert [row["path"] for row in rows] == [document["path"] for document in documents] == [str(path) for path in good]
    assert [float(row["score"]) for row in rows] == [document["score"] for document in documents]
    head, *shown = table.stdout.splitlines()
    assert head.split() == ["verdict", "probability", "score", "path"]
    assert [line.split()[0] for line in shown] == list(GOOD.values())
    assert [line[36:] for line in shown] == [str(path) for path in good]


def test_a_list_on_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(f"{folder / 'bright.png'}\n\n{folder / 'absent.png'}\n".encode())

    monkeypatch.setattr(sys, "stdin", Input)
    rows = read_csv(run("score", "-", folder / "dark.PNG", "--csv").stdout)
    assert {Path(row["path"]).name: row["verdict"] or row["error"] for row in rows} == {
        "absent.png": "no such file", "bright.png": "generated", "dark.PNG": "photograph",
    }  # fmt: skip


def test_stop_ends_at_the_first_refused_file(folder: Path) -> None:
    done = run("score", folder / "bright.png", folder / "cut.png", folder / "dark.PNG", "--on-error", "stop", "--csv")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {folder / 'cut.png'}: ")
    assert len(read_csv(done.stdout)) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument"),
        (("absent folder/*.png",), None),
        (("--json", "--csv", "."), "--json and --csv exclude each other"),
        (("--resume", "."), "--resume needs --out FILE"),
        (("--out", "absent/rows.csv", "."), "absent: no such folder"),
        (("--out", ".", "."), ".: a folder, where --out needs a file"),
        (("--batch", "0", "."), "Invalid value for '--batch'"),
        (("--on-error", "weep", "."), "'weep' is not one of"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words: tuple[str, ...], message: str | None) -> None:
    done = run("score", *words)
    assert done.exit_code == 2
    if message:
        assert done.stdout == ""
        assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_without_pictures_says_what_lay_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    done = run("score", tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}: no picture found; left out: 1 no image\n"


def test_resume_does_the_rest_and_no_more(folder: Path, tmp_path: Path, judge: Brightness, monkeypatch) -> None:
    out = tmp_path / "rows.csv"
    assert run("score", folder / "bright.png", folder / "cut.png", "--out", out).exit_code == 2
    before = out.read_text()
    again = run("score", folder, "--out", out)
    assert again.stderr == f"error: {out}: exists; --resume does what is missing, or choose another file\n"
    assert out.read_text() == before
    with out.open("a") as file:
        file.write(f"{folder / 'dark.PNG'},-1")  # a run that was killed in the middle of a row
    done = run("score", folder, "--out", out, "--resume")
    rows = read_csv(out.read_text())
    assert out.read_text().startswith(before)
    assert len(rows) == len({row["path"] for row in rows}) == len(GOOD) + len(BAD)
    assert "6 picture(s), 1 generated, 2 photograph, 3 refused, 2 known before" in done.stderr
    assert run("score", folder, "--out", out, "--resume").exit_code == 0
    assert read_csv(out.read_text()) == rows
    judge.threshold, judge.logit = 0.0, lambda images: images.float().mean(dim=(1, 2, 3))  # type: ignore[method-assign]
    other = run("score", folder, "--out", out, "--resume")
    assert "scores differently now" in other.stderr
    assert not list(tmp_path.glob(".*"))


def test_resume_of_lines_and_of_a_foreign_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    run("score", folder / "bright.png", folder / "cut.png", "--out", out)
    run("score", folder, "--out", out, "--resume")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({row["path"] for row in rows}) == len(rows) == len(GOOD) + len(BAD)
    assert {row["verdict"] for row in rows} == {"generated", "photograph", None}
    for text in ("something else\n", '{"path": 1}\n'):
        out.write_text(text)
        assert "holds no rows of `score`" in run("score", folder, "--out", out, "--resume").stderr
        assert out.read_text() == text


def test_an_interrupt_leaves_whole_rows(folder: Path, tmp_path: Path, monkeypatch, judge: Brightness) -> None:
    def interrupted(paths: list[str], **_: object) -> Iterator[Prediction]:
        yield Prediction(paths[0], 1.0, 0.7, "generated", None)
        raise KeyboardInterrupt

    monkeypatch.setattr(judge, "predict", interrupted)
    out = tmp_path / "rows.csv"
    done = run("score", folder, "--out", out)
    assert done.exit_code == 2
    assert done.stderr == f"error: interrupted: 1 of 8 rows are written; with --resume the rest is added to {out}\n"
    assert len(read_csv(out.read_text())) == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_names_of_any_bytes_come_back(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b'/caf\xe9, "q"\r\n\xe2\x98\x83.png'
    Path(os.fsdecode(odd)).write_bytes(BRIGHT)
    for extra in ([], ["--csv"], ["--json"]):
        done = run("score", tmp_path, *extra)
        assert done.exit_code == 0, done.stderr
        done.stdout.encode(errors="backslashreplace")
    assert os.fsencode(json.loads(done.stdout)["path"]) == odd
    for name in ("rows.csv", "rows.jsonl"):
        out = tmp_path.parent / f"{tmp_path.name} {name}"
        assert run("score", tmp_path, "--out", out).exit_code == 0
        assert "1 known before" in run("score", tmp_path, "--out", out, "--resume").stderr


SLOW = """
import sys, time
from helpers import api, cli
from helpers.detectors.predict import Prediction

class Judge:
    def predict(self, paths, **_):
        for number, path in enumerate(paths):
            time.sleep(0.01)
            yield Prediction(path, 1.0, 0.7, "generated", None)

api.load_detector = lambda which, device, setting: Judge()
cli.main(["score", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_control_c_in_the_middle_and_a_second_run_that_does_the_rest(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(3000)]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"")
    words = [sys.executable, "-c", SLOW, "in"]
    started = subprocess.Popen(
        [*words, "--csv"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    first = [started.stdout.readline() for _ in range(20)]
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    rows = read_csv("".join(first) + out)
    assert started.returncode == 2
    assert 19 <= len(rows) < len(names)
    assert all(row["verdict"] == "generated" for row in rows)
    told = re.fullmatch(r"error: interrupted: ([\d,]+) of 3,000 rows .*; --out FILE --resume can do the rest\n", err)
    assert told
    assert len(rows) - int(told[1].replace(",", "")) in (0, 1)  # the last one may be written and not yet counted
