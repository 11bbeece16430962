"""The public face: load a detector, score images, add a detector of one's own.

In a few lines::

    from helpers import load_detector

    detector = load_detector()                   # the one that ships
    detector = load_detector("runs/mine")        # one of your own, by its folder
    for row in detector.predict(["a.jpg", array, tensor]):
        print(row.path, row.score, row.probability, row.verdict, row.error)

`helpers` passes these names on, and imports this module when one of them is used. May import every room of the
library; lessons and the command line may import it.
"""

from pathlib import Path

import torch

from helpers.data.places import data_dir, shipped
from helpers.detectors import registry
from helpers.detectors.base import CARD, Detector, Prediction
from helpers.detectors.config import DetectorError
from helpers.detectors.registry import list_detectors, register

__all__ = [
    "SHIPPED",
    "Detector",
    "Prediction",
    "detector_folder",
    "list_detectors",
    "load_detector",
    "register",
    "shipped_detectors",
]

SHIPPED = "ntf_pretrained"
"""The detector that is used where none is named."""


def shipped_detectors() -> list[str]:
    """List the trained detectors that ship with the package, by name."""
    return sorted(path.parent.name for path in (data_dir() / "detectors").glob(f"*/{CARD}"))


def detector_folder(which: str | Path | None = None) -> Path:
    """Find a trained detector.

    Args:
        which: Folder that `train` wrote; or name of a shipped detector; None for the one that is used by default.

    Returns:
        Its folder.

    Raises:
        DetectorError: There is no such folder, and no shipped detector of this name.
    """
    if which is None:
        return shipped("detectors", SHIPPED)
    if Path(which).is_dir():
        return Path(which)
    if str(which) in shipped_detectors():
        return shipped("detectors", str(which))
    raise DetectorError(
        f"{which}: holds no detector: there is no such folder, and none of this name ships "
        f"(shipped: {', '.join(shipped_detectors())})"
    )


def load_detector(which: str | Path | None = None, *, device: str | None = None, setting: str = "default") -> Detector:
    """Load a trained detector, ready to score.

    Args:
        which: Folder that `train` wrote; or name of a shipped detector; None for the one that is used by default.
        device: Such as "cpu", "cuda", "cuda:1" or "mps"; "auto" for a GPU if there is one; None for the processor.
        setting: "default", or "fast": fewer windows of a large image, see `DetectorConfig.fast_windows`.

    Returns:
        The detector.

    Raises:
        DetectorError: There is no such detector, device or setting.
        StorageError: The weights are unsound.
    """
    detector = registry.load_detector(detector_folder(which))
    detector.config = detector.config.at(setting)
    return detector if device is None else detector.to(find_device(device))


def find_device(name: str) -> str:
    """Check the name of a device.

    Args:
        name: As torch calls it; "auto" for a GPU if there is one.

    Returns:
        The name for torch.

    Raises:
        DetectorError: This machine has no such device.
    """
    if name == "auto":
        gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return next((gpu for gpu, there in gpus.items() if there), "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DetectorError(f"{name}: no such device here: {str(error).splitlines()[0]}") from None
    return name
