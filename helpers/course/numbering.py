"""Figures count themselves: the first figure of a lesson is Figure 1, and a cell that runs again keeps its numbers."""

from collections.abc import Mapping
from typing import Any

__all__ = ["FIGURES", "FigureNumbers", "in_notebook", "running_cell"]


class FigureNumbers:
    """Numbers of a lesson's figures, in the order in which cells showed their first figure.

    >>> numbers = FigureNumbers()
    >>> [numbers.take("first cell", 1), numbers.take("first cell", 1), numbers.take("second cell", 2)]
    [1, 2, 3]
    >>> numbers.take("first cell", 3)
    1
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all numbers; `start` does this at the top of a lesson."""
        self._known: dict[tuple[str, int], int] = {}
        self._run: tuple[str, int] = ("", 0)
        self._place = 0

    def take(self, cell: str, run: int) -> int:
        """Return the number of the next figure.

        Args:
            cell: What tells the running cell from others.
            run: Number of this run of the cell: its execution count.

        Returns:
            1 or more; the same as before when the cell runs again.
        """
        if (cell, run) != self._run:
            self._run, self._place = (cell, run), 0
        key = (cell, self._place)
        self._place += 1
        return self._known.setdefault(key, len(self._known) + 1)

    def next(self) -> int:
        """Return the number of the next figure of the cell that runs now."""
        return self.take(*running_cell())


FIGURES = FigureNumbers()
"""The numbers of the lesson that runs in this process."""


def in_notebook() -> bool:
    """Tell whether a kernel runs this process."""
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "get_parent")


def running_cell() -> tuple[str, int]:
    """Tell which notebook cell is running.

    Returns:
        The cell's id (its code where the front end sends no id) and its execution count; ("", 0) outside a notebook.
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    request: Mapping[str, Any] = shell.get_parent() if hasattr(shell, "get_parent") else {}
    if not request:
        return "", 0
    code = str(request.get("content", {}).get("code", ""))
    return str(request.get("metadata", {}).get("cellId") or code), int(shell.execution_count)
