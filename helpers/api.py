"""The public face: load a detector, score images, add a detector of one's own.

In a few lines::

    from helpers import load_detector

    detector = load_detector()                   # the one that ships
    detector = load_detector("runs/mine")        # one of your own, by its folder
    for row in detector.predict(["a.jpg", array, tensor]):
        print(row.path, row.score, row.probability, row.verdict, row.error)
    print(explain("a.jpg", detector, base_rate=0.1).text)

`helpers` passes these names on, and imports this module when one of them is used. May import every room of the
library; lessons and the command line may import it.
"""

from pathlib import Path
from typing import Any

import torch

from helpers.data.places import data_dir, shipped
from helpers.detectors import registry
from helpers.detectors.base import CARD, Detector, Prediction
from helpers.detectors.config import DetectorError
from helpers.detectors.registry import list_detectors, register
from helpers.detectors.statement import Statement
from helpers.detectors.statement import explain as explain_with

__all__ = [
    "SHIPPED",
    "Detector",
    "Prediction",
    "Statement",
    "detector_folder",
    "explain",
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
        setting: "default", or "fast": fewer windows of a large image, see `DetectorConfig.fast_windows`, and on a
            processor ONNX Runtime where it is installed, see `helpers.detectors.runtime`.

    Returns:
        The detector.

    Raises:
        DetectorError: There is no such detector, device or setting.
        StorageError: The weights are unsound.
    """
    detector = registry.load_detector(detector_folder(which))
    detector.config = detector.config.at(setting)
    detector = detector if device is None else detector.to(find_device(device))
    if setting == "fast" and detector.device.type == "cpu":
        from helpers.detectors.runtime import accelerate

        return accelerate(detector)
    return detector


def explain(
    picture: Any,  # noqa: ANN401
    detector: Detector | None = None,
    base_rate: float = 0.5,
    *,
    name: str | None = None,
) -> Statement:
    """State what can be said of one picture, see `helpers.detectors.statement.explain`.

    Args:
        picture: The path of a file; the bytes of one; a Pillow picture, an array or a tensor.
        detector: Trained; the one that is used by default when None (loading it takes seconds: pass it for many).
        base_rate: Share of generated pictures among those that are asked about, above 0 and below 1.
        name: What to call it; the path, or "image", when None.

    Returns:
        Verdict, probability, likelihood ratio, p-values, map, neighbours, traces of processing, claims of the file.

    Raises:
        ImageError: The file cannot be read.
        InputError: It is no picture.
        DetectorError: It is smaller than any detector can judge.
        MetricError: The base rate is no such share.
    """
    return explain_with(picture, load_detector() if detector is None else detector, base_rate, name=name)


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
