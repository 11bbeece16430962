"""A server on this machine that misbehaves on demand."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Server:
    """What is served, how, and what was asked for.

    Attributes:
        files: Path -> content.
        faults: Path -> how each next answer goes wrong: "404", "429", "500", "truncate", "close", "stall", "wrong".
        asked: Path -> number of requests.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path)
        self.asked[path] += 1
        waiting = self.faults.get(path, [])
        fault = waiting.pop(0) if waiting else ""
        body = self.files.get(path)
        if body is None or fault.isdigit():
            request.send_response(404 if body is None else int(fault))
            request.send_header("Retry-After", "0")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if fault == "close":
            request.close_connection = True
            request.connection.close()
            return
        sent = (
            b"other bytes" if fault == "wrong" else body[: len(body) // 2] if fault in ("truncate", "stall") else body
        )
        request.send_response(200)
        request.send_header("Content-Length", str(len(sent if fault == "wrong" else body)))
        request.end_headers()
        request.wfile.write(sent)
        request.wfile.flush()
        if fault == "stall":
            self.ended.wait(20)
        request.close_connection = True


@contextmanager
def serve() -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *words: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the other side has gone, or this one was told to go
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            http.shutdown()
            thread.join()
