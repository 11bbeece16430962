"""Rules for a lesson's stored outputs."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode

from helpers.course.figures import LEAST_ALT_WORDS, METADATA_KEY
from helpers.course.refresh import NOTEBOOK_METADATA
from helpers.course.rules.lesson import Lesson
from helpers.course.widgets import WIDGET_VIEW

Violations = Iterator[tuple[str, str]]

MACHINE_PATH = re.compile(r"/(?:home|Users|root|tmp|work|usr|opt|var|mnt)/|\b[A-Z]:\\|site-packages|\.venv")
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}|id=\\*[\"']T_")
FIGURE = re.compile(r"Figure (\d+): ")
TITLE = re.compile(r"<strong>Figure \d+: ([^<]*)</strong>")
PHRASE = re.compile(r"(?:[A-Z0-9].*[.?!])?")
LEAST_TEXT_PIXELS = 8
NARROW_COLUMN = 700
"""Width of JupyterLab's output column in pixels where its window is 900 pixels wide; wider figures are shrunk."""
PNG_HEAD = 26
PALETTE_TYPE = 3


def executed_in_order(lesson: Lesson) -> Violations:
    """All code cells were executed once, from top to bottom, without an error."""
    counts = [cell.execution_count for cell in lesson.code]
    if counts != list(range(1, len(counts) + 1)):
        yield "", "outputs are not those of one run from top to bottom: run refresh"
    for cell in lesson.code:
        if any(output.output_type == "error" for output in cell.outputs):
            yield cell.id, "the stored output is an error"


def portable(lesson: Lesson) -> Violations:
    """No output holds a warning, a path of the machine, or an address in memory."""
    for cell in lesson.code:
        if any(output.output_type == "stream" and output.name == "stderr" for output in cell.outputs):
            yield cell.id, "something was written to standard error, such as a warning"
        text = json.dumps([_without_pictures(output) for output in cell.outputs], ensure_ascii=False)
        for pattern, what in ((MACHINE_PATH, "a path of the machine"), (ADDRESS, "an address or a random id")):
            match = pattern.search(text)
            if match:
                yield cell.id, f"the output holds {what}: {text[max(0, match.start() - 20) : match.end() + 20]}"


def _without_pictures(output: NotebookNode) -> dict[str, Any]:
    """Return an output without its pictures, whose Base64 text says nothing."""
    return {**output, "data": {kind: data for kind, data in output.get("data", {}).items() if "image/" not in kind}}


def figures(lesson: Lesson) -> Violations:
    """Every figure is a PNG that any viewer shows, has alt text, counts on, and says below what to see."""
    numbers = []
    for index, cell in enumerate(lesson.notebook.cells):
        if cell.cell_type != "code":
            continue
        for place, output in enumerate(cell.outputs):
            data = output.get("data", {})
            for kind in data:
                if kind.startswith("image/") and kind != "image/png":
                    yield cell.id, f"a figure of type {kind}: display it by helpers.course.figures.show"
            if "<img" in data.get("text/html", "") or "data:image" in data.get("text/html", ""):
                yield cell.id, "a picture inside HTML, which many viewers do not show"
            if "image/png" in data:
                yield from ((cell.id, problem) for problem in _picture_problems(output, cell.outputs[place + 1 :]))
                numbers += [int(number) for number in FIGURE.findall(data.get("text/plain", ""))]
                if not output.metadata.get(METADATA_KEY, {}).get("live") and not _explained(lesson, index):
                    yield cell.id, "no Markdown cell with '**What to see**' follows the figure"
    if numbers != list(range(1, len(numbers) + 1)):
        yield "", f"figures are numbered {numbers}: run refresh"


def _picture_problems(output: NotebookNode, after: list[NotebookNode]) -> Iterator[str]:
    """Say what is wrong with one stored picture, given the outputs that follow it."""
    alt = output.metadata.get("image/png", {}).get("alt", "")
    if len(alt.split()) < LEAST_ALT_WORDS:
        yield "a figure without alt text in its metadata: display it by helpers.course.figures.show"
    caption = after[0].get("data", {}) if after else {}
    if not FIGURE.match(caption.get("text/plain", "")):
        yield "no caption follows the figure: display it by helpers.course.figures.show"
    for title in TITLE.findall(caption.get("text/html", "")):
        if not PHRASE.fullmatch(title):
            yield f"the title {title!r} is no phrase: begin with a capital and end with a full stop"
    head = base64.b64decode(output.data["image/png"][: 4 * PNG_HEAD])[:PNG_HEAD]
    if len(head) < PNG_HEAD or head[-1] != PALETTE_TYPE:
        yield "a figure without a palette, which is three times larger than it must be"
        return
    width = int.from_bytes(head[16:20], "big")
    shown = output.metadata.get(METADATA_KEY, {}).get("text_pixels", 0) * min(1, NARROW_COLUMN / width)
    if 0 < shown < LEAST_TEXT_PIXELS:
        yield (
            f"text of {shown:.1f} pixels in a window 900 pixels wide, at least {LEAST_TEXT_PIXELS}: "
            "make the figure narrower (fewer columns) or its text larger"
        )


def _explained(lesson: Lesson, index: int) -> bool:
    """Tell whether the cell after this one is Markdown that says what to see."""
    after = lesson.notebook.cells[index + 1 : index + 2]
    return bool(after) and after[0].cell_type == "markdown" and "**What to see**" in after[0].source


def metadata(lesson: Lesson) -> Violations:
    """Nothing volatile is stored: no versions, timing, or widget state; ids are there and unique."""
    if lesson.notebook.metadata != NOTEBOOK_METADATA:
        yield "", "the notebook's metadata was not written by refresh"
    ids = [cell.id for cell in lesson.notebook.cells]
    for cell_id in sorted({name for name in ids if ids.count(name) > 1}):
        yield cell_id, "two cells have this id"
    for cell in lesson.notebook.cells:
        if set(cell.metadata) - {"tags"}:
            yield cell.id, "the cell's metadata was not written by refresh"
    for cell in lesson.code:
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            yield cell.id, "a widget's view is stored, which shows nothing without its kernel: run refresh"
