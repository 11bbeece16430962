"""A detector's network in ONNX Runtime: the same scores, and a third of the time on a processor.

`load_detector(setting="fast")` uses it where the extra `fast` is installed. Measured by `bench backends` on one core,
the shipped detector on windows of 240 pixels; docs/cluster.md has the numbers. Channels-last is what `score_cut` does
anyway; OpenVINO was no faster in float32, and bfloat16 moves scores.

A network is exported for windows of one size, those of a large image: padding depends on the size, so others are
judged by torch.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from helpers.detectors.base import Detector
from helpers.errors import NaturalTracesError

__all__ = ["RuntimeNetwork", "RuntimeUnavailableError", "accelerate", "export"]

TOLERANCE = 1e-3
"""Largest difference of a score from torch's; a network that differs by more is not used."""


class RuntimeUnavailableError(NaturalTracesError):
    """ONNX Runtime is not installed, or this network cannot be run by it."""


class _Logit(nn.Module):
    """The part of a detector that is exported."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        return self.detector.logit(images)


def export(detector: Detector, side: int) -> bytes:
    """Export a detector's `logit` for square windows.

    Args:
        detector: Trained, on the processor.
        side: Of the windows, in pixels.

    Returns:
        The network in the ONNX format: uint8 (n, 3, side, side) -> float (n,).

    Raises:
        RuntimeUnavailableError: It holds something that the format does not know.
    """
    example = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    axes = {"images": {0: "n"}, "scores": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["scores"], "dynamic_axes": axes}
    try:
        with warnings.catch_warnings(), TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            path = Path(folder) / "network.onnx"
            torch.onnx.export(_Logit(detector).eval(), (example,), path, dynamo=False, opset_version=17, **names)
            return path.read_bytes()
    except Exception as error:  # the exporter raises many kinds
        raise RuntimeUnavailableError(f"{detector.name}: cannot be exported: {str(error).splitlines()[0]}") from None


class RuntimeNetwork:
    """A network in ONNX Runtime, with as many threads as torch has.

    Args:
        detector: Trained, on the processor.

    Raises:
        RuntimeUnavailableError: ONNX Runtime is not installed, or its scores differ from torch's.
    """

    def __init__(self, detector: Detector) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeUnavailableError("ONNX Runtime is not installed: pip install natural-traces[fast]") from None
        self.side = detector.config.window
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        data = export(detector, self.side)
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.difference = self._difference(detector)
        if not self.difference <= TOLERANCE:
            raise RuntimeUnavailableError(f"{detector.name}: scores differ by {self.difference:.2g} from torch's")

    def fits(self, images: Tensor) -> bool:
        """Tell whether these windows are of the exported size, and on the processor."""
        return images.device.type == "cpu" and tuple(images.shape[-2:]) == (self.side, self.side)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, side, side) -> (n,)."""
        scores = self.session.run(None, {"images": images.contiguous().numpy()})[0]
        return torch.from_numpy(scores)

    @torch.inference_mode()
    def _difference(self, detector: Detector) -> float:
        """Compare with torch on coarse noise, which is nearer to a picture than fine noise."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randint(0, 256, (3, 3, 8, 8), generator=generator).float()
        images = nn.functional.interpolate(coarse, (self.side, self.side), mode="bilinear").to(torch.uint8)
        return float((self(images) - detector.logit(images)).abs().max())


def accelerate(detector: Detector) -> Detector:
    """Let ONNX Runtime judge the windows of large images, where it is installed and can; else change nothing.

    Args:
        detector: Trained, on the processor.

    Returns:
        The same detector.
    """
    try:
        detector.runtime = RuntimeNetwork(detector.eval())
    except RuntimeUnavailableError:
        detector.runtime = None
    return detector
