"""What viewers make of a stored lesson: `nbconvert` to HTML as it is, and with everything unsafe taken out."""

import re
from pathlib import Path

import pytest

from helpers.course import NOTEBOOKS, read_notebook

nbconvert = pytest.importorskip("nbconvert")
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
BASE64_TEXT = re.compile(r">[^<]*[A-Za-z0-9+/]{200,}[^<]*<")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_every_figure_is_a_picture_with_alt_text_and_a_caption(path: Path, sanitize: bool) -> None:
    notebook = read_notebook(path)
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    exporter = nbconvert.HTMLExporter(sanitize_html=sanitize)
    page, _ = exporter.from_notebook_node(notebook)
    images = re.findall(r'<img(?=[^>]*src="data:image/png;base64)[^>]*>', page)
    assert len(images) == len(pictures)
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    assert len(re.findall(r"<strong>Figure \d+:", page)) == len(pictures)
    assert "&lt;strong&gt;Figure" not in page
    assert not BASE64_TEXT.search(re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL))
