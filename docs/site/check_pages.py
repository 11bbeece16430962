"""Check the pages that `make site` has built: links, alt texts, and that nothing is fetched from elsewhere.

    python docs/site/check_pages.py build/site

prints one line for each fault, and ends with status 1 if there is one.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""Elements that fetch what they name, without a click."""


@dataclass
class Page(HTMLParser):
    """What a page says of itself.

    Attributes:
        links: Targets of its links.
        loaded: What it fetches.
        anchors: Ids that a link may name.
        bare: Pictures without alt text.
    """

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    bare: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read one element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loaded.append(values.get("href", ""))
        if tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])
        if tag == "img" and not values.get("alt", "").strip() and values.get("role") != "presentation":
            self.bare.append(values.get("src", "")[:60])


def read_page(path: Path) -> Page:
    """Read one page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with the pages of a folder.

    Args:
        site: Folder with the pages, and with everything that they load.
    """
    files = [
        path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    ]  # themes keep templates there
    pages = {path.resolve(): read_page(path) for path in files}
    if not pages:
        yield f"{site}: holds no page"
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        yield from (f"{name}: a picture without alt text: {source}" for source in page.bare)
        yield from (f"{name}: fetches {source}" for source in page.loaded if _is_elsewhere(source))
        for target in page.links + page.loaded:
            if not _is_elsewhere(target) and (problem := _problem(path, target, pages)):
                yield f"{name}: {problem}: {target}"


def _is_elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme not in ("", "file")


def _problem(path: Path, target: str, pages: dict[Path, Page]) -> str:
    """Say why a target inside the site leads nowhere; nothing where it leads somewhere."""
    parts = urlsplit(target)
    there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if there.is_dir():
        there = there / "index.html"
    if not there.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and there in pages and anchor not in pages[there].anchors:
        return "no such place on the page"
    return ""


def main(arguments: list[str]) -> int:
    """Print all faults; return the exit status."""
    found = list(faults(Path(arguments[0])))
    print("\n".join(found) or "no broken link, no picture without alt text, nothing fetched from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
