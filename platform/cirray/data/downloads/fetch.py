"""Downloads pictures: concurrent, retried, bounded in size and time, polite, resumable."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpcore
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cirray import __version__
from cirray.config.catalog import DownloadSettings
from cirray.console.bars import bar
from cirray.data.downloads.journal import Journal, Kept
from cirray.data.downloads.politeness import HostRate
from cirray.data.downloads.public_network import PrivateAddressError, PublicNetwork
from cirray.data.records import Problem

JOURNAL = "downloads.jsonl"
_REDIRECTS = 5
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_LONGEST_PAUSE_S = 60.0
_HEADERS = [
    ("User-Agent", f"cirray/{__version__} (catalog pictures)"),
    ("Accept", "image/*"),
    ("Accept-Encoding", "identity"),
]


@dataclass(frozen=True, slots=True)
class Download:
    """What became of some addresses.

    Attributes:
        files: address -> file on this machine.
        problems: one for each address without a file.
        fetched, confirmed: pictures that came over the network, and that the server said are unchanged.
    """

    files: dict[str, Path]
    problems: list[Problem]
    fetched: int
    confirmed: int


class _RefusedError(Exception):
    """A picture that will not come, however often it is asked for."""


class _TryAgainError(Exception):
    """A picture that may come later."""


def download_pictures(
    urls: Iterable[str], folder: Path, settings: DownloadSettings, allow_private: bool = False
) -> Download:
    """Downloads what the folder does not have yet; run again after a kill, it fetches only what is missing.

    Args:
        urls: http(s) addresses.
        folder: keeps the pictures, named by a hash of their content, and a journal of them.
        allow_private: also connect to private and loopback addresses.
    """
    wanted = list(dict.fromkeys(urls))
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _Downloader(folder, settings, allow_private) as downloader,
        ThreadPoolExecutor(settings.connections) as threads,
    ):
        with bar(len(wanted), "downloading pictures", "files") as shown:
            results = []
            for result in threads.map(downloader.get, wanted):
                results.append(result)
                shown.update()
        files = {url: found for url, found in zip(wanted, results, strict=True) if isinstance(found, Path)}
        problems = [
            Problem(url, str(found)) for url, found in zip(wanted, results, strict=True) if not isinstance(found, Path)
        ]
        return Download(files, problems, downloader.fetched.count, downloader.confirmed.count)


class _Counter:
    """Counts in several threads."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.count += 1


class _Downloader:
    def __init__(self, folder: Path, settings: DownloadSettings, allow_private: bool) -> None:
        self.fetched, self.confirmed = _Counter(), _Counter()
        self._folder = folder
        self._settings = settings
        self._journal = Journal(folder / JOURNAL)
        self._rate = HostRate(settings.per_host_per_s)
        self._pool = httpcore.ConnectionPool(
            max_connections=settings.connections, network_backend=PublicNetwork(allow_private)
        )

    def __enter__(self) -> _Downloader:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def get(self, url: str) -> Path | str:
        """Returns the file of a picture, or why there is none."""
        kept = self._journal.get(url)
        if kept is not None and not (self._folder / kept.file).is_file():
            kept = None
        if kept is not None and kept.is_fresh(self._settings.max_age_h * 3600):
            return self._folder / kept.file
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=stop_after_attempt(self._settings.attempts),
            wait=wait_random_exponential(multiplier=self._settings.first_wait_s, max=_LONGEST_PAUSE_S),
            reraise=True,
        )
        try:
            found: Path = retrying(self._fetch, url, kept)
            return found
        except (_RefusedError, _TryAgainError) as error:
            return str(error)

    def _fetch(self, url: str, kept: Kept | None) -> Path:
        """Fetches a picture, following redirects; every address on the way is checked."""
        deadline = time.monotonic() + self._settings.timeout_s
        address = url
        for _ in range(_REDIRECTS + 1):
            moved = self._request(url, address, kept, deadline)
            if isinstance(moved, Path):
                return moved
            address = moved
        raise _RefusedError(f"redirects more than {_REDIRECTS} times")

    def _request(self, url: str, address: str, kept: Kept | None, deadline: float) -> Path | str:
        """Sends one request; returns the picture's file, or where it has moved to."""
        host = _host(address)
        self._rate.wait(host)
        headers = [*_HEADERS, *_conditions(kept)]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._settings.timeout_s)
        try:
            with self._pool.stream("GET", address, headers=headers, extensions={"timeout": timeout}) as response:
                return self._take(url, address, kept, response, deadline)
        except PrivateAddressError as error:
            raise _RefusedError(f"{error}: --catalog.allow-private allows it") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            raise _TryAgainError(f"cannot be fetched ({error or type(error).__name__})") from None
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            raise _RefusedError(f"cannot be asked for ({error})") from None

    def _take(
        self, url: str, address: str, kept: Kept | None, response: httpcore.Response, deadline: float
    ) -> Path | str:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        status = response.status
        if status == 304 and kept is not None:
            self._journal.add(Kept(url, kept.file, kept.etag, kept.modified, time.time()))
            self.confirmed.add()
            return self._folder / kept.file
        if status in _MOVED and headers.get("location"):
            return urljoin(address, headers["location"])
        if status in _BUSY:
            self._rate.pause(_host(address), _retry_after(headers.get("retry-after", "")))
            raise _TryAgainError(f"HTTP {status}")
        if status != 200:
            raise _RefusedError(f"HTTP {status}")
        file = self._keep(response, headers, deadline)
        self._journal.add(Kept(url, file, headers.get("etag", ""), headers.get("last-modified", ""), time.time()))
        self.fetched.add()
        return self._folder / file

    def _keep(self, response: httpcore.Response, headers: dict[str, str], deadline: float) -> str:
        """Writes a picture under the hash of its content; the file appears when it is complete."""
        most = int(self._settings.max_mb * 2**20)
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > most:
            raise _RefusedError(f"is larger than {self._settings.max_mb} MB")
        digest, size = hashlib.sha256(), 0
        temporary = self._folder / f".{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                for chunk in response.iter_stream():
                    size += len(chunk)
                    if size > most:
                        raise _RefusedError(f"is larger than {self._settings.max_mb} MB")
                    if time.monotonic() > deadline:
                        raise _TryAgainError(f"takes longer than {self._settings.timeout_s} s")
                    digest.update(chunk)
                    file.write(chunk)
                os.fsync(file.fileno())
            if not size:
                raise _RefusedError("is empty")
            temporary.replace(self._folder / digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise _RefusedError(f"leads to {address!r}, which is no address ({error})") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _RefusedError(f"leads to {address!r}, which is no http(s) address")
    return parts.hostname


def _conditions(kept: Kept | None) -> Sequence[tuple[str, str]]:
    """Returns the headers that ask only for what has changed."""
    if kept is None:
        return []
    given = [("If-None-Match", kept.etag), ("If-Modified-Since", kept.modified)]
    return [(name, value) for name, value in given if value]


def _retry_after(value: str) -> float:
    """Returns the seconds that a server asks to wait: a number or a date; 0 if it says nothing."""
    if value.strip().isdigit():
        return min(float(value), _LONGEST_PAUSE_S)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), _LONGEST_PAUSE_S)
    except (TypeError, ValueError):
        return 0.0
