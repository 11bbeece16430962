import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from helpers import cli
from helpers.cli import machine as doctor
from helpers.data import images, manifest


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
    manifest.write_manifest(manifest.manifest_from_folder(folder), path)
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
    monkeypatch.setattr(doctor, "verify", lambda df, root: [manifest.Problem("a.png", "hash", "differs")])
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
    found = json.loads(out)
    assert status == 0
    assert found["images"] == 12
    assert found["shared_sources"] == []


def test_audit(capsys: pytest.CaptureFixture[str], table: Path) -> None:
    status, out, _ = call(capsys, "audit", str(table), "--crop", "64", "--draws", "20", "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["images"], found["audited"]) == (16, 16)
    results = {(r["view"], r["cue"]): r for r in found["parts"]["all"]["results"]}
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
    found = json.loads(out)
    assert list(found["parts"]) == ["all"]
    assert found["images"] == 8
    _, out, _ = call(capsys, "audit", str(table), "--draws", "5", "--json", "--where", "track!=b")
    assert list(json.loads(out)["parts"]) == ["a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "absent.csv"), "error: absent.csv: no such manifest"),
        (("audit", "photographs"), "error: an audit needs at least two real and two fake images"),
        (("audit", "photographs", "--where", "moon=1"), "error: 'moon=1': needs column=value"),
        (("audit", "photographs", "--where", "split=moon"), "error: no image meets split=moon"),
        (("audit",), "error: Missing argument"),
        (("audit", "photographs", "--unknown"), "error: No such option"),
        (("manifest", "folder", "absent", "--out", "x.csv"), "error: "),
        (("manifest", "show", "unicorn"), "error: unicorn: no such manifest"),
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

    monkeypatch.setattr(cli, "examine", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        cli.main(["doctor"])


def test_commands_are_mounted_once() -> None:
    root = typer.Typer()
    cli.mount_commands(root)
    cli.mount_commands(root)
    names = [group.name for group in root.registered_groups] + [command.name for command in root.registered_commands]
    assert len(names) == len(set(names))


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for name in ("doctor", "manifest", "audit"):
        assert name in out


def test_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "helpers", "audit", "absent.csv"], cwd=tmp_path, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: absent.csv: no such manifest\n"
