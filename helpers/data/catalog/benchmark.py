"""The benchmark of real generators, rebuilt on this machine from the public homes of its pictures.

The project carries a table without images: for each tile the repository, commit and path of its original, the
original's SHA-256, what happened to it, where it was cut, and the tile's own SHA-256. An original is fetched, checked,
and treated alike:

1. decoded; of StyleGAN2 and DALL-E 2 the lowest 40 rows, which hold a mark, are cut off;
2. encoded as the column `history` says: `jpeg-own` leaves it as it is, `jpeg-85` encodes at quality 85, 4:2:0;
3. cut at native resolution, and encoded at quality 95, 4:4:4.

With the libjpeg-turbo of Pillow's wheels the tiles are equal to the byte. Another JPEG library may round otherwise: a
tile passes as near if its perceptual hash differs in at most `NEAR_BITS` of 64 bits and its mean colour by at most
`NEAR_LEVELS` of 255 levels, and the manifest says which tiles those are.

Left out: the controlled track and pictures of Debian packages, whose originals have no such home.
"""

import hashlib
import io
import lzma
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from helpers.data.catalog.downloads import DownloadError, OfflineError, check_space, fetch
from helpers.data.duplicates import perceptual_hash
from helpers.data.files import write_atomic
from helpers.data.images import Image, ImageError, crop, decode, encode_jpeg
from helpers.data.manifest import ManifestError, read_manifest, write_manifest
from helpers.data.places import shipped

__all__ = ["GITHUB", "Rebuilt", "carried", "get_benchmark", "rebuild", "table_from", "verdict_of"]

GITHUB = "https://raw.githubusercontent.com"
NEAR_BITS, NEAR_LEVELS = 2, 2
_MARKED = {"stylegan2": 40, "dalle-2": 40}
_TILE_BYTES, _SPARE = 40_000, 500_000_000
_CUT = ("crop_x", "crop_y", "width", "height")

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Rebuilt:
    """What became of the tiles.

    Attributes:
        identical: Tiles with the bytes of ours.
        near: Tiles within the stated tolerance.
        failed: Path of each other tile -> why.
    """

    identical: int
    near: int
    failed: dict[str, str]


def carried() -> pd.DataFrame:
    """Load the carried table: manifest columns, and what is needed to rebuild each tile.

    Returns:
        Manifest with the further columns of the benchmark, `look` (perceptual hash) and `colour` (mean red, green and
        blue, hexadecimal).

    Raises:
        PlaceError: The table is not there.
    """
    text = lzma.decompress(shipped("catalog", "benchmark.csv.xz").read_bytes())
    df = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False)
    return df.astype(dict.fromkeys(_CUT, "int64"))


def table_from(folder: Path) -> bytes:
    """Make the carried table from the benchmark itself; for its keepers.

    Args:
        folder: Holds manifest.csv and images.

    Returns:
        Compressed CSV, the same bytes every time.
    """
    df = read_manifest(folder / "manifest.csv").drop(columns="origin")
    df = df[(df["track"] != "controlled-128") & ~df["origin_repo"].str.startswith("Debian")]
    looks = [_look(decode((folder / path).read_bytes(), path)) for path in df["path"]]
    df = df.assign(look=[look for look, _ in looks], colour=[colour for _, colour in looks])
    text = df.to_csv(index=False, lineterminator="\n").encode()
    return lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)


def _look(img: Image) -> tuple[str, str]:
    """Describe a tile in eleven bytes: its perceptual hash and its mean colour."""
    means = img.float().mean(dim=(1, 2)).round().int().tolist()
    return perceptual_hash(img), bytes(means).hex()


# One tile


def rebuild(original: bytes, row: pd.Series) -> bytes:
    """Make one tile from its original.

    Args:
        original: The file as its public home holds it.
        row: Its row of the carried table.

    Returns:
        JPEG bytes.

    Raises:
        ImageError: The original cannot be decoded, or is smaller than the cut.
    """
    img = decode(original, str(row["origin_path"]))
    if strip := _MARKED.get(str(row["generator"]), 0):
        img = img[:, :-strip]
    for step in str(row["history"]).split("+"):
        if step != "jpeg-own":
            img = decode(encode_jpeg(img, int(step.removeprefix("jpeg-")), "4:2:0"))
    left, top, width, height = (int(row[name]) for name in _CUT)
    return encode_jpeg(crop(img, top, left, height, width), 95, "4:4:4")


def verdict_of(tile: bytes, row: pd.Series) -> str:
    """Compare a tile with ours.

    Args:
        tile: JPEG bytes.
        row: Its row of the carried table.

    Returns:
        "identical", "near", or "other".
    """
    if hashlib.sha256(tile).hexdigest() == row["sha256"]:
        return "identical"
    look, colour = _look(decode(tile))
    bits = (int(look or "0", 16) ^ int(str(row["look"]) or "0", 16)).bit_count()
    levels = [abs(a - b) for a, b in zip(bytes.fromhex(colour), bytes.fromhex(str(row["colour"])), strict=True)]
    return "near" if bits <= NEAR_BITS and max(levels) <= NEAR_LEVELS else "other"


# All tiles


def get_benchmark(
    rows: pd.DataFrame,
    target: Path,
    *,
    home: str = GITHUB,
    workers: int = 8,
    progress: Progress = iter,
    tries: int = 4,
    timeout: float = 30.0,
) -> Rebuilt:
    """Rebuild tiles and write their manifest; tiles that are there already are kept, so a second call does the rest.

    Args:
        rows: Rows of `carried()`.
        target: Folder of the data set.
        home: Address that repository, commit and path follow; a mirror of GitHub's raw files.
        workers: Originals at a time.
        progress: Wraps the originals as they are done, such as `tqdm`.
        tries: How often a download is tried.
        timeout: Seconds without a byte after which a server counts as stalled.

    Returns:
        Counts, and what failed.

    Raises:
        OfflineError: The server cannot be reached.
        DownloadError: The disk is too small.
    """
    near = _near_before(target)
    todo = rows[[not _is_done(target, row, near) for _, row in rows.iterrows()]] if len(rows) else rows
    check_space(target, len(todo) * _TILE_BYTES + (_SPARE if len(todo) else 0))
    originals = [part for _, part in todo.groupby("orig_sha256", sort=False)]

    def work(part: pd.DataFrame) -> dict[str, str]:
        return _rebuild_part(part, target, home, tries, timeout)

    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        for outcome in progress(pool.map(work, originals)):
            near |= {path for path, said in outcome.items() if said == "near"}
            failed |= {path: said for path, said in outcome.items() if said not in ("identical", "near")}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        kept = _write_table(rows, target, near)
    return Rebuilt(int((kept == "identical").sum()), int((kept == "near").sum()), failed)


def _rebuild_part(part: pd.DataFrame, target: Path, home: str, tries: int, timeout: float) -> dict[str, str]:
    """Fetch one original and cut all its tiles: path -> "identical", "near", or why not."""
    first = part.iloc[0]
    url = f"{home}/{first['origin_repo']}/{first['origin_commit']}/{quote(str(first['origin_path']))}"
    place = target / ".originals" / str(first["orig_sha256"])
    try:
        original = fetch(url, place, str(first["orig_sha256"]), tries=tries, timeout=timeout).read_bytes()
    except OfflineError:
        raise
    except DownloadError as error:
        return dict.fromkeys(part["path"], str(error))
    outcome = {}
    for _, row in part.iterrows():
        try:
            tile = rebuild(original, row)
            said = verdict_of(tile, row)
        except ImageError as error:
            outcome[row["path"]] = str(error)
            continue
        if said != "other":
            write_atomic(target / str(row["path"]), tile)
        outcome[row["path"]] = said if said != "other" else "the rebuilt tile differs by more than the tolerance"
    place.unlink(missing_ok=True)
    return outcome


def _is_done(target: Path, row: pd.Series, near: set[str]) -> bool:
    """Tell whether a tile lies there as it should."""
    place = target / str(row["path"])
    if not place.is_file():
        return False
    return str(row["path"]) in near or hashlib.sha256(place.read_bytes()).hexdigest() == row["sha256"]


def _near_before(target: Path) -> set[str]:
    """List the tiles that an earlier call accepted as near, and whose bytes have not changed since."""
    try:
        df = read_manifest(target / "manifest.csv")
    except ManifestError:
        return set()
    near = df[df["rebuilt"] == "near"] if "rebuilt" in df else df.iloc[:0]
    same = [
        (target / path).is_file() and hashlib.sha256((target / path).read_bytes()).hexdigest() == sha256
        for path, sha256 in zip(near["path"], near["sha256"], strict=True)
    ]
    return set(near.loc[same, "path"])


def _write_table(rows: pd.DataFrame, target: Path, near: set[str]) -> "pd.Series":
    """Write the manifest of all tiles that lie there; return which of them are identical and which near."""
    there = rows[[(target / str(path)).is_file() for path in rows["path"]]].drop(columns=["look", "colour"])
    there = there.assign(
        rebuilt=["near" if path in near else "identical" for path in there["path"]],
        sha256=[hashlib.sha256((target / str(path)).read_bytes()).hexdigest() for path in there["path"]],
        origin=[
            "/".join((f"{repo}@{commit}", path))
            for repo, commit, path in zip(
                there["origin_repo"], there["origin_commit"], there["origin_path"], strict=True
            )
        ],
    )
    if len(there):
        write_manifest(there, target / "manifest.csv")
    with suppress(OSError):
        (target / ".originals").rmdir()  # empty, unless an original is still wanted
    return there["rebuilt"]
