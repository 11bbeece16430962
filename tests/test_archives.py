"""What comes from outside writes nowhere else and runs nothing: archives, weights, cards."""

import io
import json
import pickle
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from helpers.data import archives
from helpers.data.archives import ArchiveError, unpack_archive
from helpers.data.places import shipped
from helpers.detectors.base import CARD, WEIGHTS
from helpers.detectors.registry import load_detector
from helpers.errors import NaturalTracesError
from helpers.training.storage import StorageError, read_weights


def zipped(path: Path, files: dict[str, bytes], mode: int = 0, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, kind
            archive.writestr(entry, data)
    return path


def tarred(path: Path, *entries: tarfile.TarInfo, data: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for entry in entries:
            entry.size = len(data) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(data))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def refused(archive: Path, reason: str, **limits: int) -> None:
    """Unpacking fails with one line and leaves nothing behind, there or elsewhere."""
    before = set(archive.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=reason) as caught:
        unpack_archive(archive, archive.parent / "out", **limits)
    assert str(caught.value).isprintable()
    assert set(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_sound_archives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        zipped(path, {"a/b.txt": b"x", "c.txt": b"x"})
    else:
        tarred(path, entry("a", tarfile.DIRTYPE), entry("a/b.txt"), entry("./c.txt"))
    assert archives.is_archive(path)
    out = unpack_archive(path, tmp_path / "deep" / "out")
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.txt")} == {
        "a/b.txt": b"x",
        "c.txt": b"x",
    }
    with pytest.raises(ArchiveError, match="exists already"):
        unpack_archive(path, out)


UNSAFE = ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "C:/evil.txt", "a\\..\\evil.txt", "a\nb.txt"]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    refused(zipped(tmp_path / "a.zip", {"good.txt": b"x", name: b"x"}), "unsafe name")
    refused(tarred(tmp_path / "a.tar", entry("good.txt"), entry(name)), "unsafe name")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    refused(tarred(tmp_path / "a.tar", entry("link", kind, "/etc"), entry("link/passwd")), "a link or a device")


def test_links_in_zip(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "a link or a device")


def test_bombs(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "a.zip", {"zeros": bytes(30_000_000)})
    assert bomb.stat().st_size < 50_000
    refused(bomb, "more than it may", max_bytes=1_000_000)
    refused(tarred(tmp_path / "a.tar.gz", entry("zeros"), data=bytes(30_000_000)), "more than it may", max_bytes=10**6)
    refused(zipped(tmp_path / "b.zip", {f"{n}": b"" for n in range(50)}), "more than 20 entries", max_files=20)


def test_a_header_that_lies_about_the_size(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"zeros": bytes(5_000_000)})
    size = (5_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError):
        unpack_archive(path, tmp_path / "out", max_bytes=1_000_000)
    assert not (tmp_path / "out").exists()


def test_names_twice_and_damage(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"a.txt": b"x", "A.txt": b"y"}), "twice")
    for name in ("b.zip", "b.tar.gz"):
        make = (
            zipped(tmp_path / name, {"a": bytes(range(256)) * 99})
            if name.endswith("zip")
            else tarred(tmp_path / name, entry("a"), data=bytes(range(256)) * 99)
        )
        data = make.read_bytes()
        make.write_bytes(data[: len(data) // 2])
        refused(make, "damaged")
        make.write_bytes(b"no archive at all")
        refused(make, "damaged")


# Weights and cards


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_never_unpickle(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(StorageError, match="not a sound safetensors file"):
        read_weights(tmp_path / "weights.safetensors")
    torch.save({"a": Trap(marker)}, tmp_path / "weights.safetensors")
    with pytest.raises(StorageError):
        read_weights(tmp_path / "weights.safetensors")
    assert not marker.exists()


def detector_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "detector"
    folder.mkdir()
    for name in (CARD, WEIGHTS):
        (folder / name).write_bytes((shipped("detectors", "zoo") / name).read_bytes())
    return folder


def first_size(values: dict[str, object]) -> tuple[dict[str, object], str]:
    """Find the width of an embedding, wherever the card keeps it."""
    for key, value in values.items():
        if key in ("embedding", "width") and isinstance(value, int):
            return values, key
        if isinstance(value, dict):
            try:
                return first_size(value)
            except LookupError:
                continue
    raise LookupError("the card states no width")


@pytest.mark.parametrize("change", [8, -8, 10**9, 10**15])
def test_a_card_that_lies_about_shapes_is_refused(tmp_path: Path, change: int) -> None:
    """The largest would need terabytes: shapes are compared before memory is taken."""
    folder = detector_copy(tmp_path)
    load_detector(folder)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    place, key = first_size(card["config"])
    place[key] = int(str(place[key])) + change
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(NaturalTracesError) as caught:
        load_detector(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"version": 1}', '{"version": "x", "config": {}}', '{"config": "import os"}', "\0"]
)
def test_cards_of_any_content_are_one_line(tmp_path: Path, text: str) -> None:
    folder = detector_copy(tmp_path)
    (folder / CARD).write_text(text, encoding="utf-8")
    with pytest.raises(NaturalTracesError, match="holds no detector") as caught:
        load_detector(folder)
    assert "\n" not in str(caught.value)


def test_a_card_names_no_code(tmp_path: Path) -> None:
    """The kind of detector is looked up among those that are registered: a module or a path is none."""
    folder = detector_copy(tmp_path)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    for name in ("os.system", "helpers.cli:main", "../../evil", "__import__('os')"):
        (folder / CARD).write_text(json.dumps({**card, "detector": name}), encoding="utf-8")
        with pytest.raises(NaturalTracesError, match="holds no detector"):
            load_detector(folder)
