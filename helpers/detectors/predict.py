"""One row for each image, as images come: score, probability, verdict, or why it was refused."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from helpers.data.images import Image, decode, from_pil, read_image
from helpers.errors import NaturalTracesError
from helpers.evaluation.metrics import Verdict

if TYPE_CHECKING:
    from helpers.detectors.base import Detector

__all__ = ["GENERATED", "PHOTOGRAPH", "InputError", "Prediction", "Source", "as_image", "judged", "predict"]

PHOTOGRAPH: Verdict = "photograph"
GENERATED: Verdict = "generated"


class InputError(NaturalTracesError):
    """An input that is no image."""


@dataclass(frozen=True)
class Source:
    """An image that lies where no path leads, such as in a bucket or in a table.

    Attributes:
        name: What its row is called.
        read: Fetches the bytes of the image file; may raise `ImageError`.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Prediction:
    """What a detector says of one image.

    Attributes:
        path: The file as it was named; "image N" for the N-th input that is no file, counted from 0.
        score: Higher means more like a generated image; None where the input was refused.
        probability: Calibrated, of being generated where half of all images are; None where it was refused.
        verdict: "photograph", "generated" or, from a detector that keeps the scores of held-out pictures,
            "inconclusive"; without them "generated" from the threshold on. None where the input was refused.
        error: Why the input was refused, in one clause, or None.
        p_photograph: Share of known photographs that look at least as generated; None without known scores.
        p_generated: Share of known generated pictures that look at least as natural.
    """

    path: str
    score: float | None
    probability: float | None
    verdict: str | None
    error: str | None
    p_photograph: float | None = None
    p_generated: float | None = None


def predict(
    detector: "Detector",
    inputs: Any,  # noqa: ANN401
    *,
    batch: int | None = None,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Score images one after the other, however many there are.

    Args:
        detector: Trained.
        inputs: One input or many. An input is the path of a file; a `Source`; a Pillow picture; a uint8 array
            (H, W, 3), (H, W, 4) or (H, W); or a uint8 tensor (3, H, W) or (1, H, W). Transparent pixels lie on the
            ground that `from_pil` documents. Many are any iterable, or an array or tensor with one axis more.
        batch: Images at a time; 16 on a processor and 64 on a GPU when None.
        workers: Threads that read and decode ahead; 2 when None.

    Yields:
        One row for each input, in order. What cannot be read is a row with its error.
    """
    from helpers.detectors.base import batch_sizes, read_ahead

    def prepared(item: tuple[int, Any]) -> tuple[str, list[Image] | str]:
        number, value = item
        name = _name_of(value, number)
        try:
            return str(name), [view.clone() for view in detector.views(as_image(value))]
        except NaturalTracesError as error:
            return str(name), str(error).removeprefix(f"{name}: ")

    size = batch or batch_sizes(detector.device)[0]
    stream = read_ahead(prepared, enumerate(_many(inputs)), workers or 2, 2 * size)
    while part := list(islice(stream, size)):
        cut = [views for _, views in part if not isinstance(views, str)]
        scores = iter(detector.score_cut(cut) if cut else ())
        for name, views in part:
            yield (
                Prediction(name, None, None, None, views)
                if isinstance(views, str)
                else _row(detector, name, float(next(scores)))
            )


def judged(detector: "Detector", score: float) -> tuple[Verdict, float | None, float | None]:
    """Turn a score into a verdict.

    Args:
        detector: Trained.
        score: Of one image.

    Returns:
        Verdict, and the p-values of "photograph" and of "generated"; None for a detector without known scores, whose
        verdict is that of the threshold.
    """
    known = detector.conformal
    if known is None:
        return (GENERATED if score >= detector.threshold else PHOTOGRAPH), None, None
    (p_photograph,), (p_generated,) = known.p_values([score])
    return known.verdicts([score])[0], float(p_photograph), float(p_generated)


def _row(detector: "Detector", name: str, score: float) -> Prediction:
    verdict, p_photograph, p_generated = judged(detector, score)
    probability = float(detector.probability(np.array([score]))[0])
    return Prediction(name, score, probability, verdict, None, p_photograph, p_generated)


def _name_of(value: Any, number: int) -> str:  # noqa: ANN401
    if isinstance(value, Source):
        return value.name
    return str(fspath(value)) if isinstance(value, str | PathLike) else f"image {number}"


def _many(inputs: Any) -> Iterable[Any]:  # noqa: ANN401
    """Make a list of one input."""
    one = isinstance(inputs, str | PathLike | Source | PillowImage.Image) or (
        isinstance(inputs, np.ndarray | Tensor) and inputs.ndim < 4
    )
    return [inputs] if one else inputs


def as_image(value: Any) -> Image:  # noqa: ANN401
    """Read or convert one input.

    Args:
        value: See `predict`.

    Returns:
        Image, uint8 (3, H, W).

    Raises:
        ImageError: The file cannot be read.
        InputError: It is something else, or has another shape or type.
    """
    if isinstance(value, str | PathLike):
        return read_image(Path(fspath(value)))
    if isinstance(value, Source):
        return decode(value.read(), value.name)
    if isinstance(value, PillowImage.Image):
        return from_pil(value)
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if isinstance(value, Tensor):
        return _from_tensor(value)
    raise InputError(f"a {type(value).__name__}, where a path, a Pillow picture, an array or a tensor is needed")


def _from_array(array: np.ndarray) -> Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        wanted = "uint8 (H, W, 3), (H, W, 4) or (H, W) with 0 to 255"
        raise InputError(f"an array of {array.dtype} {array.shape}, where {wanted} is needed")
    return from_pil(PillowImage.fromarray(np.ascontiguousarray(array)))


def _from_tensor(tensor: Tensor) -> Image:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        kind = str(tensor.dtype).removeprefix("torch.")
        wanted = "uint8 (3, H, W) or (1, H, W) with 0 to 255"
        raise InputError(f"a tensor of {kind} {tuple(tensor.shape)}, where {wanted} is needed")
    return tensor.detach().cpu().expand(3, -1, -1).contiguous()
