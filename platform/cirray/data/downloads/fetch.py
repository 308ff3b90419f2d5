"""Fetches one picture: retried, bounded in size and time, polite, redirects followed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import httpcore
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cirray.config.catalog import DownloadSettings
from cirray.data.downloads.folder import PictureFolder
from cirray.data.downloads.headers import answer_headers, ascii_address, location, request_headers, retry_after
from cirray.data.downloads.journal import Kept
from cirray.data.downloads.outages import Outages
from cirray.data.downloads.politeness import HostRate
from cirray.data.downloads.public_network import PrivateAddressError, PublicNetwork

_REDIRECTS = 5
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture's file.

    Attributes:
        source: new = it came over the network; confirmed = the server said that the one of an earlier run is
            unchanged; unconfirmed = the server could not be asked, so the one of an earlier run is used.
    """

    file: Path
    source: Literal["new", "confirmed", "unconfirmed"]


class _RefusedError(Exception):
    """A picture that will not come, however often it is asked for."""


class _TryAgainError(Exception):
    """A picture that may come later."""


class _GivenUpError(Exception):
    """A picture whose host has failed for too long."""


class Fetcher:
    """Fetches pictures into a folder. Thread-safe."""

    def __init__(self, folder: PictureFolder, settings: DownloadSettings, allow_private: bool) -> None:
        self._folder = folder
        self._settings = settings
        self._rate = HostRate(settings.per_host_per_s)
        self._outages = Outages(settings.give_up_s)
        self._pool = httpcore.ConnectionPool(
            max_connections=settings.connections, network_backend=PublicNetwork(allow_private)
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def get(self, url: str) -> Fetched | str:
        """Returns a picture, or why there is none. If the server fails, a picture of an earlier run is used.

        Raises:
            OSError: the folder cannot be written.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=self._settings.first_wait_s, max=_LONGEST_WAIT_S),
            reraise=True,
        )
        kept = self._folder.find(url)
        try:
            fetched: Fetched = retrying(self._follow, url, kept)
            return fetched
        except _RefusedError as error:
            return str(error)
        except (_TryAgainError, _GivenUpError) as error:
            return str(error) if kept is None else Fetched(self._folder.file(kept), "unconfirmed")

    def _follow(self, url: str, kept: Kept | None) -> Fetched:
        """Fetches a picture, following redirects; every address on the way is checked."""
        address = url
        for _ in range(_REDIRECTS + 1):
            found = self._request(url, address, kept)
            if isinstance(found, Fetched):
                return found
            address = found
        raise _RefusedError(f"redirects more than {_REDIRECTS} times")

    def _request(self, url: str, address: str, kept: Kept | None) -> Fetched | str:
        """Sends one request when its host may be asked; returns the picture, or the address that it has moved to."""
        try:
            address, host = ascii_address(address)
        except ValueError as error:
            raise _RefusedError(str(error)) from None
        if self._outages.is_given_up(host):
            raise _GivenUpError(f"is not asked for: {host} has failed for {self._settings.give_up_s:g} s")
        self._rate.wait(host)
        try:
            found = self._send(url, address, host, kept)
        except _TryAgainError:
            self._outages.failed(host)
            raise
        except _RefusedError:
            self._outages.answered(host)
            raise
        self._outages.answered(host)
        return found

    def _send(self, url: str, address: str, host: str, kept: Kept | None) -> Fetched | str:
        deadline = time.monotonic() + self._settings.timeout_s
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._settings.timeout_s)
        try:
            with self._pool.stream(
                "GET", address, headers=request_headers(kept), extensions={"timeout": timeout}
            ) as response:
                headers = answer_headers(response.headers)
                if response.status in _MOVED and location(headers):
                    return urljoin(address, location(headers))
                if response.status in _BUSY:
                    self._rate.pause(host, retry_after(headers))
                    raise _TryAgainError(f"HTTP {response.status}")
                return self._take(url, kept, response, headers, deadline)
        except PrivateAddressError as error:
            raise _RefusedError(f"{error}: --catalog.allow-private allows it") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            raise _TryAgainError(f"cannot be fetched ({error or type(error).__name__})") from None
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            raise _RefusedError(f"cannot be asked for ({error})") from None

    def _take(
        self, url: str, kept: Kept | None, response: httpcore.Response, headers: dict[str, str], deadline: float
    ) -> Fetched:
        """Keeps the picture that an answer holds or confirms."""
        if response.status == 304 and kept is not None:
            return Fetched(self._folder.confirm(kept), "confirmed")
        if response.status != 200:
            raise _RefusedError(f"HTTP {response.status}")
        content = self._bounded(response, headers.get("content-length", "0"), deadline)
        file = self._folder.add(url, content, headers.get("etag", ""), headers.get("last-modified", ""))
        return Fetched(file, "new")

    def _bounded(self, response: httpcore.Response, announced: str, deadline: float) -> Iterator[bytes]:
        """Yields the content of an answer; raises if it is too large, too slow or empty."""
        most, size = int(self._settings.max_mb * 2**20), 0
        too_large = f"is larger than {self._settings.max_mb} MB"
        if announced.isdigit() and int(announced) > most:
            raise _RefusedError(too_large)
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > most:
                raise _RefusedError(too_large)
            if time.monotonic() > deadline:
                raise _TryAgainError(f"takes longer than {self._settings.timeout_s} s")
            yield chunk
        if not size:
            raise _RefusedError("is empty")
