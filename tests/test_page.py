"""The page of `natural-traces app`: what it takes, what it says, what it refuses, and that nothing is kept."""

import asyncio
import csv
import html
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.api import Detector, Statement, explain, load_detector
from helpers.data.images import encode_png
from helpers.page.server import PageError, serve
from helpers.page.text import COLUMNS, Limits, Outcome, csv_table, page

LIMITS = Limits(count=3, bytes=1_000_000, total=2_000_000)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("ntf")


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encode_png(
        torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    )


@pytest.fixture(scope="module")
def statement(detector: Detector, picture: bytes) -> Statement:
    return explain(picture, detector, 0.25, name="a.png")


@pytest.fixture(scope="module")
def address(detector: Detector) -> Iterator[str]:
    """The page, served by this process."""
    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()

    def started(there: str) -> None:
        found.append(there)
        ready.set()

    def judge(data: bytes, name: str, base_rate: float) -> Statement:
        return explain(data, detector, base_rate, name=name)

    task = loop.create_task(serve(judge, started, limits=LIMITS))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)))
    thread.start()
    assert ready.wait(30)
    yield found[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


def ask(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Get or post; return status, text and headers."""
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            return response.status, response.read().decode(), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def post(address: str, files: list[tuple[str, bytes]], base_rate: str = "0.25", **headers: str) -> tuple[int, str]:
    """Send the form as a browser does."""
    parts = [b'--x\r\nContent-Disposition: form-data; name="base_rate"\r\n\r\n' + base_rate.encode()]
    for name, data in files:
        head = f'--x\r\nContent-Disposition: form-data; name="pictures"; filename="{name}"'
        parts.append(f"{head}\r\nContent-Type: image/png\r\n\r\n".encode() + data)
    body = b"\r\n".join([*parts, b"--x--\r\n"])
    return ask(address, body, Content_Type="multipart/form-data; boundary=x", **headers)[:2]


def downloaded(text: str) -> list[dict[str, str]]:
    """Read the table that the page's link holds."""
    coded = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="statements.csv"', text)[1]
    return list(csv.DictReader(io.StringIO(b64decode(coded).decode("utf-8-sig"))))


# ---------------------------------------------------------------- what it says


def test_the_form_states_its_limits_and_fetches_nothing(address: str) -> None:
    status, text, headers = ask(address)
    assert status == 200
    assert LIMITS.sentence() in text
    assert "<script" not in text
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


def test_pictures_get_statements_and_a_table(address: str, picture: bytes, statement: Statement) -> None:
    status, text = post(address, [("a.png", picture), ("broken.png", b"no picture")])
    assert status == 200
    first, second = downloaded(text)
    assert tuple(first) == COLUMNS
    assert (first["file"], first["verdict"], first["error"]) == ("a.png", statement.verdict, "")
    assert float(first["probability"]) == pytest.approx(statement.probability, rel=1e-4)
    assert float(first["base_rate"]) == 0.25
    assert (second["file"], second["verdict"]) == ("broken.png", "")
    assert second["error"]
    assert "broken.png" not in second["error"]
    assert html.escape(statement.to_html()) in text
    assert text.count("<iframe sandbox ") == 1


def test_names_from_strangers_are_text_and_no_formulas(statement: Statement) -> None:
    name = '=1+2<img src=x onerror="alert(1)">'
    text = page(LIMITS, outcomes=[Outcome(name, replace(statement, path=name)), Outcome(name, None, "<b>no</b>")])
    assert "<img src=x" not in text
    assert "<b>no" not in text
    assert [row["file"] for row in downloaded(text)] == [f"'{name}"] * 2


def test_the_table_leaves_empty_what_is_not_known(statement: Statement) -> None:
    known = replace(statement, likelihood_ratio=None, p_photograph=None, p_generated=None, reasons=("Small.", "Flat."))
    (row,) = csv.DictReader(io.StringIO(csv_table([Outcome("a.png", known)])))
    assert (row["likelihood_ratio"], row["p_photograph"], row["reasons"]) == ("", "", "Small. Flat.")


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("count", "base_rate", "message"),
    [
        (0, "0.5", "There must be a picture."),
        (4, "0.5", LIMITS.sentence()),
        (1, "0", "The share must lie between 0 and 1"),
        (1, "nan", "The share must lie between 0 and 1"),
        (1, "many", "The share must lie between 0 and 1"),
    ],
)
def test_forms_that_ask_too_much(address: str, picture: bytes, count: int, base_rate: str, message: str) -> None:
    status, text = post(address, [(f"{number}.png", picture) for number in range(count)], base_rate)
    assert status == 400
    assert message in text
    assert "<iframe" not in text


def test_a_large_file_is_refused_alone(address: str, picture: bytes) -> None:
    _, text = post(address, [("large.png", picture + bytes(LIMITS.bytes)), ("a.png", picture)])
    large, small = downloaded(text)
    assert large["error"] == "larger than 1 MB"
    assert small["error"] == ""


def test_a_larger_form_is_not_read_at_all(address: str) -> None:
    host, port = address.removeprefix("http://").strip("/").split(":")
    head = f"POST / HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {10 * LIMITS.total}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_other_sites_get_nothing(address: str, picture: bytes, headers: dict[str, str]) -> None:
    assert post(address, [("a.png", picture)], **headers)[0] == 403


def test_a_taken_port_is_one_line(address: str) -> None:
    port = int(address.strip("/").rsplit(":", 1)[1])
    with pytest.raises(PageError, match=rf"127\.0\.0\.1, port {port}: "):
        asyncio.run(serve(lambda *_: None, print, port=port))


# ---------------------------------------------------------------- the command


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_the_command_serves_until_it_is_interrupted_and_writes_nothing(tmp_path: Path, picture: bytes) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "helpers", "app", "--port", "0", "--json", "--detector", "ntf"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = json.loads(process.stdout.readline())["address"]
        assert address.startswith("http://127.0.0.1:")
        before = sorted(tmp_path.rglob("*"))
        status, text = post(address, [("a.png", picture)])
        assert (status, downloaded(text)[0]["error"]) == (200, "")
        assert sorted(tmp_path.rglob("*")) == before
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
