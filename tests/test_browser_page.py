"""The page of `natural-traces app` in a real browser.

Only when asked for: `--all-lessons` (`make browser`), or `NATURAL_TRACES_BROWSER=page`.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import browser_page, chromium

from helpers.data import catalog
from helpers.data.images import encode_jpeg

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the extra `dev`)")
if chromium() is None:
    pytest.skip("there is no Chromium: install it, or name it in NATURAL_TRACES_CHROMIUM", allow_module_level=True)

SHOTS = Path(__file__).resolve().parents[1] / "build" / "browser"


@pytest.fixture(scope="module")
def wanted(request: pytest.FixtureRequest) -> None:
    if os.environ.get("NATURAL_TRACES_BROWSER") != "page" and not request.config.getoption("--all-lessons"):
        pytest.skip("the page is opened in a browser only by NATURAL_TRACES_BROWSER=page or --all-lessons")


@pytest.fixture(scope="module")
def address(wanted: None) -> Iterator[str]:
    command = [sys.executable, "-m", "helpers", "app", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())["address"]
        process.terminate()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "coffee.jpg", folder / "no picture.png"]
    paths[0].write_bytes(encode_jpeg(catalog.photograph("coffee"), 90))
    paths[1].write_bytes(b"nothing")
    return paths


@pytest.mark.parametrize("width", [1366, 900])
def test_pictures_become_statements_and_a_table(address: str, files: list[Path], tmp_path: Path, width: int) -> None:
    said: list[str] = []
    with browser_page(tmp_path / "profile", width) as page:
        page.on("console", lambda message: said.append(message.text))
        page.on(
            "request",
            lambda request: (
                said.append(request.url) if not request.url.startswith((address, "data:", "about:")) else None
            ),
        )
        page.goto(address)
        tree = page.locator("main").aria_snapshot()
        assert "Drop pictures here" in tree
        assert 'spinbutton "Share of generated pictures' in tree
        page.get_by_label("Drop pictures here").set_input_files([str(path) for path in files])
        page.get_by_label("Share of generated").fill("0.01")
        page.get_by_role("button", name="State what can be said").click()
        page.wait_for_selector("table")
        rows = page.locator("tbody tr").all_inner_texts()
        assert rows[0].startswith("coffee.jpg")
        assert "refused" in rows[1]
        page.locator("summary", has_text="coffee.jpg").click()
        frame = page.frame_locator("iframe").first
        frame.locator(".verdict").wait_for()
        assert frame.locator("img").count() >= 2
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download the table").click()
        table = tmp_path / "table.csv"
        waiting.value.save_as(table)
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"page-{width}.png"), full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=str(SHOTS / f"page-dark-{width}.png"), full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    written = list(csv.DictReader(table.open(encoding="utf-8-sig")))
    assert [row["file"] for row in written] == ["coffee.jpg", "no picture.png"]
    assert float(written[0]["base_rate"]) == 0.01
    assert said == []
