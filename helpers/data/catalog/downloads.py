"""Files from the network, whole and checked or not at all: a thin layer over pooch and huggingface_hub.

pooch writes to a temporary file, compares the SHA-256, renames, and tries again after a pause. Added here: no second
try for what is gone, a pause as long as the server asks for, and one line for each way in which a download fails.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from helpers.errors import NaturalTracesError, printable

__all__ = ["DownloadError", "OfflineError", "check_space", "fetch", "fetch_hub"]

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as stalled."""
TRIES = 4
LONGEST_PAUSE = 60.0


class DownloadError(NaturalTracesError):
    """A file that cannot be had; the message says from where and why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{printable(url)}: {printable(' '.join(reason.split()))}")
        self.url = url


class OfflineError(DownloadError):
    """No way to the server: further files from it need not be tried."""


class _GoneError(LookupError):
    """What a server refuses for good; no ValueError, which pooch would try again."""


def fetch(url: str, path: Path, sha256: str | None, *, tries: int = TRIES, timeout: float = TIMEOUT) -> Path:
    """Download one file, unless it is there already.

    Args:
        url: Address.
        path: Where it shall lie; its folder is made.
        sha256: Of the content, hexadecimal; None where nobody has stated it.
        tries: How often.
        timeout: Seconds without a byte.

    Returns:
        The path.

    Raises:
        OfflineError: The server cannot be reached.
        DownloadError: It refuses, stalls, breaks off, or sends other bytes than expected, each time.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    known = f"sha256:{sha256}" if sha256 else None
    keeper = pooch.create(
        path.parent, base_url="", registry={path.name: known}, urls={path.name: url}, retry_if_failed=tries - 1
    )
    try:
        return Path(keeper.fetch(path.name, downloader=_polite(timeout)))
    except _GoneError as error:
        raise DownloadError(url, str(error)) from None
    except requests.exceptions.Timeout:
        raise DownloadError(url, f"stalls: no byte for {timeout:g} seconds") from None
    except requests.exceptions.ConnectionError as error:
        if "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error) or "ProxyError" in repr(error):
            raise OfflineError(url, "the server cannot be reached; is this machine offline?") from None
        raise DownloadError(url, f"breaks off: {error}") from None
    except requests.exceptions.HTTPError as error:
        raise DownloadError(url, f"answers {_status(error)}") from None
    except requests.exceptions.RequestException as error:
        raise DownloadError(url, f"breaks off: {error}") from None
    except ValueError:
        raise DownloadError(url, f"sends other bytes than expected (SHA-256 {sha256})") from None
    except OSError as error:
        raise DownloadError(url, f"cannot be written: {error.strerror or error}") from None


def _polite(timeout: float) -> Any:  # noqa: ANN401
    """Make a downloader that heeds what a server says about trying again."""
    import pooch
    import requests

    plain = pooch.HTTPDownloader(timeout=timeout)

    def download(url: str, output: Any, keeper: Any, check_only: bool = False) -> Any:  # noqa: ANN401
        try:
            return plain(url, output, keeper, check_only)
        except requests.exceptions.HTTPError as error:
            status = _status(error)
            if status in (408, 425, 429) or status >= 500:
                headers = {} if error.response is None else error.response.headers
                time.sleep(_pause(headers.get("Retry-After", "0")))
                raise
            raise _GoneError(f"answers {status}") from None

    return download


def _status(error: Any) -> int:  # noqa: ANN401
    return 0 if error.response is None else int(error.response.status_code)


def _pause(asked: str) -> float:
    """Read how many seconds a server asks to wait; pooch adds a pause of its own."""
    return min(float(asked), LONGEST_PAUSE) if asked.strip().isdigit() else 0.0


def fetch_hub(name: str, target: Path, *, revision: str | None = None, workers: int = 8) -> Path:
    """Download a data set of the Hugging Face Hub; what is there already is kept.

    Args:
        name: Such as "OwensLab/CommunityForensics-Small".
        target: Folder.
        revision: Branch, tag or commit; the newest when None.
        workers: How many files at a time.

    Returns:
        The folder.

    Raises:
        DownloadError: Anything that the library reports.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(name, repo_type="dataset", revision=revision, local_dir=target, max_workers=workers)
    except Exception as error:  # the library raises many kinds, from its own to those of its HTTP client
        raise DownloadError(f"hub:{name}", str(error).strip().splitlines()[0] if str(error) else repr(error)) from None
    return target


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what will not fit on the disk.

    Args:
        folder: Where files will lie; it need not exist.
        needed: Bytes.

    Raises:
        DownloadError: Fewer are free.
    """
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DownloadError(str(folder), f"needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
