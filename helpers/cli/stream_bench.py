"""What `bench stream` does: many small generated images through the commands, each in a process of its own."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers.data.images import encode_png
from helpers.data.manifest import write_manifest
from helpers.data.seeds import keyed_generator
from helpers.errors import NaturalTracesError

__all__ = ["measure_stream"]

LEVELS = 16


class StreamBenchError(NaturalTracesError):
    """A command of the bench that failed."""


def small_image(seed: int, number: int, side: int) -> torch.Tensor:
    """Make one small image, unlike all others: coarse blocks under grain; odd numbers carry a checkerboard."""
    generator = keyed_generator(seed, "stream", number)
    blocks = torch.randint(40, 200, (3, side // 8, side // 8), generator=generator)
    img = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    img = img + torch.randint(0, LEVELS, (3, side, side), generator=generator)
    board = (torch.arange(side)[:, None] + torch.arange(side)) % 2
    return (img + number % 2 * 6 * board).to(torch.uint8)


def write_set(folder: Path, images: int, side: int, seed: int = 0) -> Path:
    """Write images and their manifest: every second one counts as generated.

    Args:
        folder: Where to.
        images: How many.
        side: Of each, in pixels, a multiple of 8.
        seed: Of all of them.

    Returns:
        The manifest.
    """
    rows = []
    for number in range(images):
        data, path = encode_png(small_image(seed, number, side)), f"{number // 1000:05d}/{number:08d}.png"
        place = folder / path
        if number % 1000 == 0:
            place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        rows.append((path, number % 2, hashlib.sha256(data).hexdigest()))
    df = pd.DataFrame(rows, columns=["path", "label", "sha256"])
    fake = df["label"] == 1
    df = df.assign(
        label=np.where(fake, "fake", "real"), generator=np.where(fake, "checkers", ""),
        family=np.where(fake, "gan", ""),
        source=[f"place {number % 50}" for number in range(images)], split="test", width=side, height=side,
        format="PNG", licence="CC0", origin="made up",
    )  # fmt: skip
    write_manifest(df, folder / "manifest.csv")
    return folder / "manifest.csv"


def run_command(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Run a command of the package in a process of its own; return what it printed, its time and its peak of memory."""
    begin = time.perf_counter()
    code = "import sys, helpers.cli as c, helpers.data.memory as m\ntry:\n c.main(sys.argv[1:])\nfinally:\n"
    code += " print('peak', m.peak_memory() or 0, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StreamBenchError(f"{words[0]}: {' '.join(done.stderr.split()[-40:])}")
    peak = float(done.stderr.rstrip().rpartition("peak ")[2])
    seconds = time.perf_counter() - begin
    return done.stdout + done.stderr, {"seconds": round(seconds, 1), "peak_mb": round(peak)}


def measure_stream(folder: Path, images: int, side: int, *, detector: str | None, ray: bool) -> dict[str, Any]:
    """Stream generated images through `data shard`, `evaluate` and, if it is wanted, `score --engine ray`.

    Args:
        folder: For everything that is written.
        images: How many.
        side: Of each, in pixels.
        detector: Folder or name; the shipped one when None.
        ray: Whether the engine is run as well.

    Returns:
        Seconds and peak of memory of each command, and how many images each counted.

    Raises:
        StreamBenchError: A command failed, or an image was lost or counted twice.
    """
    manifest, result = write_set(folder / "set", images, side), dict[str, Any]()
    shards = str(folder / "shards")
    _, result["data shard"] = run_command(["data", "shard", str(manifest), "--out", shards])
    which = detector or _shipped()
    text, result["evaluate"] = run_command(
        ["evaluate", "--detector", which, "--manifest", shards, "--no-cache", "--draws", "100", "--json"]
    )
    result["evaluate"]["images"] = json.loads(text[: text.rindex("}") + 1])["images"]
    if ray:
        words = ["score", shards, "--engine", "ray", "--detector", which, "--out", str(folder / "scores")]
        text, result["score --engine ray"] = run_command(words)
        tables = [pd.read_parquet(path, columns=["path"]) for path in sorted((folder / "scores").glob("*.parquet"))]
        worker = int(text.partition("peak memory ")[2].partition(" MB a worker")[0].replace(",", ""))
        counted = len(set(pd.concat(tables)["path"])) if tables else 0
        rows = sum(map(len, tables))
        result["score --engine ray"] |= {"worker_peak_mb": worker, "images": counted, "rows": rows}
    for name, one in result.items():
        if one.get("images", images) != images or one.get("rows", images) != images:
            raise StreamBenchError(f"{name}: counted {one['images']:,} of {images:,} images")
    return {"images": images, "side": side, **result}


def _shipped() -> str:
    from helpers.api import SHIPPED

    return SHIPPED
