"""Helpers of the Natural Traces course: from image bytes to an honest statement about one image.

    from helpers import explain, load_detector

    print(explain("picture.jpg", base_rate=0.1).text)
    for row in load_detector().predict(["picture.jpg"]):
        print(row.path, row.verdict, row.probability, row.error)

The names of `helpers.api` are imported when they are used, so `import helpers` costs nothing.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from helpers.api import (
        Detector,
        Prediction,
        Statement,
        explain,
        list_detectors,
        load_detector,
        register,
        shipped_detectors,
    )

__all__ = [
    "Detector",
    "Prediction",
    "Statement",
    "__version__",
    "explain",
    "list_detectors",
    "load_detector",
    "register",
    "shipped_detectors",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from helpers import api

    value = globals()[name] = getattr(api, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
