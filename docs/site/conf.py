"""Settings of the site that `make site` builds: the executed lessons, the pages of `docs/`, and the API.

Nothing is run and nothing is fetched: notebooks are shown with their stored outputs, and every script, style and font
lies beside the pages.
"""

import importlib.metadata
import json
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import helpers  # noqa: E402

project = "Natural Traces"
author = "the Natural Traces authors"
project_copyright = author
release = helpers.__version__
language = "en"

root_doc = "README"
include_patterns = [
    *(
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/*.md",
        "docs/site/*.md",
        "docs/site/api/*.rst",
    ),
    *("data/results/README.md", "notebooks/[0-9][0-9]_*.ipynb"),
]
extensions = [
    *("myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx-mathjax-offline"),
]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # a class that two modules bear, or an attribute called `bytes`, is no broken link

autodoc_default_options = {
    **{"members": True, "ignore-module-all": True},  # what a module passes on is described where it is defined
    **{"show-inheritance": True, "member-order": "bysource"},
}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring, napoleon_use_ivar = True, False, True
napoleon_attr_annotations = False
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = "Natural Traces"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

CONTENTS = """

```{toctree}
:hidden:

docs/site/lessons
docs/site/guides
docs/site/api/index
```
"""
"""What the site adds to its front page, which is the README."""


def with_alt_texts(text: str) -> str:
    """Tell myst-nb the alt text that the course stores with each picture, and which outputs it must not show.

    Args:
        text: A notebook, as JSON.
    """
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    return json.dumps(notebook)


def api_pages() -> dict[str, str]:
    """Write one page of reStructuredText for each room of the package, with one section for each module.

    Returns:
        Name of the page -> text.
    """
    rooms: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(helpers.__path__, "helpers."):
        if not module.name.endswith("__main__"):
            rooms.setdefault(module.name.split(".")[1], []).append(module.name)
    pages = {room: _room_page(room, names) for room, names in rooms.items()}
    listed = "\n".join(f"   {room}" for room in ("api", *sorted(set(rooms) - {"api"})))
    return {"index": f"API reference\n=============\n\n.. toctree::\n   :maxdepth: 2\n\n{listed}\n"} | pages


def _room_page(room: str, names: list[str]) -> str:
    title = f"helpers.{room}"
    lines = [title, "=" * len(title), ""]
    for name in sorted(names):
        lines += [] if name == title else [name, "-" * len(name), ""]
        lines += [f".. automodule:: {name}", ""]
    return "\n".join(lines)


def with_tables(lines: list[str]) -> list[str]:
    """Turn the Markdown tables of a docstring into those of reStructuredText.

    >>> with_tables(["| a | b |", "|---|---|", "| 1 | 2 |", "End."])
    ['', '.. list-table::', '   :header-rows: 1', '', '   * - a', '     - b', '   * - 1', '     - 2', '', 'End.']
    """
    result: list[str] = []
    inside = False
    for line in [*lines, ""]:
        is_row = line.startswith("|") and line.endswith("|")
        if is_row and not inside:
            result += ["", ".. list-table::", "   :header-rows: 1", ""]
        if inside and not is_row and line:
            result.append("")
        inside = is_row
        if not is_row:
            result.append(line)
        elif set(line) - set("|-: "):
            first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
            result += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
    return result[:-1]


def before_napoleon(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:  # noqa: ANN401
    """Keep the docstring of a constant, in which napoleon takes all that stands before a colon for a type."""
    app.kept_docstring = list(lines)


def after_napoleon(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:  # noqa: ANN401
    """Change what autodoc reads: constants as they are written, tables in docstrings."""
    lines[:] = with_tables(app.kept_docstring if what in ("attribute", "data") else lines)


def is_skipped(app: Any, what: str, name: str, thing: Any, skip: bool, options: object) -> bool | None:  # noqa: ANN401
    """Leave out functions of other packages, which decorators of SciPy hide, and those that bear a submodule's name."""
    module = getattr(thing, "__module__", None) or "helpers"
    full = f"{module}.{getattr(thing, '__name__', '')}"
    return True if not module.startswith("helpers") or full in sys.modules else None


def write_api(app: Any) -> None:  # noqa: ANN401
    """Write the pages of the API before Sphinx looks for its sources."""
    folder = Path(app.srcdir) / "docs" / "site" / "api"
    folder.mkdir(exist_ok=True)
    for name, text in api_pages().items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")


def before_reading(app: Any, name: str, source: list[str]) -> None:  # noqa: ANN401
    """Change what Sphinx reads: front page and notebooks."""
    if name == root_doc:
        source[0] += CONTENTS
    elif name.startswith("notebooks/"):
        source[0] = with_alt_texts(source[0])


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Connect the above with Sphinx."""
    app.connect("builder-inited", write_api)
    app.connect("source-read", before_reading)
    app.connect("autodoc-skip-member", is_skipped)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    return {"version": importlib.metadata.version("sphinx"), "parallel_read_safe": True}
