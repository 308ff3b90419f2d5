"""Bounds on every request: how much it may send and how long it may take. Plain ASGI, so nothing is buffered twice."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import problem


class BodyTooLargeError(HTTPException):
    """More was sent than is allowed. An HTTPException, since FastAPI takes any other for a body it cannot read."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(413, f"the request is larger than {max_bytes:,} bytes: send a smaller picture")


class LimitBody:
    """Answers 413 to a request whose body is larger than `max_bytes`, by its header or as it comes in."""

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
    """Answers 504 to a request that takes longer than `seconds`, and cancels what it was doing."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, noted)
        except TimeoutError:
            if started:
                raise
            detail = f"this took longer than {self._seconds:g} s and was given up: try again later"
            await problem(504, detail)(scope, receive, send)
