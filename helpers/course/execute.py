"""Run one notebook from top to bottom in a fresh kernel, as the tests do."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from helpers.course import CourseError
from helpers.course.environment import kernel_environment
from helpers.course.figures import METADATA_KEY

CELL_SECONDS = 600


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def execute(
    notebook: NotebookNode, folder: Path, after_cell: Callable[[], None] = lambda: None, *, checked: bool = False
) -> float:
    """Execute a notebook in place.

    Args:
        notebook: the notebook; its outputs are replaced.
        folder: working directory of the kernel: the folder in which the notebook lies.
        after_cell: called after each executed code cell, for a progress bar.
        checked: whether a number outside its band is an error, as it is where outputs are stored.

    Returns:
        Seconds from the first to the last cell, without the kernel's start.

    Raises:
        CourseError: if a cell fails, takes longer than ten minutes, or the kernel dies; the message names the cell.
    """
    started = last = time.perf_counter()
    current = ""

    def on_start(cell: NotebookNode, cell_index: int) -> None:
        nonlocal current, started
        started = started if current else time.perf_counter()
        current = f"cell {cell.id} (number {cell_index + 1})"

    def on_executed(cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
        nonlocal last
        last = time.perf_counter()
        after_cell()

    client = nbclient.NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        on_cell_execute=on_start,
        on_cell_executed=on_executed,
    )
    try:
        # What a kernel says to its terminal is about the kernel; what a lesson writes goes into the notebook.
        client.execute(env=kernel_environment(checked=checked), stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        raise CourseError(f"{current}: {error.ename}: {error.evalue}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise CourseError(f"{current}: {type(error).__name__}") from error
    return last - started


def headlines(notebook: NotebookNode) -> dict[str, float]:
    """Collect the numbers that `helpers.course.lesson.headline` recorded in an executed notebook."""
    return {record["name"]: record["value"] for record in _records(notebook)}


def strays(notebook: NotebookNode) -> list[str]:
    """List the names of the recorded numbers that lie outside their bands."""
    return [record["name"] for record in _records(notebook) if not record["inside"]]


def _records(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return what `headline` stored in the outputs' metadata."""
    return [
        output.metadata[METADATA_KEY]["headline"]
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "headline" in output.get("metadata", {}).get(METADATA_KEY, {})
    ]
