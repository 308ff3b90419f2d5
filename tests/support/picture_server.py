"""A picture server that misbehaves as real ones do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Download settings for a server that need not be spared.
QUICK: dict[str, Any] = {"first_wait_s": 0.01, "per_host_per_s": 10_000.0, "timeout_s": 5.0}

Answer = Callable[[BaseHTTPRequestHandler, int], None]


class PictureServer:
    """Answers GET /NAME as `answers[NAME]` says, or with the bytes `NAME` itself.

    Attributes:
        url: its address.
        answers: path without slash -> function of the handler and the number of the request (from 1) for this path.
        requests: path -> how often it was asked for.
        seen: request headers, in order.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []
        self.times: list[float] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                with outer._lock:
                    outer.requests[name] += 1
                    outer.seen.append({key.lower(): value for key, value in self.headers.items()})
                    outer.times.append(time.monotonic())
                    number = outer.requests[name]
                outer.answers.get(name, send)(self, number)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[PictureServer]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def send(handler: BaseHTTPRequestHandler, number: int = 1, status: int = 200, **headers: str) -> None:
    """Sends the path as content."""
    content = handler.path.lstrip("/").encode() if status == 200 else b""
    handler.send_response(status)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {"Content-Length": str(len(content)), **named}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def fail_first(times: int, status: int = 503, **headers: str) -> Answer:
    """Fails the first requests, then answers."""

    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number <= times:
            send(handler, number, status, **headers)
        else:
            send(handler, number)

    return answer


def pictures(folder: Path) -> list[Path]:
    """Returns what is in a folder of downloads, complete or not, besides its journal and its lock."""
    own = {"downloads.jsonl", ".lock"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in own)
