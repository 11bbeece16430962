import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import cli
from helpers.cli import COMMANDS, doctor
from helpers.cli.application import application
from helpers.data import collect, images, manifest
from helpers.data.places import shipped


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    generator = torch.Generator().manual_seed(0)
    for label in ("real", "fake/gan"):
        (root / label).mkdir(parents=True)
        for number in range(8):
            img = torch.randint(0, 256, (3, 70, 70), dtype=torch.uint8, generator=generator)
            data = images.encode_png(img) if "fake" in label else images.encode_jpeg(img, 90)
            (root / label / f"{label[0]}{number}.img").with_suffix(".png" if "fake" in label else ".jpg").write_bytes(
                data
            )
    return root


@pytest.fixture
def table(folder: Path) -> Path:
    path = folder / "manifest.csv"
    manifest.write_manifest(collect.manifest_from_folder(folder), path)
    return path


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "doctor")
    lines = out.splitlines()
    assert status == 0
    assert [line.split()[1] for line in lines] == [
        "python", "torch", "torchvision", "devices", "threads", "photographs", "textures", "benchmark",
    ]  # fmt: skip
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    status, out, _ = call(capsys, "doctor", "--json")
    assert {entry["check"] for entry in json.loads(out)} >= {"torch", "photographs"}


def test_doctor_fails_where_something_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "verify", lambda df, root: [manifest.Problem("a.png", "hash", "differs")])
    status, out, _ = call(capsys, "doctor")
    assert status == 2
    assert "fail photographs  1 problem(s), the first: a.png: differs" in out
    assert doctor._package("no-such-distribution", (1, 0)).status == "fail"
    assert doctor._package("torch", (999, 0)).detail.endswith("needs 999.0 or later")


def test_manifest_commands(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    out_file = folder / "m.csv"
    status, out, _ = call(capsys, "manifest", "folder", str(folder), "--out", str(out_file), "--json")
    assert status == 0
    assert json.loads(out)["images"] == 16
    assert len(manifest.read_manifest(out_file)) == 16
    status, out, _ = call(capsys, "manifest", "verify", str(out_file))
    assert (status, out.strip()) == (0, "16 images, 0 problem(s)")
    status, out, _ = call(capsys, "manifest", "split", str(out_file), "--out", str(tmp_path / "s.csv"), "--seed", "3")
    assert status == 0
    assert "16 images" in out
    (folder / "real" / "r0.jpg").unlink()
    status, out, _ = call(capsys, "manifest", "verify", str(out_file), "--json")
    assert status == 2
    assert json.loads(out)["problems"] == [{"path": "real/r0.jpg", "kind": "missing", "detail": "no such file"}]


def test_manifest_show_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "manifest", "show", "photographs", "--json")
    result = json.loads(out)
    assert status == 0
    assert result["images"] == 12
    assert result["shared_sources"] == []


def test_audit(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    status, out, _ = call(capsys, "audit", str(table), "--crop", "64", "--draws", "20", "--json")
    result = json.loads(out)
    assert status == 0
    assert (result["images"], result["audited"]) == (16, 16)
    results = {(r["view"], r["cue"]): r for r in result["parts"]["all"]["results"]}
    assert results["raw files", "format"]["auc"]["value"] == 1.0
    assert results["raw files", "format"]["leaky"] is True
    assert results["matched protocol", "format"]["auc"]["value"] == 0.5
    status, out, _ = call(capsys, "audit", str(table), "--draws", "10", "--max-images", "10")
    assert status == 0
    assert "sampled 10 of 16 images with seed 0" in out
    assert "matched protocol" in out


def test_audit_by_column_and_condition(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    df = manifest.read_manifest(table)
    df["track"] = ["a", "b"] * 8
    manifest.write_manifest(df, table)
    _, out, _ = call(capsys, "audit", str(table), "--draws", "5", "--json")
    assert list(json.loads(out)["parts"]) == ["a", "b"]
    _, out, _ = call(capsys, "audit", str(table), "--draws", "5", "--json", "--where", "track=b", "--by", "")
    result = json.loads(out)
    assert list(result["parts"]) == ["all"]
    assert result["images"] == 8
    _, out, _ = call(capsys, "audit", str(table), "--draws", "5", "--json", "--where", "track!=b")
    assert list(json.loads(out)["parts"]) == ["a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "absent.csv"), "error: absent.csv: no such manifest"),
        (("audit", "photographs"), "error: an audit needs at least two real and two fake images"),
        (("audit", "photographs", "--where", "moon=1"), "error: 'moon=1': needs column=value"),
        (
            ("audit", "photographs", "--where", "split=moon"),
            "error: no image meets 'split=moon'; split holds test",
        ),
        (("audit",), "error: Missing argument"),
        (("audit", "photographs", "--unknown"), "error: No such option"),
        (("manifest", "folder", "absent", "--out", "x.csv"), "error: "),
        (("manifest", "show", "unicorn"), "error: unicorn: no such data set (known: "),
    ],
)
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    status, out, err = call(capsys, *words)
    assert status == 2
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_an_unwritable_place_is_one_line(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    status, _, err = call(capsys, "manifest", "folder", str(folder), "--out", str(folder / "file" / "m.csv"))
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_mistakes_of_ours_are_not_hidden(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[doctor.Finding]:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(doctor, "examine", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        cli.main(["doctor"])


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for name, entry in COMMANDS.items():
        assert name in out
        assert " ".join(entry.help.split()) in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert out.startswith("Usage: ")


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List every command that does something: its words, and what typer made of it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    else:
        for name in inner:
            yield from leaves(inner[name], (*words, name))


def test_every_command_can_print_json_and_means_the_same_by_an_option() -> None:
    """`--json` everywhere; options that several commands have bear one help text, so that they mean one thing."""
    texts: dict[str, set[str]] = {}
    for words, command in leaves(application()):
        if command.hidden:
            continue
        options = {name: option for option in command.params for name in option.opts}
        assert "--json" in options, words
        for name in ("--where", "--device", "--batch", "--set", "--on-error"):
            if name in options:
                texts.setdefault(name, set()).add(options[name].help)
    assert {name for name, known in texts.items() if len(known) > 1} == set()
    assert {"--where", "--set"} <= set(texts)


def test_a_command_alone_prints_its_help_and_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys)
    assert (status, out) == (2, "")
    assert "Commands" not in err
    assert "manifest" in err
    assert call(capsys, "zoo")[2].startswith("Usage: ")


def test_a_misspelt_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'evaluate'" in call(capsys, "evalute")[2]


HEAVY = {"torch", "torchvision", "timm", "lightning", "pandas", "numpy", "scipy", "PIL", "matplotlib", "rich.console"}
REPORT = """
import sys
import warnings
from helpers.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    sys.stderr.write("\\n".join([str(int(ended.code or 0)), *sys.modules]))
"""


def modules_after(*words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", REPORT, *words], capture_output=True, encoding="utf-8", check=True)
    status, *modules = done.stderr.split("\n")
    assert status == "0"
    assert done.stdout
    return set(modules)


@pytest.mark.parametrize("words", [["zoo", "list", "--json"], ["reproduce", "--list", "--json"], ["cache", "info"]])
def test_listings_import_nothing_heavy(words: list[str]) -> None:
    assert not modules_after(*words) & HEAVY


@pytest.mark.parametrize("words", ["--help", "--version"])
def test_help_and_version_import_no_command_and_nothing_heavy(words: str) -> None:
    loaded = modules_after(words)
    assert not loaded & HEAVY
    own = {name for name in loaded if name.startswith("helpers")}
    assert own == {"helpers", "helpers.cli", "helpers.cli.application", "helpers.errors"}


def test_the_help_of_every_command_imports_nothing_heavy() -> None:
    """All of them in one process; a heavy import of any would show."""
    lines = "for name in COMMANDS:\n    try:\n        main([name, '--help'])\n    except SystemExit:\n        pass\n"
    code = f"import sys\nfrom helpers.cli import COMMANDS, main\n{lines}sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    loaded = set(done.stderr.split())
    assert {f"helpers.cli.{name}" for name in COMMANDS} <= loaded
    assert not loaded & HEAVY


def test_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "helpers", "audit", "absent.csv"], cwd=tmp_path, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent.csv: no such manifest\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_that_cannot_show_a_character_shows_its_number(folder: Path, encoding: str) -> None:
    (folder / "fake" / "gan").rename(folder / "fake" / "生成")
    words = [sys.executable, "-m", "helpers", "manifest", "folder", str(folder), "--out", str(folder / "m.csv")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for extra in ([], ["--json"]):
        done = subprocess.run([*words, *extra], capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"\u751f\u6210" in done.stdout
    assert json.loads(done.stdout)["counts"][0]["generator"] == "生成"


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def warned() -> list[doctor.Finding]:
        print(warnings.formatwarning("two\nlines", UserWarning, "file.py", 3), end="")
        return []

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(doctor, "examine", warned)
    assert call(capsys, "doctor")[1] == "warning: two lines\n"


def test_cache_info_and_clear(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NATURAL_TRACES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NATURAL_TRACES_DATA", str(tmp_path / "sets"))
    (tmp_path / "cache" / "scores").mkdir(parents=True)
    (tmp_path / "cache" / "scores" / "1.npy").write_bytes(b"12345")
    (tmp_path / "sets" / "x").mkdir(parents=True)
    (tmp_path / "sets" / "x" / "manifest.csv").write_bytes(shipped("textures", "manifest.csv").read_bytes())
    status, out, _ = call(capsys, "cache", "info", "--json")
    result = json.loads(out)
    assert status == 0
    assert (result["cache"], result["data_root"]) == (str(tmp_path / "cache"), str(tmp_path / "sets"))
    assert result["parts"] == [{"name": "scores", "files": 1, "bytes": 5}]
    assert result["data_sets"] == ["x"]
    assert "scores: 1 file(s)" in call(capsys, "cache", "info")[1]
    assert "deleted scores: 1 file(s)" in call(capsys, "cache", "clear")[1]
    assert call(capsys, "cache", "clear")[1] == "the cache is empty\n"
    assert call(capsys, "manifest", "show", "x")[0] == 0
