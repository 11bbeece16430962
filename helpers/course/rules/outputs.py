"""Rules for a lesson's stored outputs."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

from helpers.course.refresh import NOTEBOOK_METADATA
from helpers.course.rules.lesson import Lesson
from helpers.course.widgets import WIDGET_VIEW

Found = Iterator[tuple[str, str]]

MACHINE_PATH = re.compile(r"/(?:home|Users|root|tmp|work|usr|opt|var|mnt)/|\b[A-Z]:\\|site-packages|\.venv")
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}|id=\\*[\"']T_")
PIXELS = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]+")
LEAST_ALT_WORDS = 4


class _Images(HTMLParser):
    """Collects the alt texts of images."""

    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


def executed_in_order(lesson: Lesson) -> Found:
    """All code cells were executed once, from top to bottom, without an error."""
    counts = [cell.execution_count for cell in lesson.code]
    if counts != list(range(1, len(counts) + 1)):
        yield "", "outputs are not those of one run from top to bottom: run refresh"
    for cell in lesson.code:
        if any(output.output_type == "error" for output in cell.outputs):
            yield cell.id, "the stored output is an error"


def portable(lesson: Lesson) -> Found:
    """No output holds a warning, a path of the machine, or an address in memory."""
    for cell in lesson.code:
        if any(output.output_type == "stream" and output.name == "stderr" for output in cell.outputs):
            yield cell.id, "something was written to standard error, such as a warning"
        text = PIXELS.sub("", json.dumps(cell.outputs, ensure_ascii=False))
        for pattern, what in ((MACHINE_PATH, "a path of the machine"), (ADDRESS, "an address or a random id")):
            match = pattern.search(text)
            if match:
                yield cell.id, f"the output holds {what}: {text[max(0, match.start() - 20) : match.end() + 20]}"


def figures(lesson: Lesson) -> Found:
    """Every figure has alt text, which is also visible, and says below what to see."""
    for index, cell in enumerate(lesson.notebook.cells):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data):
                yield cell.id, "a figure without alt text: display it by helpers.course.figures.show"
            parser = _Images()
            parser.feed(data.get("text/html", ""))
            if any(len(alt.split()) < LEAST_ALT_WORDS for alt in parser.alts):
                yield cell.id, "an image's alt text is missing or too short"
            if data.get("text/plain", "").startswith("Figure: ") and not _explained(lesson, index):
                yield cell.id, "no Markdown cell with '**What to see**' follows the figure"


def _explained(lesson: Lesson, index: int) -> bool:
    """Tell whether the cell after this one is Markdown that says what to see."""
    after = lesson.notebook.cells[index + 1 : index + 2]
    return bool(after) and after[0].cell_type == "markdown" and "**What to see**" in after[0].source


def metadata(lesson: Lesson) -> Found:
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
