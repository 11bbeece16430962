"""One copy of a lesson, with what the rules ask of it."""

import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from helpers.course import tags
from helpers.course.build import INSTRUCTOR
from helpers.course.execute import code_cells

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Lesson:
    """A notebook and what it is.

    Attributes:
        path: where it lies.
        number: the lesson's number.
        is_solution: whether it is the solution copy.
        notebook: its content.
    """

    path: Path
    number: int
    is_solution: bool
    notebook: NotebookNode

    @property
    def name(self) -> str:
        """File name, with `solutions/` before it for a solution copy."""
        return f"solutions/{self.path.name}" if self.is_solution else self.path.name

    @property
    def code(self) -> list[NotebookNode]:
        """Code cells that hold code."""
        return code_cells(self.notebook)

    @property
    def markdown(self) -> list[NotebookNode]:
        """Markdown cells for learners."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "markdown" and INSTRUCTOR not in tags(cell)]

    def prose(self) -> str:
        """All Markdown for learners as one text, without fenced code."""
        return FENCE.sub("", "\n\n".join(cell.source for cell in self.markdown))

    def section(self, heading: str) -> str:
        """Return the text below one `##` heading, up to the next; empty if there is no such heading."""
        match = re.search(rf"^## {re.escape(heading)}\s*$(.*?)(?=^## |\Z)", self.prose(), re.MULTILINE | re.DOTALL)
        return match[1] if match else ""
