"""Exercises of lesson 02: the spectrum after upsampling, and a fingerprint by averaging residuals."""

from typing import Any

import torch
from torch import Tensor

from helpers.course.compare import agrees, difference, has_shape
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.statistics.residuals import KERNELS, fingerprint, kernel_response, predicted_spectrum, zero_insert

__all__ = ["EXERCISES", "check"]

# 2.1 · The spectrum after upsampling

COPIES = "Frequency k of the large picture holds frequency k mod H of the small one: lay the spectrum side by side."
PRODUCT = "Convolving with a kernel multiplies the spectrum by the kernel's own transform."
BOTH = "The kernel runs along the rows and along the columns, so its response appears twice."
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


UPSAMPLING = Exercise(
    id="2.1",
    title="The spectrum after upsampling",
    reference=predicted_spectrum,
    properties=(
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
            hint="Transform the kernel with as many points as the large picture has rows, then as it has columns.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("the spectrum is stretched", _stretched, hint=COPIES),
        WrongAnswer(
            "the kernel is forgotten", lambda spectrum, kernel, factor: spectrum.repeat(factor, factor), hint=PRODUCT
        ),
        WrongAnswer("the kernel runs along one axis only", _rows_only, hint=BOTH),
    ),
)

# 2.2 · A fingerprint by averaging

SIGNS = "A residual has signs, and content cancels because of them: average the residuals, not their sizes."
MEAN = "Subtract from each channel its mean: a residual that is brighter everywhere is no mark."
LENGTH = "Divide once by the length of the whole print: the root of the sum of all squares over all channels."
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
    ),
)

EXERCISES = (UPSAMPLING, FINGERPRINT)

register(EXERCISES)
