"""Lessons as a reader meets them: JupyterLab in a real browser, from the first cell to a file opened again next day.

Only when asked for: `--all-lessons` (`make browser`), or `NATURAL_TRACES_BROWSER=00` for one lesson. Screenshots land
in build/browser.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import (
    Lab,
    browser_page,
    chromium,
    errors,
    open_notebook,
    run_all,
    running_lab,
    save,
    source,
    wait_until_run,
)

from helpers.course import NOTEBOOKS, lesson_number, read_notebook
from helpers.course.rules.outputs import LEAST_TEXT_PIXELS, METADATA_KEY, NARROW_COLUMN
from helpers.course.widgets import LIVE, WIDGET_VIEW
from helpers.data.images import encode_png

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the extra `dev`)")
if chromium() is None:
    pytest.skip("there is no Chromium: install it, or name it in NATURAL_TRACES_CHROMIUM", allow_module_level=True)

SHOTS = NOTEBOOKS.parent / "build" / "browser"
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
WIDE, NARROW = 1366, 900
MOST_PIXELS = 16_000
"""Height of the tallest picture that is kept; Chromium draws none that is much taller. A long lesson takes two."""
CHANGES = {0: ("quality=40", "quality=80")}
"""Lesson -> a number that a reader may change, and what to."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lesson" in metafunc.fixturenames:
        one = os.environ.get("NATURAL_TRACES_BROWSER", "-")
        every = metafunc.config.getoption("--all-lessons")
        chosen = [path for path in LESSONS if every or path.name.startswith(one)]
        metafunc.parametrize("lesson", chosen, ids=[path.stem for path in chosen], scope="module")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    for path in [*LESSONS, NOTEBOOKS / "check_kernel.py"]:
        shutil.copy(path, folder)
    with running_lab(folder, home) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with browser_page(tmp_path_factory.mktemp("profile"), WIDE) as opened:
        yield opened


def shot(page: object, lesson: Path, name: str) -> None:
    """Keep a picture of the page for whoever looks at it later."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"{lesson.stem}-{name}.png"))


def shots_of_all(page: object, lesson: Path, name: str) -> None:
    """Keep pictures of the whole notebook, from top to bottom."""
    before, notebook = page.viewport_size, page.locator(".jp-WindowedPanel-outer")
    height = notebook.evaluate("element => element.scrollHeight")
    page.set_viewport_size({"width": before["width"], "height": min(MOST_PIXELS, height + 150)})
    shown = notebook.evaluate("element => element.clientHeight")
    for part, top in enumerate(range(0, height, shown)):
        notebook.evaluate("(element, top) => { element.scrollTop = top }", top)
        page.wait_for_timeout(1000)
        shot(page, lesson, f"{name}-{part}" if part else name)
    page.set_viewport_size(before)


@pytest.fixture(scope="module")
def session(lab: Lab, page: object, lesson: Path) -> object:
    """The page after all cells of the lesson have run."""
    try:
        open_notebook(page, lab, lesson.name)
        shot(page, lesson, "opened")
        run_all(page)
    finally:
        shot(page, lesson, "run")
    return page


def test_all_cells_run_without_an_error(session: object) -> None:
    assert errors(session) == []
    assert session.locator(".jp-InputPrompt").count() > 5


def test_a_live_widget_stands_in_place_of_its_picture(session: object, lesson: Path) -> None:
    boxes = session.locator(f".{LIVE}")
    if boxes.count() == 0:
        pytest.skip("this lesson has no widget")
    for index in range(boxes.count()):
        boxes.nth(index).scroll_into_view_if_needed()
        assert boxes.nth(index).is_visible()
        children = boxes.nth(index).locator(
            "xpath=ancestor::*[contains(@class,'jp-OutputArea-child')][1]/../*[contains(@class,'jp-OutputArea-child')]"
        )
        seen = [children.nth(place).is_visible() for place in range(children.count())]
        assert seen.count(True) == 1, "the picture and its caption are hidden while the widget is alive"
    shot(session, lesson, "widget")


def test_every_control_has_a_name_that_a_screen_reader_says(session: object) -> None:
    for box in session.locator(f".{LIVE}").all():
        tree = box.aria_snapshot()
        assert re.findall(r"^\s*- (?:spinbutton|combobox|button|checkbox)(?! \").*$", tree, re.MULTILINE) == []


def test_a_control_moved_by_keyboard_changes_the_picture(session: object) -> None:
    # A slider's handle is not reached by the keyboard; the number field before it is.
    controls = session.locator(f".{LIVE}:has(img) input[type=number], .{LIVE}:has(img) select")
    if controls.count() == 0:
        pytest.skip("this lesson has no slider and no menu")
    control = controls.first
    box = control.locator(f"xpath=ancestor::*[contains(@class,'{LIVE}')][1]")
    before = box.locator("img").first.get_attribute("src")
    control.focus()
    # JupyterLab keeps the arrows for itself outside of text fields, so a menu is opened first.
    is_menu = control.evaluate("element => element.tagName") == "SELECT"
    for key in ("Space", "ArrowDown", "Enter") if is_menu else ("ArrowUp", "Tab"):
        session.keyboard.press(key)
    drawn_anew = "([box, before]) => ![null, before].includes(box.querySelector('img')?.src ?? null)"
    session.wait_for_function(drawn_anew, arg=[box.element_handle(), before])  # each drawing is a new element
    assert box.locator("img").first.get_attribute("src") != before


def test_a_picture_of_ones_own_is_judged_and_nothing_of_it_is_kept(
    session: object, lab: Lab, lesson: Path, tmp_path: Path
) -> None:
    chooser = session.locator(f".{LIVE} .widget-upload")
    if chooser.count() == 0:
        pytest.skip("this lesson takes no picture")
    box = chooser.locator(f"xpath=ancestor::*[contains(@class,'{LIVE}')][1]")
    files = sorted(path for folder in (lab.folder, Path(tempfile.gettempdir())) for path in folder.iterdir())
    img = torch.randint(0, 256, (3, 300, 400), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (tmp_path / "of my own.png").write_bytes(encode_png(img))
    (tmp_path / "no picture.png").write_bytes(b"no picture")
    before = box.locator("img").first.get_attribute("src")
    choose(session, chooser, tmp_path / "of my own.png")
    session.wait_for_function(
        "([box, before]) => ![null, before].includes(box.querySelector('img')?.src ?? null)",
        arg=[box.element_handle(), before],
    )
    assert "Verdict: " in box.locator("img").first.get_attribute("alt")
    assert box.locator("li").count() >= 2
    shot(session, lesson, "own-picture")
    choose(session, chooser, tmp_path / "no picture.png")
    refusal = box.locator("strong", has_text="no picture.png")
    refusal.wait_for()
    assert "Traceback" not in refusal.inner_text()
    left = sorted(path for folder in (lab.folder, Path(tempfile.gettempdir())) for path in folder.iterdir())
    assert [path.name for path in left if path not in files] == []


def choose(page: object, chooser: object, path: Path) -> None:
    """Choose a file in the dialogue that the button opens."""
    with page.expect_file_chooser() as dialogue:
        chooser.first.click()
    dialogue.value.set_files(str(path))


def test_a_quiz_is_answered_by_keyboard(session: object) -> None:
    option = session.locator(".jp-MarkdownOutput details", has=session.locator("summary", has_text="a.")).last
    option.locator("summary").focus()
    session.keyboard.press("Enter")
    assert option.evaluate("element => element.open")


def test_a_changed_number_asks_and_runs_on(session: object, lesson: Path) -> None:
    if lesson_number(lesson) not in CHANGES:
        pytest.skip("no change is written down for this lesson")
    assert source(session, *CHANGES[lesson_number(lesson)]) >= 1
    run_all(session)
    shot(session, lesson, "changed")
    assert errors(session) == []
    assert session.get_by_text("did you change something?").count() >= 1


def test_a_saved_lesson_opened_again_with_a_new_kernel_shows_its_pictures(
    session: object, lab: Lab, lesson: Path
) -> None:
    save(session)
    stored = read_notebook(lab.folder / lesson.name)
    views = sum(WIDGET_VIEW in output.get("data", {}) for cell in stored.cells for output in cell.get("outputs", []))
    pictures = [
        output.metadata[METADATA_KEY].text_pixels
        for cell in stored.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    lab.stop_kernels()
    open_notebook(session, lab, lesson.name)
    session.wait_for_timeout(4000)  # the widget manager gives up on a model after two seconds
    lost = session.get_by_text("model not found")
    assert lost.count() == views
    assert not any(lost.nth(index).is_visible() for index in range(lost.count()))
    shown = session.locator(".jp-RenderedImage img")
    assert shown.count() == len(pictures)
    assert all(shown.nth(index).is_visible() for index in range(shown.count()))
    shot(session, lesson, "again")
    for theme, width in (("light", NARROW), ("dark", NARROW), ("dark", WIDE)):
        look(session, theme, width)
        shots_of_all(session, lesson, f"again-{theme}-{width}")
    look(session, "light", NARROW)
    sizes = session.eval_on_selector_all(
        ".jp-RenderedImage img", "all => all.map(one => [one.clientWidth, one.naturalWidth])"
    )
    small = [text * now / natural for text, (now, natural) in zip(pictures, sizes, strict=True) if text]
    assert min(now for now, natural in sizes if natural > NARROW_COLUMN) >= 0.95 * NARROW_COLUMN
    assert min(small) >= 0.95 * LEAST_TEXT_PIXELS
    look(session, "light", WIDE)


def look(page: object, theme: str, width: int) -> None:
    """Change theme and width of the window; in a narrow one the file browser is closed, as readers close it."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(
        "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
        f"JupyterLab {theme.capitalize()}",
    )
    page.evaluate("close => window.jupyterapp.shell[close ? 'collapseLeft' : 'expandLeft']()", width == NARROW)
    page.wait_for_timeout(1500)
    wait_until_run(page)
