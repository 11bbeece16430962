"""Building blocks for the properties of an exercise: each says in one line how an answer differs, or returns None."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Function = Callable[..., Any]


def as_array(value: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return a tensor, array, number or pandas object as a NumPy array."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def difference(actual: Any, expected: Any, tolerance: float = 1e-6) -> str | None:  # noqa: ANN401
    """Say how a result differs from the expected one.

    Args:
        actual: the learner's result.
        expected: number, tensor, array, pandas object, text, or a dataclass, mapping, tuple or list of these.
        tolerance: largest allowed difference: absolute where the expected value is below 1, relative above.

    Returns:
        None if they agree, else one line: other type, other shape, not finite, or the largest difference.

    >>> difference((1.0, 2.5), (1.0, 2.0))
    'item 1: largest difference 0.5'
    """
    if expected is None or isinstance(expected, str):
        same = actual is expected or (isinstance(actual, str) and actual == expected)
        return None if same else f"expected {expected!r}, got {actual!r}"
    if dataclasses.is_dataclass(expected):
        fields = {field.name: getattr(expected, field.name) for field in dataclasses.fields(expected)}
        values = {name: getattr(actual, name) for name in fields if hasattr(actual, name)}
        return _differences(values, fields, tolerance)
    if isinstance(expected, Mapping):
        return _differences(actual, expected, tolerance)
    if isinstance(expected, tuple | list):
        if not isinstance(actual, tuple | list) or len(actual) != len(expected):
            got = f"{len(actual)} values" if isinstance(actual, tuple | list) else type(actual).__name__
            return f"expected {len(expected)} values, got {got}"
        return _differences(dict(enumerate(actual)), dict(enumerate(expected)), tolerance)
    return array_difference(as_array(actual), as_array(expected), tolerance)


def _differences(actual: Any, expected: Mapping[Any, Any], tolerance: float) -> str | None:  # noqa: ANN401
    """Return the first difference between two mappings, with the item's name before it."""
    for name, value in expected.items():
        if not isinstance(actual, Mapping) or name not in actual:
            return f"item {name} is missing"
        message = difference(actual[name], value, tolerance)
        if message is not None:
            return f"item {name}: {message}"
    return None


def array_difference(actual: NDArray[Any], expected: NDArray[Any], tolerance: float) -> str | None:
    """Say how two arrays differ; see `difference`."""
    if actual.shape != expected.shape:
        return f"expected shape {expected.shape}, got {actual.shape}"
    if expected.dtype.kind not in "iufc":
        return None if np.array_equal(actual, expected) else f"{int(np.sum(actual != expected))} values differ"
    if actual.dtype.kind not in "biufc":
        return f"expected numbers, got {type(actual.item(0)).__name__}"
    kind = np.complex128 if "c" in (actual.dtype.kind, expected.dtype.kind) else np.float64
    numbers, wanted = actual.astype(kind), expected.astype(kind)
    finite = np.isfinite(wanted)
    if not (np.isfinite(numbers[finite]).all() and np.array_equal(numbers[~finite], wanted[~finite], equal_nan=True)):
        return "the result holds NaN or infinity"
    gaps = np.abs(numbers[finite] - wanted[finite])
    if np.all(gaps <= tolerance * np.maximum(1.0, np.abs(wanted[finite]))):
        return None
    return f"largest difference {gaps.max():.3g}"


def agrees(
    reference: Function, inputs: Callable[[], tuple[Any, ...]], tolerance: float = 1e-6
) -> Callable[[Function], str | None]:
    """Make a test: the attempt returns what the reference returns.

    Args:
        reference: the solution.
        inputs: makes fresh, seeded arguments (float64 where it matters); called once for each side, so that a function
            that changes its arguments cannot disturb the other.
        tolerance: as in `difference`.

    Returns:
        A test for `Property`.
    """

    def test(attempt: Function) -> str | None:
        return difference(attempt(*inputs()), reference(*inputs()), tolerance)

    return test


def has_shape(inputs: Callable[[], tuple[Any, ...]], shape: tuple[int, ...]) -> Callable[[Function], str | None]:
    """Make a test: the result of the attempt has this shape."""

    def test(attempt: Function) -> str | None:
        actual = as_array(attempt(*inputs())).shape
        return None if actual == shape else f"expected shape {shape}, got {actual}"

    return test


def in_range(inputs: Callable[[], tuple[Any, ...]], low: float, high: float) -> Callable[[Function], str | None]:
    """Make a test: every value of the result lies in [low, high]."""

    def test(attempt: Function) -> str | None:
        values = as_array(attempt(*inputs())).astype(np.float64)
        if np.all((values >= low) & (values <= high)):
            return None
        return f"values run from {values.min():.3g} to {values.max():.3g}, allowed {low:g} to {high:g}"

    return test


def unchanged_by(
    inputs: Callable[[], tuple[Any, ...]], change: Callable[..., tuple[Any, ...]], tolerance: float = 1e-6
) -> Callable[[Function], str | None]:
    """Make a test: the result stays the same when the arguments are changed, for example mirrored or scaled.

    Args:
        inputs: makes fresh, seeded arguments.
        change: takes these arguments, returns the changed ones.
        tolerance: as in `difference`.

    Returns:
        A test for `Property`.
    """

    def test(attempt: Function) -> str | None:
        return difference(attempt(*change(*inputs())), attempt(*inputs()), tolerance)

    return test


def unlike(
    mistake: Function, inputs: Callable[[], tuple[Any, ...]], what: str, tolerance: float = 1e-6
) -> Callable[[Function], str | None]:
    """Make a test: the attempt does not return what a known mistake returns; the mistake gets its own hint.

    Args:
        mistake: the mistaken function; on these inputs it must differ from the reference.
        inputs: makes fresh, seeded arguments.
        what: names the mistake; the sentence begins with "your result is that of".
        tolerance: as in `difference`.

    Returns:
        A test for `Property`.
    """

    def test(attempt: Function) -> str | None:
        same = difference(attempt(*inputs()), mistake(*inputs()), tolerance) is None
        return f"your result is that of {what}" if same else None

    return test


def completes(
    inputs: Callable[[], tuple[Any, ...]], *errors: type[Exception], says: str = ""
) -> Callable[[Function], str | None]:
    """Make a test: the attempt comes to its end, where a known mistake raises; other errors pass through.

    Args:
        inputs: makes fresh, seeded arguments.
        errors: what the mistake raises.
        says: part of the error's message; an error without it is another mistake.

    Returns:
        A test for `Property`.
    """

    def test(attempt: Function) -> str | None:
        try:
            attempt(*inputs())
        except errors as error:
            if says in str(error):
                return " ".join(f"{type(error).__name__}: {error}".split())
            raise
        return None

    return test
