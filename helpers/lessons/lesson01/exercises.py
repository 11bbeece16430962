"""Exercises of lesson 01: the slope of a spectrum, the shape of a tail, and first digits."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from scipy.optimize import brentq
from scipy.special import gamma
from torch import Tensor

from helpers.course.compare import agrees, difference
from helpers.course.exercises import Exercise, Function, Property, WrongAnswer, check, register
from helpers.statistics import (
    benford_divergence,
    benford_law,
    first_digits,
    fit_line,
    generalised_gaussian_fit,
    generalised_gaussian_sample,
)

__all__ = ["EXERCISES", "check"]

Test = Callable[[Function], str | None]

# 1.1 · The slope of a spectrum

EDGES = torch.logspace(-1.53, -0.51, 13, dtype=torch.float64)
SIGN = "Power falls with frequency, and alpha counts the fall: power ~ frequency ** -alpha gives a positive alpha."
MEAN_FIRST = "Which comes first, the mean or the logarithm? A mean of logarithms is lower where power varies more."
OUTSIDE = "Which ring do cells below the first edge (such as DC) or above the last one fall into in your function?"


def radial_slope(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    """Reference: average power over rings, then fit a line in logarithms.

    Args:
        power: any shape, power of each cell of a spectrum.
        frequency: same shape, cycles per pixel.
        edges: (rings + 1,) ascending; a ring holds edge <= frequency < next edge.

    Returns:
        Alpha of power ~ frequency ** -alpha; rings without a cell are left out.
    """
    power, frequency = power.flatten(), frequency.flatten()
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    means = [(frequency[ring].mean().log(), power[ring].mean().log()) for ring in rings if ring.any()]
    x, y = torch.tensor(means, dtype=torch.float64).T
    return fit_line(x, y)[0].item()


def _spectrum(alpha: float, uneven: bool = False, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A made-up spectrum on the grid of a 200 x 260 plane: power, frequency, edges."""
    vertical, horizontal = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (200, 260))
    frequency = torch.hypot(vertical[:, None], horizontal)
    power = torch.where(frequency > 0, frequency, 1e-4) ** -alpha
    if uneven:  # one cell in eight holds most of the power, the more the higher the frequency
        chosen = torch.rand(frequency.shape, generator=torch.Generator().manual_seed(seed)) < 0.125
        share = (frequency / frequency.max()) ** 0.5
        power = power * torch.where(chosen, 1 + 7 * share, 1 - 0.999 * share)
    return power, frequency, EDGES


def _recovers(inputs: tuple[Any, ...], alpha: float, tolerance: float) -> Test:
    """Make a test: the slope is alpha."""

    def test(attempt: Function) -> str | None:
        found = float(attempt(*inputs))
        return None if abs(found - alpha) <= tolerance else f"expected {alpha:g}, got {found:.3f}"

    return test


def _ignores_outside(attempt: Function) -> str | None:
    power, frequency, edges = _spectrum(2.0)
    changed = torch.where((frequency >= edges[0]) & (frequency < edges[-1]), power, 1e9)
    return difference(attempt(changed, frequency, edges), attempt(power, frequency, edges))


def _slope_of_logs(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    means = [(frequency[ring].mean().log(), power[ring].log().mean()) for ring in rings if ring.any()]
    x, y = torch.tensor(means, dtype=torch.float64).T
    return fit_line(x, y)[0].item()


def _slope_with_outside(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    ring = torch.bucketize(frequency.flatten(), edges[1:-1], right=True)
    cells = torch.bincount(ring)
    x = (torch.bincount(ring, frequency.flatten()) / cells).log()
    y = (torch.bincount(ring, power.flatten()) / cells).log()
    return fit_line(x, y)[0].item()


SLOPE = Exercise(
    id="1.1",
    title="The slope of a spectrum",
    reference=radial_slope,
    properties=(
        Property("the slope counts the fall", lambda attempt: _positive(attempt), hint=SIGN),
        Property("what lies outside the edges does not count", _ignores_outside, hint=OUTSIDE),
        Property(
            "a power law of exponent 2 has slope 2", _recovers(_spectrum(2.0), 2.0, 0.02), hint="Fit in logarithms."
        ),
        Property(
            "the mean of a ring is a mean of power",
            lambda attempt: difference(
                attempt(*_spectrum(2.0, uneven=True)), radial_slope(*_spectrum(2.0, uneven=True)), 0.02
            ),
            hint=MEAN_FIRST,
        ),
        Property(
            "agrees with the reference",
            agrees(radial_slope, lambda: _spectrum(1.3, uneven=True, seed=4), tolerance=0.02),
            hint="Is every ring one point of the fit, whatever its number of cells?",
        ),
    ),
    wrong_answers=(
        WrongAnswer("the sign of the line", lambda *inputs: -radial_slope(*inputs), hint=SIGN),
        WrongAnswer("cells outside the edges end in the outer rings", _slope_with_outside, hint=OUTSIDE),
        WrongAnswer("the mean of logarithms", _slope_of_logs, hint=MEAN_FIRST),
    ),
)


def _positive(attempt: Function) -> str | None:
    found = float(attempt(*_spectrum(2.0)))
    return None if found > 0 else f"power that falls gave {found:.2f}"


# 1.2 · The shape of a tail

SQUARE = "Compare like with like: the mean absolute value is squared before it is divided by the mean square."
SCALE = "The scale is not the standard deviation: solve mean |x| = scale * Gamma(2 / shape) / Gamma(1 / shape)."
ZEROS = "Do zeros take part? A pixel that equals its neighbour is the most common difference of all, not a missing one."


def tail_shape(values: Tensor) -> tuple[float, float]:
    """Reference: shape and scale of a zero-mean generalised Gaussian with the moments of the values."""
    fitted = generalised_gaussian_fit(values)
    return fitted.shape, fitted.scale


def _sample(shape: float, scale: float = 1.0) -> Tensor:
    return generalised_gaussian_sample(20_000, shape, scale, torch.Generator().manual_seed(7))


def _same_shape(attempt: Function) -> str | None:
    for shape in (0.6, 1.0, 2.0):
        failure = difference(attempt(_sample(shape))[0], tail_shape(_sample(shape))[0], 1e-3)
        if failure:
            return f"true shape {shape:g}: {failure}"
    return None


def _same_scale(attempt: Function) -> str | None:
    return difference(attempt(_sample(0.8, 3.0))[1], tail_shape(_sample(0.8, 3.0))[1], 1e-3)


def _with_zeros() -> Tensor:
    return torch.cat((_sample(1.0), torch.zeros(8_000, dtype=torch.float64)))


def _zeros_count(attempt: Function) -> str | None:
    return difference(attempt(_with_zeros())[0], tail_shape(_with_zeros())[0], 1e-3)


def _solve(ratio: float) -> float:
    return float(brentq(lambda b: gamma(2 / b) ** 2 / (gamma(1 / b) * gamma(3 / b)) - ratio, 0.1, 10))


def _without_square(values: Tensor) -> tuple[float, float]:
    absolute = values.abs().mean().item()
    shape = _solve(min(0.74, absolute / values.square().mean().item()))
    return shape, absolute * gamma(1 / shape) / gamma(2 / shape)


TAIL = Exercise(
    id="1.2",
    title="The shape of a tail",
    reference=tail_shape,
    properties=(
        Property("shape of samples without zeros", _same_shape, hint=SQUARE),
        Property("scale", _same_scale, hint=SCALE),
        Property("shape of a sample with many zeros", _zeros_count, hint=ZEROS),
    ),
    wrong_answers=(
        WrongAnswer("the mean absolute value is not squared", _without_square, hint=SQUARE),
        WrongAnswer(
            "the standard deviation as scale", lambda values: (tail_shape(values)[0], values.std().item()), hint=SCALE
        ),
        WrongAnswer("zeros are thrown away", lambda values: tail_shape(values[values != 0]), hint=ZEROS),
    ),
)

# 1.3 · First digits

SMALL = "What is the first digit of 0.037? Divide by a power of ten with a negative exponent, and it is 3."
UNEVEN = "Benford's law is not uniform: digit d has the share log10(1 + 1 / d)."
COUNT = "Compare shares, not counts: a measure that grows with the number of values says nothing about the picture."


def digit_divergence(values: Tensor) -> float:
    """Reference: Jensen-Shannon divergence, in bits, between the values' first digits and Benford's law."""
    digits = first_digits(values)
    return benford_divergence(torch.bincount(digits, minlength=10)[1:].to(torch.float64) / len(digits))


def _values(
    seed: int = 0, decades: tuple[float, float] = (-1.7, 3.0), bend: float = 1.0, count: int = 20_000
) -> Tensor:
    """Values of both signs; their logarithms fill the decades, evenly if `bend` is 1."""
    uniform = torch.rand(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    size = 10 ** (decades[0] + (decades[1] - decades[0]) * uniform[0] ** bend)
    return torch.where(uniform[1] < 0.5, -size, size)


def _lawful(attempt: Function) -> str | None:
    found = float(attempt(_values(decades=(0, 3))))
    return None if abs(found) < 5e-4 else f"values spread evenly over three decades: expected nearly 0, got {found:.4f}"


def _repeats(attempt: Function) -> str | None:
    values = _values(decades=(0, 1), bend=2)
    return difference(attempt(values.repeat(5)), attempt(values), 1e-6)


def _small_values(attempt: Function) -> str | None:
    values = torch.cat((_values(decades=(-1.6, -0.1), bend=2), _values(decades=(0, 2))))
    return difference(attempt(values), digit_divergence(values), 1e-6)


def _shares(values: Tensor) -> Tensor:
    digits = first_digits(values)
    return torch.bincount(digits, minlength=10)[1:].to(torch.float64) / len(digits)


def _against_uniform(values: Tensor) -> float:
    shares, even = _shares(values), torch.full((9,), 1 / 9, dtype=torch.float64)
    middle = (shares + even) / 2
    return float((shares * (shares / middle).log2() + even * (even / middle).log2()).sum() / 2)


def _chi_square(values: Tensor) -> float:
    shares, law = _shares(values), benford_law()
    return float((len(values) * (shares - law).square() / law).sum())


DIGITS = Exercise(
    id="1.3",
    title="First digits of a picture",
    reference=digit_divergence,
    properties=(
        Property("five copies of the same values give the same divergence", _repeats, hint=COUNT),
        Property("numbers without a scale obey the law", _lawful, hint=UNEVEN),
        Property("values below 1 have a first digit too", _small_values, hint=SMALL),
        Property(
            "agrees with the reference",
            agrees(digit_divergence, lambda: (_values(3, (0.2, 1.4), 3),), tolerance=1e-6),
            hint="Jensen-Shannon divergence in bits: both halves count, and the logarithm has base 2.",
        ),
    ),
    wrong_answers=(
        WrongAnswer("compared with equal shares", _against_uniform, hint=UNEVEN),
        WrongAnswer("chi-square, which grows with the sample", _chi_square, hint=COUNT),
        WrongAnswer(
            "values below 1 are dropped", lambda values: digit_divergence(values[values.abs() >= 1]), hint=SMALL
        ),
    ),
)

EXERCISES = (SLOPE, TAIL, DIGITS)

register(EXERCISES)
