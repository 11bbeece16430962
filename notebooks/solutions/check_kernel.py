"""Stops a lesson with advice where its kernel cannot see the course: `import check_kernel`, before anything else.

The file lies beside the notebooks (and in solutions/), because a kernel always finds what lies beside its notebook,
whichever Python it runs. It needs nothing but the standard library.
"""

import importlib.util
import sys
from pathlib import Path

NEEDED = ("torch", "numpy", "pandas", "sklearn", "skimage", "matplotlib", "ipywidgets")
MORE = "See docs/setup.md, 'If the first cell fails'."


class KernelError(ImportError):
    """This kernel cannot run the lessons."""


def problem() -> str:
    """Say what is wrong with this kernel, or return an empty text."""
    python = f"This kernel runs {sys.executable}"
    spec = importlib.util.find_spec("helpers")
    if spec is None:
        return f"{python}, where the course is not installed. Choose the kernel of its environment, or start `make lab`. {MORE}"
    places = [Path(place) for place in spec.submodule_search_locations or [str(spec.origin)]]
    if not any((place / "course" / "lesson.py").is_file() for place in places):
        return f"{python}, where another package named `helpers` hides the course's: {places[0]}. {MORE}"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"{python}, which lacks {', '.join(missing)}. {MORE}" if missing else ""


if problem():
    raise KernelError(problem())
