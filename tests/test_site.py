"""The site of `make site`: what its settings make of notebooks and docstrings, and what its check finds."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from helpers.course import NOTEBOOKS, lessons


def load(project: Path, name: str) -> ModuleType:
    """Import a file of docs/site, which is no package."""
    spec = importlib.util.spec_from_file_location(name, project / "docs" / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def conf(project: Path) -> ModuleType:
    return load(project, "conf")


@pytest.fixture(scope="module")
def check_pages(project: Path) -> ModuleType:
    return load(project, "check_pages")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("path", lessons(NOTEBOOKS), ids=lambda path: path.stem)
def test_every_stored_picture_gets_its_alt_text(conf: ModuleType, path: Path) -> None:
    notebook = json.loads(conf.with_alt_texts(path.read_text(encoding="utf-8")))
    for cell in notebook["cells"]:
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        assert len(pictures) <= 1, "myst-nb has one alt text for all pictures of a cell"
        for picture in pictures:
            assert cell["metadata"]["mystnb"]["image"]["alt"] == picture["metadata"]["image/png"]["alt"] != ""


def test_every_module_has_its_place_in_the_api(conf: ModuleType, project: Path) -> None:
    pages = conf.api_pages()
    text = "\n".join(pages.values())
    modules = {
        ".".join(path.relative_to(project).with_suffix("").parts).removesuffix(".__init__")
        for path in (project / "helpers").rglob("*.py")
        if path.stem != "__main__"
    }
    assert {line.removeprefix(".. automodule:: ") for line in text.splitlines() if "automodule" in line} == (
        modules - {"helpers"}
    )
    assert set(pages) - {"index"} <= {line.strip() for line in pages["index"].splitlines()}


def test_tables_of_docstrings(conf: ModuleType) -> None:
    assert conf.with_tables(["One.", "", "Two | three."]) == ["One.", "", "Two | three."]
    table = conf.with_tables(["| a | b |", "|---|---|", "| 1 | `x` |"])
    assert table == ["", ".. list-table::", "   :header-rows: 1", "", "   * - a", "     - b", "   * - 1", "     - `x`"]


def test_all_pages_of_docs_are_in_the_guides(project: Path) -> None:
    listed = (project / "docs" / "site" / "guides.md").read_text(encoding="utf-8")
    assert [path.stem for path in project.glob("docs/*.md") if f"/docs/{path.stem}\n" not in listed] == []


# ---------------------------------------------------------------- check

SOUND = '<h1 id="top">x</h1><a href="b.html#there">b</a><a href="#top">t</a><a href="https://x.org">x</a>'


def write(site: Path, first: str, second: str = '<p id="there"><a href="a.html">a</a></p>') -> Path:
    (site / "sub").mkdir()
    (site / "a.html").write_text(first, encoding="utf-8")
    (site / "b.html").write_text(second, encoding="utf-8")
    (site / "p.png").write_bytes(b"")
    return site


def test_a_sound_site(check_pages: ModuleType, tmp_path: Path) -> None:
    site = write(tmp_path, SOUND + '<img src="p.png" alt="A picture.">')
    assert list(check_pages.faults(site)) == []
    assert check_pages.main([str(site)]) == 0


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ('<a href="c.html">c</a>', "a.html: no such file: c.html"),
        ('<a href="b.html#here">b</a>', "a.html: no such place on the page: b.html#here"),
        ('<a href="#here">b</a>', "a.html: no such place on the page: #here"),
        ('<a href="sub/">s</a>', "a.html: no such file: sub/"),
        ('<img src="p.png">', "a.html: a picture without alt text: p.png"),
        ('<img src="p.png" alt=" ">', "a.html: a picture without alt text: p.png"),
        ('<img src="q.png" alt="Q.">', "a.html: no such file: q.png"),
        ('<script src="https://cdn.example/x.js"></script>', "a.html: fetches https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "a.html: fetches //cdn.example/x.css"),
    ],
)
def test_a_fault_is_found(check_pages: ModuleType, tmp_path: Path, html: str, message: str) -> None:
    site = write(tmp_path, SOUND + html)
    assert list(check_pages.faults(site)) == [message]
    assert check_pages.main([str(site)]) == 1


def test_an_empty_site_is_a_fault(check_pages: ModuleType, tmp_path: Path) -> None:
    assert check_pages.main([str(tmp_path)]) == 1
