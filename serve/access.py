"""The API key: from CIRRAY_API_KEY, and nowhere else. Reads need it when it is set; writes need it always.

It is checked before anything of a body is read.
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

HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="the value of CIRRAY_API_KEY")
_SENDABLE = re.compile(r"[!#-+\--:<-\[\]-~]+")
COOKIE = "cirray_key"  # pictures in a page cannot send headers


class Access:
    """Checks requests against one key; None means that none is set.

    Raises:
        ConfigError: a key that could not be sent in a header or a cookie.
    """

    def __init__(self, key: str | None) -> None:
        self._key = (key or "").strip() or None
        if self._key is not None and not _SENDABLE.fullmatch(self._key):
            raise ConfigError(
                "CIRRAY_API_KEY must consist of printable ASCII characters without spaces, ; , and quotes"
            )

    @classmethod
    def from_environment(cls) -> Access:
        """Returns the access that this process's CIRRAY_API_KEY asks for."""
        return cls(os.environ.get("CIRRAY_API_KEY"))

    @property
    def key_needed(self) -> bool:
        """Whether reads need the key."""
        return self._key is not None

    def check(self, request: Request) -> None:
        """Raises 401 or 403 unless the request may do what it asks for. Only what is below /v1 is guarded."""
        path = request.url.path
        if path.startswith("/v1/"):
            writes = request.method in ("PUT", "DELETE") or path == "/v1/items/batch"
            (self.write if writes else self.read)(request)

    def read(self, request: Request) -> None:
        """Raises 401 unless the request may read."""
        if self._key is not None and not self._fits(request, self._key):
            raise _unauthorized()

    def write(self, request: Request) -> None:
        """Raises 401, or 403 where no key is set, unless the request may write. A cookie is not enough."""
        if self._key is None:
            raise HTTPException(403, "writing is off: start the service with CIRRAY_API_KEY set, and send that key")
        if not _same(_from_header(request), self._key):
            raise _unauthorized()

    def _fits(self, request: Request, key: str) -> bool:
        return _same(_from_header(request), key) or _same(request.cookies.get(COOKIE), key)


class Guard:
    """ASGI middleware around an app that only the entitled may use."""

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
