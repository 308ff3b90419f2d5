"""The API key: from CIRRAY_API_KEY, and nowhere else. Reads need it when it is set; writes need it always."""

from __future__ import annotations

import secrets

from fastapi import HTTPException, Request
from fastapi.security import APIKeyHeader

HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="the value of CIRRAY_API_KEY")
COOKIE = "cirray_key"  # pictures in a page cannot send headers


class Access:
    """Checks requests against one key; None means that none is set."""

    def __init__(self, key: str | None) -> None:
        self._key = (key or "").strip() or None

    @property
    def key_needed(self) -> bool:
        """Whether reads need the key."""
        return self._key is not None

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


def _from_header(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key")


def _same(given: str | None, key: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), key.encode())


def _unauthorized() -> HTTPException:
    detail = "the API key is missing or wrong: send it as header X-API-Key"
    return HTTPException(401, detail, {"WWW-Authenticate": 'Bearer realm="cirray"'})
