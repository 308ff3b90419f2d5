"""Addresses and header fields of HTTP requests and answers."""

from __future__ import annotations

import string
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit, urlunsplit

from cirray import __version__
from cirray.data.downloads.journal import Kept

Headers = Sequence[tuple[bytes, bytes]]

_LONGEST_PAUSE_S = 60.0
_ALWAYS = (
    (b"User-Agent", f"cirray/{__version__} (catalog pictures)".encode()),
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),
)


def request_headers(kept: Kept | None) -> Headers:
    """Returns the fields of a request; of a picture that is kept, those that ask only for a change."""
    given = [(b"If-None-Match", kept.etag), (b"If-Modified-Since", kept.modified)] if kept is not None else []
    return [*_ALWAYS, *((name, value.encode("latin-1")) for name, value in given if value)]


def answer_headers(headers: Headers) -> dict[str, str]:
    """Returns the fields of an answer by their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def ascii_address(address: str) -> tuple[str, str]:
    """Encodes spaces and characters beyond ASCII, as browsers do.

    Returns:
        The address without its fragment, and its host.

    Raises:
        ValueError: it is no http(s) address.
    """
    try:
        parts = urlsplit(address)
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        path, query = (quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    except ValueError as error:
        raise ValueError(f"leads to {address!r}, which is no address ({error})") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"leads to {address!r}, which is no http(s) address")
    return urlunsplit((parts.scheme, host, path, query, "")), parts.hostname


def location(headers: dict[str, str]) -> str:
    """Returns where an answer redirects to, "" if nowhere. Servers send UTF-8 here, whatever the standard says."""
    return headers.get("location", "").encode("latin-1").decode("utf-8", "replace")


def retry_after(headers: dict[str, str]) -> float:
    """Returns the seconds that a server asks to wait: a number or a date; 0 if it says nothing. At most a minute."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_PAUSE_S)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), _LONGEST_PAUSE_S)
    except (TypeError, ValueError):
        return 0.0
