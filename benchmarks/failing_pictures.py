"""A picture server for bench_downloads.py that fails one request in twenty, and counts what it sends.

It runs in a process of its own; the counters are in memory that the processes share.
"""

import asyncio
import io
import zlib
from functools import cache, partial
from multiprocessing import RawArray, RawValue
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

FAILING = 0.05
MISSING = 100  # one picture in so many does not exist
# A 429 stops the whole host for a second, so it is rarer than the others.
FAULTS = ("429", *3 * ("500", "503", "closed", "cut short"))
_REASONS = {"429": b"429 Too Many Requests\r\nRetry-After: 1", "500": b"500 Error", "503": b"503 Busy"}


class Counters:
    """What a server did, by picture; and how it is to answer.

    Attributes:
        failing: its `value` is 1 if one request in twenty fails, else 0.
        delay: its `value` is the time before each answer, in seconds.
    """

    def __init__(self, pictures: int) -> None:
        self._memory = RawArray("q", 3 * pictures)
        self.failing = RawValue("b", 1)
        self.delay = RawValue("d", 0.0)

    def rows(self) -> np.ndarray:
        """Returns the counts [3, pictures]: requests, complete pictures sent, answers "unchanged". The view is live."""
        return np.frombuffer(self._memory, np.int64).reshape(3, -1)


@cache
def _jpeg() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG")
    return written.getvalue()


def picture(number: int) -> bytes:
    """Returns a picture; the bytes after its end marker make it different from all others."""
    return _jpeg() + number.to_bytes(8, "big")


def is_missing(number: int) -> bool:
    """Whether the server has no such picture."""
    return number % MISSING == MISSING - 1


class _Server(asyncio.Protocol):
    """Answers GET /NUMBER on one connection."""

    def __init__(self, counters: Counters) -> None:
        self._failing, self._delay = counters.failing, counters.delay
        self._requests, self._sent, self._unchanged = counters.rows()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every complete request."""
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            if self._delay.value:
                asyncio.get_running_loop().call_later(self._delay.value, partial(self._answer, head))
            else:
                self._answer(head)

    def _answer(self, head: bytes) -> None:
        number = int(head.split(b" ", 2)[1][1:])
        self._requests[number] += 1
        etag = b'"%d"' % number
        fault = self._fault(number)
        if fault in _REASONS:
            self._transport.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % _REASONS[fault])
        elif fault == "closed":
            self._transport.abort()
        elif is_missing(number):
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif b"If-None-Match: " + etag in head:
            self._unchanged[number] += 1
            self._transport.write(b"HTTP/1.1 304 Not Modified\r\nETag: %s\r\n\r\n" % etag)
        else:
            content = picture(number)
            answer = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %d\r\n\r\n" % (etag, len(content)) + content
            if fault == "cut short":
                self._transport.write(answer[: -len(content) // 2])
                self._transport.close()
            else:
                self._sent[number] += 1
                self._transport.write(answer)

    def _fault(self, number: int) -> str:
        """Returns how this request fails, "" if it does not. The same in every run."""
        drawn = zlib.crc32(b"%d %d" % (number, self._requests[number]))
        return FAULTS[drawn % len(FAULTS)] if self._failing.value and drawn < FAILING * 2**32 else ""


def serve(counters: Counters, address: Connection) -> None:
    """Serves until the process ends; sends its URL first."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Server(counters), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        address.send(f"http://{host}:{port}")
        await server.serve_forever()

    asyncio.run(run())
