"""Exercises of lesson 02: the spectrum after upsampling, and a fingerprint by averaging residuals."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.course.compare import agrees, completes, difference, has_shape, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
from helpers.statistics.residuals import KERNELS, fingerprint, kernel_response, predicted_spectrum, zero_insert

__all__ = ["EXERCISES", "check"]

# 2.1 · The spectrum after upsampling

COPIES = "Frequency k of the large picture holds frequency k mod H of the small one: lay the spectrum side by side."
PRODUCT = "Convolving with a kernel multiplies the spectrum by the kernel's own transform."
BOTH = "The kernel runs along the rows and along the columns, so its response appears twice."
PHASE = "Keep the response complex: its size alone would move the picture."
GAIN = "Nothing is divided: zeros between the pixels add no power, and the kernel's own sum does the rest."
POINTS = "Transform the kernel with as many points as the large picture has, not as the small one."
SUMMED = "The kernel runs along rows and along columns: multiply the two responses, do not add them."
SQUARE = "Transform the kernel once for the rows and once for the columns: their numbers may differ."
SIZES = "Take both sizes from the spectrum: a picture need not be square, and the factor need not be 2."


def _picture(height: int = 6, width: int = 10, seed: int = 0) -> Tensor:
    return torch.rand((height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _inputs(kernel: str, factor: int = 2) -> tuple[Tensor, Tensor, int]:
    return torch.fft.fft2(_picture()), KERNELS[kernel].double(), factor


def _repeats(attempt: Function) -> str | None:
    for factor in (2, 3):
        measured = torch.fft.fft2(zero_insert(_picture(), factor))
        failure = difference(attempt(*_inputs("zeros", factor)), measured, 1e-6)
        if failure:
            return f"factor {factor}: {failure}"
    return None


def _unlike_2_1(mistake: Function, what: str) -> Any:  # noqa: ANN401 - the shape of a property's test
    return unlike(mistake, lambda: _inputs("bilinear"), what)


def _kernel_matters(attempt: Function) -> str | None:
    same = difference(attempt(*_inputs("nearest")), attempt(*_inputs("zeros"))) is None
    return "the kernel changes nothing" if same else None


def _stretched(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    large = spectrum.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    return large * kernel_response(kernel, *large.shape)


def _rows_only(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    copies = spectrum.repeat(factor, factor)
    response: Tensor = torch.fft.fft(kernel.double(), n=copies.shape[0])[:, None]
    return copies * response


def _responses(kernel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.fft.fft(kernel.double(), n=size) for size in (height, width))
    return rows, columns


def _size_of_the_response(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    copies = spectrum.repeat(factor, factor)
    return copies * kernel_response(kernel, *copies.shape).abs()


def _divided(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    return predicted_spectrum(spectrum, kernel, factor) / factor**2


def _response_of_the_small(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    return (spectrum * kernel_response(kernel, *spectrum.shape)).repeat(factor, factor)


def _added(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    copies = spectrum.repeat(factor, factor)
    rows, columns = _responses(kernel, *copies.shape)
    return copies * (rows[:, None] + columns[None, :])


def _square_only(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    copies = spectrum.repeat(factor, factor)
    response: Tensor = torch.fft.fft(kernel.double(), n=len(copies))
    return copies * torch.outer(response, response)


def _by_remainder(spectrum: Tensor, kernel: Tensor, factor: int) -> Tensor:
    height, width = spectrum.shape
    down, right = torch.arange(factor * height), torch.arange(factor * width)
    rows, columns = _responses(kernel, len(down), len(right))
    return spectrum[down % height][:, right % width] * rows[:, None] * columns[None, :]


def _tiled(spectrum: Tensor, kernel: Tensor, factor: int) -> Any:  # noqa: ANN401
    copies = np.tile(spectrum.numpy(), (factor, factor))
    rows, columns = (np.fft.fft(kernel.numpy(), n=size) for size in copies.shape)
    return np.einsum("hw,h,w->hw", copies, rows, columns)


UPSAMPLING = Exercise(
    id="2.1",
    title="The spectrum after upsampling",
    reference=predicted_spectrum,
    properties=(
        Property(
            "a picture need not be square",
            completes(lambda: _inputs("zeros", 3), RuntimeError, says="must match"),
            hint=SQUARE,
        ),
        Property("the response is complex", _unlike_2_1(_size_of_the_response, "sizes without phases"), hint=PHASE),
        Property("nothing is divided", _unlike_2_1(_divided, "a division by factor ** 2"), hint=GAIN),
        Property(
            "the response has the large picture's points",
            _unlike_2_1(_response_of_the_small, "the response of the small picture"),
            hint=POINTS,
        ),
        Property("the responses multiply", _unlike_2_1(_added, "responses added"), hint=SUMMED),
        Property(
            "the large spectrum has factor times the sides", has_shape(lambda: _inputs("zeros", 3), (18, 30)), SIZES
        ),
        Property("inserting zeros repeats the spectrum", _repeats, hint=COPIES),
        Property("a kernel changes the spectrum", _kernel_matters, hint=PRODUCT),
        Property(
            "agrees with the measured spectrum of repeated pixels",
            lambda attempt: difference(
                attempt(*_inputs("nearest")),
                torch.fft.fft2(_picture().repeat_interleave(2, 0).repeat_interleave(2, 1)),
                1e-6,
            ),
            hint=BOTH,
        ),
        Property(
            "agrees with the reference",
            agrees(predicted_spectrum, lambda: _inputs("bilinear", 3), tolerance=1e-6),
            hint="Try factor 2, a kernel of four taps and a picture of 2 x 3 pixels by hand.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("the spectrum is stretched", _stretched, hint=COPIES),
        WrongAnswer(
            "the kernel is forgotten", lambda spectrum, kernel, factor: spectrum.repeat(factor, factor), hint=PRODUCT
        ),
        WrongAnswer("the kernel runs along one axis only", _rows_only, hint=BOTH),
        WrongAnswer("the response without its phase", _size_of_the_response, hint=PHASE),
        WrongAnswer("divided by the factor", _divided, hint=GAIN),
        WrongAnswer("the response of the small picture", _response_of_the_small, hint=POINTS),
        WrongAnswer("responses added", _added, hint=SUMMED),
        WrongAnswer("one response for both axes", _square_only, hint=SQUARE),
        WrongAnswer("the factor is taken to be 2", lambda s, kernel, _: predicted_spectrum(s, kernel, 2), hint=SIZES),
    ),
    right_answers=(
        RightAnswer("indices by remainder, broadcasting", _by_remainder),
        RightAnswer("NumPy's tile and einsum", _tiled),
    ),
)

# 2.2 · A fingerprint by averaging

SIGNS = "A residual has signs, and content cancels because of them: average the residuals, not their sizes."
MEAN = "Subtract from each channel its mean: a residual that is brighter everywhere is no mark."
LENGTH = "Divide once by the length of the whole print: the root of the sum of all squares over all channels."
CHANNELS = "Every channel has a mean of its own: subtract over rows and columns, not over the channels too."
PIXELS = "Subtract one mean per channel, over its rows and columns, not the mean of the channels at every pixel."
SQUARED = "The length is the root of the sum of squares: a root is missing."
UNITS = "The standard deviation divides by the number of pixels; the length does not."
LARGEST = "Length 1, not largest value 1: divide by the root of the sum of squares."
ONCE = "Average first, then scale. Scaling each residual first gives a quiet picture as much say as a loud one."


def _residuals(seed: int = 0) -> Tensor:
    """Residuals of unequal strength with a common mark."""
    generator = torch.Generator().manual_seed(seed)
    loud = torch.linspace(0.2, 4, 12, dtype=torch.float64)[:, None, None, None]
    noise = torch.randn((12, 3, 8, 10), generator=generator, dtype=torch.float64)
    mark = torch.randn((3, 8, 10), generator=generator, dtype=torch.float64)
    return loud * noise + mark


def _opposites_cancel(attempt: Function) -> str | None:
    residuals = _residuals()
    mark = residuals[:1] - residuals[:1].mean(dim=(2, 3), keepdim=True)
    content = _residuals(seed=1)
    content = content - (content * mark).sum(dim=(1, 2, 3), keepdim=True) / mark.square().sum() * mark  # equal lengths
    pairs = torch.cat([mark + content, mark - content])
    return difference(attempt(pairs), fingerprint(mark), 1e-4)


def _brightness(attempt: Function) -> str | None:
    residuals = _residuals()
    shifted = residuals + torch.tensor([5.0, -3.0, 1.0], dtype=torch.float64)[:, None, None]
    return difference(attempt(shifted), attempt(residuals), 1e-4)


def _unit(attempt: Function) -> str | None:
    length = float(torch.as_tensor(attempt(_residuals())).double().square().sum().sqrt())
    return None if abs(length - 1) < 1e-4 else f"the print has length {length:.3f}, expected 1"


def _scaled(mean: Tensor) -> Tensor:
    return mean / mean.square().sum().sqrt()


def _centred(residuals: Tensor) -> Tensor:
    return residuals - residuals.mean(dim=(-2, -1), keepdim=True)


def _each_scaled(residuals: Tensor) -> Tensor:
    centred = _centred(residuals)
    lengths: Any = centred.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return _scaled((centred / lengths).mean(dim=0))


def _one_mean_for_all(residuals: Tensor) -> Tensor:
    mean = residuals.mean(dim=0)
    return _scaled(mean - mean.mean())


def _mean_over_channels(residuals: Tensor) -> Tensor:
    mean = residuals.mean(dim=0)
    return _scaled(mean - mean.mean(dim=0))


def _no_root(residuals: Tensor) -> Tensor:
    mean = _centred(residuals.mean(dim=0))
    return mean / mean.square().sum()


def _by_deviation(residuals: Tensor) -> Tensor:
    mean = _centred(residuals.mean(dim=0))
    return mean / mean.std()


def _by_largest(residuals: Tensor) -> Tensor:
    mean = _centred(residuals.mean(dim=0))
    return mean / mean.abs().max()


def _numpy_print(residuals: Tensor) -> Any:  # noqa: ANN401
    mean = residuals.numpy().sum(axis=0) / len(residuals)
    mean = mean - mean.mean(axis=(1, 2))[:, None, None]
    return mean / np.linalg.norm(mean)


def _centred_first(residuals: Tensor) -> Tensor:
    centred = torch.stack([residual - residual.mean(dim=(1, 2), keepdim=True) for residual in residuals])
    return torch.nn.functional.normalize(centred.mean(dim=0).flatten(), dim=0).reshape(residuals.shape[1:])


def _unlike_2_2(mistake: Function, what: str) -> Any:  # noqa: ANN401
    return unlike(mistake, lambda: (_residuals(2),), what, 1e-4)


FINGERPRINT = Exercise(
    id="2.2",
    title="A fingerprint by averaging",
    reference=fingerprint,
    properties=(
        Property(
            "one print of the residuals' size",
            has_shape(lambda: (_residuals(),), (3, 8, 10)),
            "Average over the images, which are the first axis.",
        ),
        Property("each channel has its mean", _unlike_2_2(_one_mean_for_all, "one mean for all channels"), CHANNELS),
        Property("a mean per channel", _unlike_2_2(_mean_over_channels, "means over channels"), hint=PIXELS),
        Property("the length is a root", _unlike_2_2(_no_root, "a division by the sum of squares"), hint=SQUARED),
        Property("not the deviation", _unlike_2_2(_by_deviation, "a division by the standard deviation"), hint=UNITS),
        Property("not the largest value", _unlike_2_2(_by_largest, "a division by the largest value"), hint=LARGEST),
        Property("brightness does not count", _brightness, hint=MEAN),
        Property("the print has length 1", _unit, hint=LENGTH),
        Property("content of opposite signs cancels", _opposites_cancel, hint=SIGNS),
        Property("agrees with the reference", agrees(fingerprint, lambda: (_residuals(4),), tolerance=1e-4), hint=ONCE),
    ),
    wrong_answers=(
        WrongAnswer(
            "sizes are averaged", lambda residuals: _scaled(_centred(_centred(residuals).abs().mean(0))), hint=SIGNS
        ),
        WrongAnswer("the mean stays", lambda residuals: _scaled(residuals.mean(dim=0)), hint=MEAN),
        WrongAnswer(
            "each channel is scaled apart",
            lambda residuals: torch.stack([_scaled(channel) for channel in _centred(residuals.mean(dim=0))]),
            hint=LENGTH,
        ),
        WrongAnswer("each residual is scaled first", _each_scaled, hint=ONCE),
        WrongAnswer("one mean for all channels", _one_mean_for_all, hint=CHANNELS),
        WrongAnswer("means over channels", _mean_over_channels, hint=PIXELS),
        WrongAnswer("the root is forgotten", _no_root, hint=SQUARED),
        WrongAnswer("divided by the deviation", _by_deviation, hint=UNITS),
        WrongAnswer("divided by the largest value", _by_largest, hint=LARGEST),
    ),
    right_answers=(
        RightAnswer("NumPy, a sum over images", _numpy_print),
        RightAnswer("centred image by image, normalised flat", _centred_first),
    ),
)

EXERCISES = (UPSAMPLING, FINGERPRINT)

register(EXERCISES)
