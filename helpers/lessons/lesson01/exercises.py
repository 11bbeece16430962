"""Exercises of lesson 01: the slope of a spectrum, the shape of a tail, and first digits."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.spatial.distance import jensenshannon
from scipy.special import gamma
from torch import Tensor

from helpers.course.compare import agrees, completes, difference, unlike
from helpers.course.exercises import Exercise, Function, Property, RightAnswer, WrongAnswer, check, register
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
AXES = "Fit the logarithm of power against that of frequency: which of the two is the x of your line?"
TOTAL = "Take the mean power of a ring: outer rings hold more waves, and a sum counts them."
RAW = "In plain axes a power law is no straight line: take logarithms of both, power and frequency."
HALF_LOG = "Only one axis is logarithmic in your fit: take the logarithm of frequency as well as of power."
EMPTY = "A ring without a wave has no mean: leave it out before you take its logarithm."
BORDER = "A wave that lies exactly on an edge belongs to one ring only: low edge included, high edge not."
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


def _spectrum_2() -> tuple[Tensor, Tensor, Tensor]:
    return _spectrum(2.0, uneven=True, seed=2)


def _recovers(inputs: tuple[Any, ...], alpha: float, tolerance: float) -> Test:
    """Make a test: the slope is alpha."""

    def test(attempt: Function) -> str | None:
        slope = float(attempt(*inputs))
        return None if abs(slope - alpha) <= tolerance else f"expected {alpha:g}, got {slope:.3f}"

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


def _means(power: Tensor, frequency: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Mean frequency and mean power of every ring that holds a wave."""
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    points = [(frequency[ring].mean(), power[ring].mean()) for ring in rings if ring.any()]
    x, y = torch.tensor(points, dtype=torch.float64).T
    return x, y


def _axes_exchanged(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    x, y = _means(power, frequency, edges)
    return fit_line(y.log(), x.log())[0].item()


def _sums(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    points = [(frequency[ring].mean().log(), power[ring].sum().log()) for ring in rings if ring.any()]
    x, y = torch.tensor(points, dtype=torch.float64).T
    return fit_line(x, y)[0].item()


def _without_logarithms(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    return fit_line(*_means(power, frequency, edges))[0].item()


def _half_logarithmic(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    x, y = _means(power, frequency, edges)
    return fit_line(x, y.log())[0].item()


def _every_ring(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    x, y = (torch.stack([values[ring].mean().log() for ring in rings]) for values in (frequency, power))
    return fit_line(x, y)[0].item()


def _both_edges(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    return _line_of([(frequency >= low) & (frequency <= high) for low, high in pairwise(edges)], power, frequency)


def _high_edge(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    return _line_of([(frequency > low) & (frequency <= high) for low, high in pairwise(edges)], power, frequency)


def _line_of(rings: list[Tensor], power: Tensor, frequency: Tensor) -> float:
    points = [(frequency[ring].mean().log(), power[ring].mean().log()) for ring in rings if ring.any()]
    x, y = torch.tensor(points, dtype=torch.float64).T
    return fit_line(x, y)[0].item()


def _polynomial(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    x, y = (values.numpy() for values in _means(power, frequency, edges))
    return -float(np.polyfit(np.log10(x), np.log10(y), 1)[0])


def _bucketed(power: Tensor, frequency: Tensor, edges: Tensor) -> float:
    ring = torch.bucketize(frequency.flatten(), edges.double(), right=True)
    inside = (ring > 0) & (ring < len(edges))
    ring, cells = ring[inside], torch.bincount(ring[inside], minlength=len(edges))
    x, y = (torch.bincount(ring, values.flatten()[inside], minlength=len(edges)) for values in (frequency, power))
    x, y = ((values[cells > 0] / cells[cells > 0]).log() for values in (x, y))
    ones = torch.ones_like(x)
    return -float(torch.linalg.lstsq(torch.stack([x, ones], dim=1), y[:, None]).solution[0, 0])


def _with_an_empty_ring() -> tuple[Tensor, Tensor, Tensor]:
    power, frequency, edges = _spectrum(2.0)
    return power, frequency, torch.cat([torch.tensor([1e-4, 1e-3], dtype=torch.float64), edges])


def _on_the_edges() -> tuple[Tensor, Tensor, Tensor]:
    """Waves exactly on the edges of rings; what a ring loses or gains there changes the slope."""
    frequency = torch.tensor([[0.1, 0.15, 0.2], [0.3, 0.4, 0.1]], dtype=torch.float64)
    power = torch.tensor([[9.0, 8.0, 2.0], [1.0, 500.0, 7.0]], dtype=torch.float64)
    return power, frequency, torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)


def _edges(attempt: Function) -> str | None:
    mistakes = {"both edges included": _both_edges, "the high edge included": _high_edge}
    failures = (unlike(mistake, _on_the_edges, name)(attempt) for name, mistake in mistakes.items())
    return next((failure for failure in failures if failure), None)


def _finite(attempt: Function) -> str | None:
    slope = float(attempt(*_with_an_empty_ring()))
    return None if math.isfinite(slope) else f"with an empty ring the slope is {slope}"


SLOPE = Exercise(
    id="1.1",
    title="The slope of a spectrum",
    reference=radial_slope,
    properties=(
        Property("both axes are logarithmic", unlike(_without_logarithms, _spectrum_2, "plain axes"), hint=RAW),
        Property(
            "frequency is logarithmic too", unlike(_half_logarithmic, _spectrum_2, "plain frequencies"), hint=HALF_LOG
        ),
        Property("power stands on the y axis", unlike(_axes_exchanged, _spectrum_2, "exchanged axes"), hint=AXES),
        Property("a ring counts by its mean", unlike(_sums, _spectrum_2, "sums over rings"), hint=TOTAL),
        Property("a wave on an edge belongs to the ring above", _edges, hint=BORDER),
        Property("the slope counts the fall", lambda attempt: _positive(attempt), hint=SIGN),
        Property("what lies outside the edges does not count", _ignores_outside, hint=OUTSIDE),
        Property("empty rings are left out", _finite, hint=EMPTY),
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
        WrongAnswer("no logarithms", _without_logarithms, hint=RAW),
        WrongAnswer("the logarithm of power only", _half_logarithmic, hint=HALF_LOG),
        WrongAnswer("axes exchanged", _axes_exchanged, hint=AXES),
        WrongAnswer("sums over rings", _sums, hint=TOTAL),
        WrongAnswer("empty rings kept", _every_ring, hint=EMPTY),
        WrongAnswer("both edges included", _both_edges, hint=BORDER),
        WrongAnswer("the high edge in place of the low one", _high_edge, hint=BORDER),
        WrongAnswer("the sign of the line", lambda *inputs: -radial_slope(*inputs), hint=SIGN),
        WrongAnswer("cells outside the edges end in the outer rings", _slope_with_outside, hint=OUTSIDE),
        WrongAnswer("the mean of logarithms", _slope_of_logs, hint=MEAN_FIRST),
    ),
    right_answers=(
        RightAnswer("NumPy's polyfit on decimal logarithms", _polynomial),
        RightAnswer("bucketize, bincount and least squares", _bucketed),
    ),
)


def _positive(attempt: Function) -> str | None:
    slope = float(attempt(*_spectrum(2.0)))
    return None if slope > 0 else f"power that falls gave {slope:.2f}"


# 1.2 · The shape of a tail

ORDER = "Return the shape first, then the scale."
SEARCH = "brentq needs a function that crosses zero: is your ratio (mean |d|) squared over mean d squared?"
INVERSE = "Solve mean |d| = scale * Gamma(2 / shape) / Gamma(1 / shape) for the scale: which quotient stands below?"
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


def _upside_down(values: Tensor) -> tuple[float, float]:
    absolute = values.abs().mean().item()
    shape = _solve(values.square().mean().item() / absolute**2)
    return shape, absolute * gamma(1 / shape) / gamma(2 / shape)


def _signed_mean(values: Tensor) -> tuple[float, float]:
    absolute = values.mean().item()
    shape = _solve(absolute**2 / values.square().mean().item())
    return shape, absolute * gamma(1 / shape) / gamma(2 / shape)


def _inverse_scale(values: Tensor) -> tuple[float, float]:
    shape, absolute = tail_shape(values)[0], values.abs().mean().item()
    return shape, absolute * gamma(2 / shape) / gamma(1 / shape)


def _exchanged(values: Tensor) -> tuple[float, float]:
    shape, scale = tail_shape(values)
    return scale, shape


def _scale_from_the_square(values: Tensor) -> tuple[float, float]:
    sample = values.numpy()
    square = float(np.mean(sample**2))
    shape = _solve(float(np.mean(np.abs(sample))) ** 2 / square)
    return shape, math.sqrt(square * math.gamma(1 / shape) / math.gamma(3 / shape))


def _bisected(values: Tensor) -> tuple[Tensor, Tensor]:
    absolute, low, high = values.abs().mean(), 0.1, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        ratio = math.gamma(2 / middle) ** 2 / (math.gamma(1 / middle) * math.gamma(3 / middle))
        low, high = (middle, high) if ratio < absolute**2 / values.pow(2).mean() else (low, middle)
    return torch.tensor(low), absolute * math.gamma(1 / low) / math.gamma(2 / low)


TAIL = Exercise(
    id="1.2",
    title="The shape of a tail",
    reference=tail_shape,
    properties=(
        Property(
            "the search finds its zero",
            completes(lambda: (_sample(0.8, 3.0),), ValueError, says="different signs"),
            hint=SEARCH,
        ),
        Property("shape first", unlike(_exchanged, lambda: (_sample(0.8, 3.0),), "scale and shape", 1e-3), hint=ORDER),
        Property(
            "the scale solves its equation",
            unlike(_inverse_scale, lambda: (_sample(0.8, 3.0),), "the inverse quotient", 1e-3),
            hint=INVERSE,
        ),
        Property("shape of samples without zeros", _same_shape, hint=SQUARE),
        Property("scale", _same_scale, hint=SCALE),
        Property("shape of a sample with many zeros", _zeros_count, hint=ZEROS),
    ),
    wrong_answers=(
        WrongAnswer("the ratio upside down", _upside_down, hint=SEARCH),
        WrongAnswer("the mean without absolute values", _signed_mean, hint=SEARCH),
        WrongAnswer("the quotient for the scale upside down", _inverse_scale, hint=INVERSE),
        WrongAnswer("scale first", _exchanged, hint=ORDER),
        WrongAnswer("the mean absolute value is not squared", _without_square, hint=SQUARE),
        WrongAnswer(
            "the standard deviation as scale", lambda values: (tail_shape(values)[0], values.std().item()), hint=SCALE
        ),
        WrongAnswer("zeros are thrown away", lambda values: tail_shape(values[values != 0]), hint=ZEROS),
    ),
    right_answers=(
        RightAnswer("NumPy, and the scale from the mean square", _scale_from_the_square),
        RightAnswer("bisection by hand, tensors returned", _bisected),
    ),
)

# 1.3 · First digits

SIGNED = "A digit has no sign: take absolute values first."
BASE = "Bits: the logarithm has base 2, not e."
ONE_SIDE = "Take both halves: the shares against the average, and the law against the average."
SUM = "The divergence is the mean of the two halves, so divide their sum by 2."
ROOT = "You returned the square root, which some libraries call the Jensen-Shannon distance: square it."
AVERAGE = "Compare shares and law with their average, not with each other."
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
    distance = float(attempt(_values(decades=(0, 3))))
    near = abs(distance) < 5e-4
    return None if near else f"values spread evenly over three decades: expected nearly 0, got {distance:.4f}"


def _signs_do_not_count(attempt: Function) -> str | None:
    values = _values(decades=(0.2, 1.4), bend=3, count=2_000)
    return difference(attempt(-values), attempt(values), 1e-9)


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


def _halves(values: Tensor) -> tuple[float, float]:
    """Both Kullback-Leibler divergences from the average, in bits."""
    shares, law = _shares(values), benford_law()
    middle = (shares + law) / 2
    first, second = (float((p * (p / middle).log2()).sum()) for p in (shares, law))
    return first, second


def _without_average(values: Tensor) -> float:
    shares = _shares(values)
    return float((shares * (shares / benford_law()).log2()).sum())


def _by_scipy(values: Tensor) -> float:
    sizes = np.abs(values.numpy())
    digits = np.floor(sizes / 10.0 ** np.floor(np.log10(sizes)))
    shares = np.array([np.mean(digits == digit) for digit in range(1, 10)])
    return float(jensenshannon(shares, np.log10(1 + 1 / np.arange(1, 10)), base=2)) ** 2


def _by_text(values: Tensor) -> float:
    digits = [int(f"{abs(value):.12e}"[0]) for value in values.tolist()]
    total = 0.0
    for digit in range(1, 10):
        p, q = digits.count(digit) / len(digits), math.log10(1 + 1 / digit)
        total += sum(x * math.log2(2 * x / (p + q)) for x in (p, q) if x > 0) / 2
    return total


def _bent() -> tuple[Tensor]:
    return (_values(3, (0.2, 1.4), 3),)


DIGITS = Exercise(
    id="1.3",
    title="First digits of a picture",
    reference=digit_divergence,
    properties=(
        Property("signs do not count", _signs_do_not_count, hint=SIGNED),
        Property("in bits", unlike(lambda v: digit_divergence(v) * math.log(2), _bent, "natural logarithms"), BASE),
        Property("both halves count", unlike(lambda v: _halves(v)[0] / 2, _bent, "the shares alone"), ONE_SIDE),
        Property("the mean of the halves", unlike(lambda v: sum(_halves(v)), _bent, "the sum of both halves"), SUM),
        Property("not its square root", unlike(lambda v: digit_divergence(v) ** 0.5, _bent, "the square root"), ROOT),
        Property("against the average", unlike(_without_average, _bent, "shares against the law"), AVERAGE),
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
        WrongAnswer("only positive values", lambda values: digit_divergence(values[values > 0]), hint=SIGNED),
        WrongAnswer("natural logarithms", lambda values: digit_divergence(values) * math.log(2), hint=BASE),
        WrongAnswer("one half only", lambda values: _halves(values)[0] / 2, hint=ONE_SIDE),
        WrongAnswer("the sum of both halves", lambda values: sum(_halves(values)), hint=SUM),
        WrongAnswer("the square root", lambda values: digit_divergence(values) ** 0.5, hint=ROOT),
        WrongAnswer("no average", _without_average, hint=AVERAGE),
        WrongAnswer("compared with equal shares", _against_uniform, hint=UNEVEN),
        WrongAnswer("chi-square, which grows with the sample", _chi_square, hint=COUNT),
        WrongAnswer(
            "values below 1 are dropped", lambda values: digit_divergence(values[values.abs() >= 1]), hint=SMALL
        ),
    ),
    right_answers=(
        RightAnswer("scipy's distance, squared", _by_scipy),
        RightAnswer("digits read from text, a loop over digits", _by_text),
    ),
)

EXERCISES = (SLOPE, TAIL, DIGITS)

register(EXERCISES)
