"""JupyterLab in a real browser, as the browser tests drive it: on loopback, with folders of its own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "loopback"
CELL_SECONDS = 600
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


def chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    names = (os.environ.get("NATURAL_TRACES_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: its address.
        folder: what it serves.
    """

    url: str
    folder: Path

    def request(self, method: str, path: str) -> Any:
        """Call the server's REST interface."""
        request = urllib.request.Request(f"{self.url}/api/{path}?token={TOKEN}", method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def stop_kernels(self) -> None:
        """End all sessions, as after a night."""
        for session in self.request("GET", "sessions"):
            self.request("DELETE", f"sessions/{session['id']}")


@contextmanager
def running_lab(folder: Path, home: Path) -> Iterator[Lab]:
    """Serve a folder by JupyterLab until the block ends.

    Args:
        folder: holds the notebooks; saved files land there.
        home: for settings, workspaces and run-time files.
    """
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--expose-app-in-browser", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    places = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "no_proxy": "127.0.0.1,localhost",
    }
    with (home / "lab.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, env={**os.environ, **places}, stdout=log, stderr=log, cwd=folder)
        lab = Lab(f"http://127.0.0.1:{port}", folder)
        try:
            _wait_until_served(lab, server)
            yield lab
        finally:
            server.terminate()
            server.wait(timeout=60)


def _wait_until_served(lab: Lab, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            lab.request("GET", "status")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError("JupyterLab did not start; see lab.log")


@contextmanager
def browser_page(profile: Path, width: int = 1366, height: int = 900) -> Iterator["Page"]:
    """Open a page of a headless Chromium with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium(),
            args=list(QUIET),
            viewport={"width": width, "height": height},
        )
        try:
            page = context.pages[0] if context.pages else context.new_page()
            page.set_default_timeout(240_000)
            yield page
        finally:
            context.close()


def open_notebook(page: "Page", lab: Lab, name: str) -> None:
    """Open a notebook and wait until its kernel is ready."""
    page.goto(f"{lab.url}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=180_000,
    )


def command(page: "Page", name: str) -> None:
    """Run a command of JupyterLab, without waiting for its end."""
    page.evaluate("name => { window.jupyterapp.commands.execute(name); }", name)


def wait_until_run(page: "Page") -> None:
    """Wait until no cell is running or waiting."""
    page.wait_for_timeout(500)
    page.wait_for_function(
        """() => ![...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')]
            .some(prompt => prompt.textContent.includes('*'))""",
        timeout=CELL_SECONDS * 1000,
    )


def run_all(page: "Page") -> None:
    """Run all cells and wait for the last."""
    command(page, "notebook:run-all-cells")
    wait_until_run(page)


def save(page: "Page") -> None:
    """Save the notebook and wait until the file is written."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


def errors(page: "Page") -> list[str]:
    """Return the errors that cells show."""
    return page.locator('.jp-OutputArea [data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()


def source(page: "Page", old: str, new: str) -> int:
    """Replace text in the code cells; return in how many."""
    return page.evaluate(
        """([old, next]) => {
            const cells = window.jupyterapp.shell.currentWidget.content.widgets;
            const hits = cells.filter(cell => cell.model.sharedModel.getSource().includes(old));
            for (const cell of hits) {
                cell.model.sharedModel.setSource(cell.model.sharedModel.getSource().replace(old, next));
            }
            return hits.length;
        }""",
        [old, new],
    )
