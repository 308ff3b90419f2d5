"""The API key, from CIRRAY_API_KEY. If it is set, reads need it; writes always need it.

The key is checked before the body is read.
"""

from __future__ import annotations

import os
import re
import secrets

from fastapi import HTTPException, Request
from fastapi.security import APIKeyHeader
from starlette.types import ASGIApp, Receive, Scope, Send

from cirray.errors import ConfigError
from serve.problems import problem

HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="value of CIRRAY_API_KEY")
_SENDABLE = re.compile(r"[!#-+\--:<-\[\]-~]+")
COOKIE = "cirray_key"  # <img> cannot send headers


class Access:
    """Checks the key of requests.

    Args:
        key: the API key; None if none is set.

    Raises:
        ConfigError: the key cannot be sent in a header or a cookie.
    """

    def __init__(self, key: str | None) -> None:
        self._key = (key or "").strip() or None
        if self._key is not None and not _SENDABLE.fullmatch(self._key):
            raise ConfigError(
                "CIRRAY_API_KEY must consist of printable ASCII characters without spaces, ; , and quotes"
            )

    @classmethod
    def from_environment(cls) -> Access:
        """Returns the access for this process's CIRRAY_API_KEY."""
        return cls(os.environ.get("CIRRAY_API_KEY"))

    @property
    def key_needed(self) -> bool:
        """Whether reads need the key."""
        return self._key is not None

    def check(self, request: Request) -> None:
        """Raises 401 or 403 if a request below /v1 lacks the key that it needs."""
        path = request.url.path
        if path.startswith("/v1/"):
            writes = request.method in ("PUT", "DELETE") or path == "/v1/items/batch"
            (self.write if writes else self.read)(request)

    def read(self, request: Request) -> None:
        """Raises 401 if the request may not read."""
        if self._key is not None and not self._has_key(request, self._key):
            raise _unauthorized()

    def write(self, request: Request) -> None:
        """Raises 401 if the request may not write, 403 if no key is set. A cookie does not allow writes."""
        if self._key is None:
            raise HTTPException(403, "writing is disabled: start the service with CIRRAY_API_KEY, and send that key")
        if not _same(_from_header(request), self._key):
            raise _unauthorized()

    def _has_key(self, request: Request, key: str) -> bool:
        return _same(_from_header(request), key) or _same(request.cookies.get(COOKIE), key)


class Guard:
    """ASGI middleware that checks the key of every HTTP request."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            try:
                self._access.check(Request(scope))
            except HTTPException as refusal:
                await problem(refusal.status_code, refusal.detail, headers=refusal.headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _from_header(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key")


def _same(given: str | None, key: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), key.encode())


def _unauthorized() -> HTTPException:
    detail = "the API key is missing or wrong: send it as header X-API-Key"
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="cirray"'})
