"""The server behind the page: it takes pictures into memory, states what can be said, and forgets them."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPFile
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from helpers.api import Statement
from helpers.errors import NaturalTracesError, printable
from helpers.page.text import Limits, Outcome, page

__all__ = ["LOOPBACK", "Judge", "PageError", "application", "serve"]

Judge = Callable[[bytes, str, float], Statement]
"""Takes the bytes of a file, its name and a base rate."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ENVELOPE = 1_000_000
"""Bytes that a form needs around its files, at most."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageError(NaturalTracesError):
    """The page cannot be served there."""


@dataclass(frozen=True)
class Service:
    """What answers the requests.

    Attributes:
        judge: States what can be said of one file.
        limits: What is taken at a time.
        worker: One thread: pictures are judged one after the other, and the server goes on answering.
        local: Whether to answer only who asks for this computer by its loopback names.
    """

    judge: Judge
    limits: Limits
    worker: ThreadPoolExecutor
    local: bool

    def outcome(self, file: HTTPFile, base_rate: float) -> Outcome:
        """Judge one file; what cannot be read is an outcome that says why."""
        name = printable(file.filename)[:200]
        if len(file.body) > self.limits.bytes:
            return Outcome(name, None, f"larger than {self.limits.bytes // 1_000_000} MB")
        try:
            return Outcome(name, self.judge(file.body, name, base_rate))
        except NaturalTracesError as error:
            return Outcome(name, None, str(error).removeprefix(f"{name}: "))
        except MemoryError:
            return Outcome(name, None, "not enough memory")


class PageHandler(RequestHandler):
    """The page at `/`."""

    def initialize(self, service: Service) -> None:
        """Take what answers."""
        self.service = service

    def set_default_headers(self) -> None:
        """Forbid scripts, foreign resources, and keeping the answer."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse what another site asks of this computer (DNS rebinding, forms of strangers)."""
        host = self.request.host
        name = host.rsplit(":", 1)[0].strip("[]")
        if self.service.local and name not in LOOPBACK:
            raise HTTPError(403)
        origin = self.request.headers.get("Origin", "null")
        if self.request.method == "POST" and origin not in (f"http://{host}", "null"):
            raise HTTPError(403)

    def get(self) -> None:
        """Show the empty form."""
        self.finish(page(self.service.limits))

    async def post(self) -> None:
        """State what can be said of the pictures in the form."""
        files = [file for file in self.request.files.get("pictures", []) if file.filename]
        limits = self.service.limits
        try:
            base_rate = float(self.get_body_argument("base_rate", "0.5"))
        except ValueError:
            base_rate = 0.0
        if not 0 < base_rate < 1:
            return self._refuse("The share must lie between 0 and 1, both left out.")
        if not files or len(files) > limits.count:
            return self._refuse(f"There must be a picture. {limits.sentence()}" if not files else limits.sentence())
        loop = asyncio.get_running_loop()
        outcome = self.service.outcome
        outcomes = [await loop.run_in_executor(self.service.worker, outcome, file, base_rate) for file in files]
        await self.finish(page(limits, base_rate, outcomes))
        return None

    def _refuse(self, problem: str) -> None:
        self.set_status(400)
        self.finish(page(self.service.limits, problem=problem))


def application(judge: Judge, limits: Limits | None = None, *, local: bool = True) -> Application:
    """Make the page's application.

    Args:
        judge: States what can be said of one file.
        limits: What is taken at a time.
        local: Whether to answer only who asks for this computer by its loopback names.
    """
    service = Service(judge, limits or Limits(), ThreadPoolExecutor(1), local)
    return Application([("/", PageHandler, {"service": service})], log_function=lambda handler: None)


async def serve(
    judge: Judge,
    started: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
) -> None:
    """Serve the page until cancelled.

    Args:
        judge: States what can be said of one file.
        started: Called with the page's address once it answers.
        host: Name or number of the interface to listen on.
        port: Any free one when 0.
        limits: What is taken at a time.

    Raises:
        PageError: Nothing can listen there.
    """
    limits = limits or Limits()
    logging.getLogger("tornado").setLevel(logging.ERROR)
    try:
        sockets = bind_sockets(port, host)
    except OSError as error:
        raise PageError(f"{host}, port {port}: {error.strerror or error}") from None
    most = limits.total + ENVELOPE
    server = HTTPServer(
        application(judge, limits, local=host in LOOPBACK), max_body_size=most, max_buffer_size=most + ENVELOPE
    )
    server.add_sockets(sockets)
    shown = f"[{host}]" if ":" in host else host
    started(f"http://{shown}:{sockets[0].getsockname()[1]}/")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()
