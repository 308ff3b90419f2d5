"""Limits of every request: size and time. Plain ASGI, so that no body is buffered twice."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import problem


class BodyTooLargeError(HTTPException):
    """The body is too large. An HTTPException, because FastAPI reports any other error as an unreadable body."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(413, f"the request is larger than {max_bytes:,} bytes: send a smaller picture")


class LimitBody:
    """Answers 413 to a body larger than `max_bytes`, by its Content-Length header or while it is received."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._max_bytes:
            refusal = BodyTooLargeError(self._max_bytes)
            await problem(refusal.status_code, refusal.detail)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            return message

        await self._app(scope, counted, send)


class Deadline:
    """Answers 504 to a request that takes longer than `seconds`, and cancels it."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tracked(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, tracked)
        except TimeoutError:
            if started:
                raise
            detail = f"the request took longer than {self._seconds:g} s and was cancelled: try again later"
            await problem(504, detail)(scope, receive, send)
