"""Downloads are whole and checked, or one clear error; the benchmark is rebuilt tile by tile."""

import hashlib
import io
import json
import lzma
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run
from loopback import Server, serve
from PIL import Image as PillowImage

from helpers.data.catalog import benchmark, downloads, entries, weights
from helpers.data.catalog.downloads import DownloadError, OfflineError, fetch
from helpers.data.manifest import ManifestError, read_manifest, verify

BODY = bytes(range(256)) * 40


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch's pauses; the server waits by an event
    with serve() as running:
        running.files["/a.bin"] = BODY
        yield running


def get(server: Server, folder: Path, **options: object) -> Path:
    return fetch(f"{server.url}/a.bin", folder / "sub" / "a.bin", sha256(BODY), timeout=0.5, **options)


# One file


def test_a_file_arrives_whole_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path).read_bytes() == BODY
    get(server, tmp_path)
    assert server.asked["/a.bin"] == 1
    (tmp_path / "sub" / "a.bin").write_bytes(b"damaged since")
    assert get(server, tmp_path).read_bytes() == BODY
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.bin"]


@pytest.mark.parametrize("fault", ["429", "500", "503", "truncate", "close", "stall", "wrong"])
def test_a_passing_fault_is_tried_again(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults["/a.bin"] = [fault]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.asked["/a.bin"] == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "answers 429"),
        ("500", "answers 500"),
        ("truncate", "breaks off"),
        ("close", "breaks off"),
        ("stall", "stalls|breaks off"),
        ("wrong", "other bytes than expected"),
    ],
)
def test_a_lasting_fault_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, fault: str, reason: str
) -> None:
    server.faults["/a.bin"] = [fault] * 9
    with pytest.raises(DownloadError, match=reason) as caught:
        get(server, tmp_path, tries=2)
    assert "\n" not in str(caught.value)
    assert server.asked["/a.bin"] == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_gone_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    del server.files["/a.bin"]
    with pytest.raises(DownloadError, match="answers 404"):
        get(server, tmp_path)
    assert server.asked["/a.bin"] == 1


def test_offline_is_said(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OfflineError, match="offline"):
        fetch(f"http://127.0.0.1:{port}/a.bin", tmp_path / "a.bin", sha256(BODY), tries=2)


def test_too_small_a_disk_is_said_first(tmp_path: Path) -> None:
    downloads.check_space(tmp_path / "not" / "there", 1)
    with pytest.raises(DownloadError, match="are free"):
        downloads.check_space(tmp_path, 10**18)


# The benchmark


def picture(seed: int, height: int = 330, width: int = 300) -> PillowImage.Image:
    rng = np.random.default_rng(seed)
    coarse = PillowImage.fromarray(rng.integers(20, 230, (8, 8, 3), np.uint8)).resize((width, height))
    return PillowImage.fromarray((np.asarray(coarse) + rng.integers(0, 20, (height, width, 3))).astype(np.uint8))


def encoded(img: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    img.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> PillowImage.Image:
    return PillowImage.open(io.BytesIO(data)).convert("RGB")


def tile(original: bytes, history: str, left: int, top: int, strip: int = 0) -> bytes:
    """The recipe by Pillow alone, independent of the package."""
    img = opened(original)
    img = img.crop((0, 0, img.width, img.height - strip))
    for step in history.split("+"):
        if step != "jpeg-own":
            img = opened(encoded(img, "JPEG", quality=int(step[5:]), subsampling="4:2:0"))
    return encoded(img.crop((left, top, left + 240, top + 240)), "JPEG", quality=95, subsampling="4:4:4")


ORIGINALS = {
    "who/real/c0ffee/a b#1.jpg": ("", encoded(picture(1), "JPEG", quality=85), ("jpeg-own", "jpeg-own+jpeg-85")),
    "who/fake/c0ffee/sub/b.png": ("stylegan2", encoded(picture(2), "PNG"), ("jpeg-75",)),
    "who/fake/c0ffee/c.png": ("flux", encoded(picture(3), "PNG"), ("jpeg-95",)),
}


@pytest.fixture
def carried(tmp_path: Path) -> pd.DataFrame:
    """A tiny benchmark, and the table that `table_from` makes of it."""
    rows = []
    for place, (generator, original, histories) in ORIGINALS.items():
        owner, name, commit, path = place.split("/", 3)
        for number, history in enumerate(histories):
            data = tile(original, history, 11 + number, 9, 40 if generator == "stylegan2" else 0)
            at = f"images/{len(rows)}.jpg"
            (tmp_path / "own" / at).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / at).write_bytes(data)
            rows.append(
                {"path": at, "label": "fake" if generator else "real", "generator": generator, "family": "",
                 "source": name, "split": "test", "track": "main-240", "tier": "", "width": 240, "height": 240,
                 "format": "JPEG", "sha256": sha256(data), "licence": "CC0", "origin_repo": f"{owner}/{name}",
                 "origin_commit": commit, "origin_path": path, "history": history, "crop_x": 11 + number, "crop_y": 9,
                 "orig_sha256": sha256(original)}
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "own" / "manifest.csv", index=False)
    table = lzma.decompress(benchmark.table_from(tmp_path / "own"))
    df = pd.read_csv(io.BytesIO(table), dtype=str, keep_default_na=False)
    return df.astype(dict.fromkeys(("crop_x", "crop_y", "width", "height"), "int64"))


def stock(server: Server) -> None:
    server.files = {f"/{place}": original for place, (_, original, _) in ORIGINALS.items()}


def rebuild(carried: pd.DataFrame, server: Server, target: Path) -> benchmark.Rebuilt:
    return benchmark.get_benchmark(carried, target, home=server.url, workers=2, tries=2, timeout=0.5)


def test_tiles_are_rebuilt_to_the_byte_and_once(carried: pd.DataFrame, server: Server, tmp_path: Path) -> None:
    stock(server)
    assert rebuild(carried, server, tmp_path / "b") == benchmark.Rebuilt(4, 0, {})
    df = read_manifest(tmp_path / "b" / "manifest.csv")
    assert verify(df, tmp_path / "b") == []
    assert set(df["rebuilt"]) == {"identical"}
    assert df["origin"].iloc[0] == "who/real@c0ffee/a b#1.jpg"
    assert sum(server.asked.values()) == 3
    assert rebuild(carried, server, tmp_path / "b").identical == 4
    assert sum(server.asked.values()) == 3
    files = {path.relative_to(tmp_path / "b").parts[0] for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert files == {"images", "manifest.csv"}


def test_a_second_call_does_the_rest(carried: pd.DataFrame, server: Server, tmp_path: Path) -> None:
    stock(server)
    gone = server.files.pop("/who/fake/c0ffee/c.png")
    server.faults["/who/real/c0ffee/a b#1.jpg"] = ["wrong"] * 2
    first = rebuild(carried, server, tmp_path / "b")
    assert first.identical == 1
    assert {path: said.split(": ")[-1][:12] for path, said in first.failed.items()} == {
        "images/0.jpg": "sends other ",
        "images/1.jpg": "sends other ",
        "images/3.jpg": "answers 404",
    }
    assert len(read_manifest(tmp_path / "b" / "manifest.csv")) == 1
    server.files["/who/fake/c0ffee/c.png"] = gone
    (tmp_path / "b" / "images" / "2.jpg").write_bytes(b"damaged since")
    assert rebuild(carried, server, tmp_path / "b") == benchmark.Rebuilt(4, 0, {})


def test_another_encoder_is_near_another_picture_is_not(carried: pd.DataFrame, server: Server, tmp_path: Path) -> None:
    stock(server)
    other = carried.assign(sha256="0" * 64)
    result = rebuild(other, server, tmp_path / "b")
    assert (result.identical, result.near) == (0, 4)
    df = read_manifest(tmp_path / "b" / "manifest.csv")
    assert set(df["rebuilt"]) == {"near"}
    assert verify(df, tmp_path / "b") == []
    asked = sum(server.asked.values())
    assert rebuild(other, server, tmp_path / "b").near == 4
    assert sum(server.asked.values()) == asked
    for change in ({"look": "ffff0000ffff0000"}, {"colour": "000000"}):
        result = rebuild(other.assign(**change), server, tmp_path / next(iter(change)))
        assert len(result.failed) == 4
        assert "differs by more" in result.failed["images/0.jpg"]


def test_offline_ends_at_once(carried: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, *_: object, **__: object) -> Path:
        raise OfflineError(url, "the server cannot be reached; is this machine offline?")

    monkeypatch.setattr(benchmark, "fetch", offline)
    with pytest.raises(OfflineError, match="offline"):
        benchmark.get_benchmark(carried, tmp_path / "b")


def test_the_carried_table_has_what_is_needed() -> None:
    df = benchmark.carried()
    assert len(df) == 7629
    assert df["path"].is_unique
    assert df["orig_sha256"].nunique() == 6679
    assert set(df["track"]) == {"main-240", "wide-240"}
    assert df["origin_repo"].str.fullmatch(r"[\w.-]+/[\w.-]+").all()
    assert df["history"].str.fullmatch(r"(jpeg-(own|\d+))(\+jpeg-\d+)?").all()
    assert df["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert df["colour"].str.fullmatch("[0-9a-f]{6}").all()


def test_originals_at_hand_rebuild_to_the_byte(benchmark_root: Path, server: Server, tmp_path: Path) -> None:
    """The 35 whole files of the benchmark are originals of 47 tiles."""
    whole = {
        sha256(data): data for data in (p.read_bytes() for p in (benchmark_root / "images" / "whole").rglob("*.*"))
    }
    df = benchmark.carried()
    df = df[df["orig_sha256"].isin(whole)]
    for _, row in df.iterrows():
        place = f"/{row['origin_repo']}/{row['origin_commit']}/{row['origin_path']}"
        server.files[place] = whole[row["orig_sha256"]]
    result = benchmark.get_benchmark(df, tmp_path / "b", home=server.url, timeout=20.0)
    assert result == benchmark.Rebuilt(47, 0, {})


# Commands


def test_get_by_the_command(
    carried: pd.DataFrame, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(server)
    monkeypatch.setenv("NATURAL_TRACES_DATA", str(tmp_path / "sets"))
    monkeypatch.setattr(benchmark, "carried", lambda: carried)
    done = run("data", "get", "benchmark", "--mirror", server.url, "--where", "label=fake", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["identical"] == 2
    server.files.clear()
    done = run("data", "get", "benchmark", "--mirror", server.url, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["failed"] == 2
    assert "answers 404" in done.stderr
    assert run("data", "verify", "benchmark").exit_code == 0
    assert run("data", "path", "benchmark").stdout.strip() == str(tmp_path / "sets" / "benchmark")
    assert run("manifest", "show", "benchmark").exit_code == 0
    rows = {row["name"]: row for row in json.loads(run("data", "list", "--json").stdout)}
    assert rows["benchmark"]["here"]


def test_the_catalogue_is_honest() -> None:
    assert all(entry.verified == "no" for entry in entries.ENTRIES.values() if entry.way in ("hub", "by hand"))
    done = run("data", "get", "genimage")
    assert done.exit_code == 2
    assert "https://github.com/GenImage-Dataset/GenImage" in done.stderr
    assert "not verified" not in run("data", "show", "photographs").stdout
    assert entries.find_entry("hub:owner/name").hub == "owner/name"
    with pytest.raises(ManifestError, match="not in the catalogue"):
        entries.find_entry("unicorns")


def test_a_hub_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such repository\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(DownloadError, match="hub:a/b: no such repository") as caught:
        downloads.fetch_hub("a/b", tmp_path)
    assert "\n" not in str(caught.value)


# Weights


@pytest.fixture
def small_weights(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Autoencoders with fresh weights, at their place in the catalogue."""
    import torch
    from safetensors.torch import save

    from helpers.pixels.autoencoders import TinyAutoencoder

    torch.manual_seed(0)
    network, files = TinyAutoencoder(latent=4), {}
    for part in ("encoder", "decoder"):
        files[f"taesd_{part}.safetensors"] = save(getattr(network, part).state_dict())
    sums = {name: sha256(data) for name, data in files.items()}
    monkeypatch.setitem(weights.WEIGHTS, "autoencoders", weights.WeightFiles("who/nets/c0ffee/vae", sums, 10_000_000))
    monkeypatch.setenv("NATURAL_TRACES_DATA", str(tmp_path / "sets"))
    server.files = {f"/who/nets/c0ffee/vae/{name}": data for name, data in files.items()}
    return files


def test_weights_by_the_command_and_by_their_name(
    server: Server, small_weights: dict[str, bytes], tmp_path: Path
) -> None:
    from helpers.pixels.autoencoders import load_autoencoder

    with pytest.raises(ManifestError, match="data get autoencoders"):
        weights.weights_folder("autoencoders")
    server.faults["/who/nets/c0ffee/vae/taesd_decoder.safetensors"] = ["truncate"]
    done = run("data", "get", "autoencoders", "--mirror", server.url, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 2
    assert "MIT" in done.stderr
    folder = weights.weights_folder("autoencoders")
    assert folder == tmp_path / "sets" / "autoencoders"
    assert load_autoencoder(folder, "taesd").decoder[1].in_channels == 4
    assert run("data", "verify", "autoencoders").exit_code == 0
    asked = sum(server.asked.values())
    assert run("data", "get", "autoencoders", "--mirror", server.url).exit_code == 0
    assert sum(server.asked.values()) == asked
    (folder / "taesd_encoder.safetensors").write_bytes(b"damaged since")
    done = run("data", "verify", "autoencoders")
    assert done.exit_code == 2
    assert "hash" in done.stdout
    assert {row["name"]: row["here"] for row in json.loads(run("data", "list", "--json").stdout)}["autoencoders"]
    assert weights.weights_folder(str(folder)) == folder


def test_weights_that_are_gone_are_one_line(server: Server, small_weights: dict[str, bytes], tmp_path: Path) -> None:
    server.files.clear()
    done = run("data", "get", "autoencoders", "--mirror", server.url)
    assert done.exit_code == 2
    assert "answers 404" in done.stderr
    assert not list((tmp_path / "sets").rglob("*.safetensors"))


def test_known_weights_are_those_of_the_known_autoencoders() -> None:
    from helpers.pixels.autoencoders import NAMES

    files = weights.WEIGHTS["autoencoders"].sha256
    assert set(files) == {f"{name}_{part}.safetensors" for name in NAMES for part in ("encoder", "decoder")}
    assert all(len(digest) == 64 for digest in files.values())
