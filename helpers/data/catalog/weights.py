"""Weights of other people's networks that a training may use: files with a known home and a known SHA-256.

The small autoencoders of real generators (see `helpers.pixels.autoencoders`) are their author's, under the MIT licence.
The files named here are the half-precision copies that this project was trained with; the author publishes the same
networks on the Hub as madebyollin/taesd, taesd3 and taef1.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from helpers.data.catalog.benchmark import GITHUB
from helpers.data.catalog.downloads import TIMEOUT, TRIES, check_space, fetch
from helpers.data.manifest import ManifestError, Problem
from helpers.data.places import data_root

__all__ = ["WEIGHTS", "WeightFiles", "get_weights", "verify_weights", "weights_folder"]


class WeightFiles:
    """Files of weights at one public home.

    Args:
        home: Repository, commit and folder, below an address like that of GitHub's raw files.
        sha256: File -> SHA-256 of its content.
        size: Bytes of all of them.
    """

    def __init__(self, home: str, sha256: Mapping[str, str], size: int) -> None:
        self.home, self.sha256, self.size = home, MappingProxyType(dict(sha256)), size


WEIGHTS: dict[str, WeightFiles] = {
    "autoencoders": WeightFiles(
        "joshellis625/ComfyUI/9360bbca8af3fcc01b4f23ed494d127f609442ab/models/vae_approx",
        {
            "taesd_encoder.safetensors": "a6b8c0fda4aad50784e543389e0239c72c5e31e9775c9e612ea8333bf3a77dcb",
            "taesd_decoder.safetensors": "d903e7cc3ae58f21d985a3498a841fa8b230edccff7ac5d27607b0c557945c6f",
            "taesd3_encoder.safetensors": "e5c96f3476bd26fe73e96d701a694f40d7ab48a290494cbbf70a3697d09cab4a",
            "taesd3_decoder.safetensors": "e940e227e2a41919f0735ec423129724666f8b949c8bbce7a04b78ecfb4667de",
            "taef1_encoder.safetensors": "19f5a854ce575fd0a1c0a52938410cf5fb4dc4b8ae71c8887533646d8fe47030",
            "taef1_decoder.safetensors": "bb41500b646d5b8b592b7f3ca5d20d888c3075e209d178d99af609cd7e02a1d4",
        },
        14_758_834,
    )
}
"""Sets of files by their name in the catalogue."""


def get_weights(
    name: str, target: Path, *, home: str = GITHUB, workers: int = 8, tries: int = TRIES, timeout: float = TIMEOUT
) -> list[Path]:
    """Fetch the files of a set; what is there already and sound is kept.

    Args:
        name: Of `WEIGHTS`.
        target: Folder.
        home: Address that repository, commit and path follow; a mirror of GitHub's raw files.
        workers: Files at a time.
        tries: How often each is tried.
        timeout: Seconds without a byte after which a server counts as stalled.

    Returns:
        The files.

    Raises:
        OfflineError: The server cannot be reached.
        DownloadError: A file cannot be had, or the disk is too small; files that arrived stay.
    """
    known = WEIGHTS[name]
    check_space(target, 2 * known.size)

    def work(item: tuple[str, str]) -> Path:
        file, sha256 = item
        return fetch(f"{home}/{known.home}/{file}", target / file, sha256, tries=tries, timeout=timeout)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, known.sha256.items()))


def verify_weights(name: str, folder: Path) -> list[Problem]:
    """Compare every file of a set with its SHA-256.

    Args:
        name: Of `WEIGHTS`.
        folder: Where they lie.

    Returns:
        What is wrong; empty when all is well.
    """
    problems = []
    for file, expected in WEIGHTS[name].sha256.items():
        if not (folder / file).is_file():
            problems.append(Problem(file, "missing", "no such file"))
        elif (digest := hashlib.sha256((folder / file).read_bytes()).hexdigest()) != expected:
            problems.append(Problem(file, "hash", f"SHA-256 is {digest}"))
    return problems


def weights_folder(text: str) -> Path:
    """Find the folder that a setting means: a folder, or a set of the catalogue by its name.

    Args:
        text: Path, or name of `WEIGHTS`.

    Returns:
        The folder; of a path that names no set, the path itself.

    Raises:
        ManifestError: A set that does not lie on this machine.
    """
    if text not in WEIGHTS or Path(text).is_dir():
        return Path(text)
    folder = data_root() / text
    if missing := [file for file in WEIGHTS[text].sha256 if not (folder / file).is_file()]:
        raise ManifestError(f"{text}: {missing[0]} is not in {folder}; `natural-traces data get {text}` fetches it")
    return folder
