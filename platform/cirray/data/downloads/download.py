"""Downloads the pictures of a list of addresses that a folder does not have yet."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from cirray.config.catalog import DownloadSettings
from cirray.console.bars import bar
from cirray.console.log import log
from cirray.data.downloads.fetch import Fetched, Fetcher
from cirray.data.downloads.folder import open_folder
from cirray.data.records import Problem
from cirray.errors import LocationError


@dataclass(frozen=True, slots=True)
class Download:
    """What became of some addresses.

    Attributes:
        files: address -> file on this machine.
        problems: one for each address without a file.
        fetched: pictures that came over the network.
        confirmed: pictures of an earlier run that the server said are unchanged.
        unconfirmed: pictures of an earlier run that are used because the server failed.
    """

    files: dict[str, Path]
    problems: list[Problem]
    fetched: int
    confirmed: int
    unconfirmed: int


def download_pictures(
    urls: Iterable[str], folder: Path, settings: DownloadSettings, allow_private: bool = False
) -> Download:
    """Downloads what the folder does not have yet; run again after a kill, it fetches only what is missing.

    Args:
        urls: http(s) addresses.
        folder: keeps the pictures, named by a hash of their content, and a journal of them.
        allow_private: also connect to private and loopback addresses.

    Raises:
        LocationError: the folder cannot be written, for example because the disk is full.
    """
    wanted = list(dict.fromkeys(urls))
    try:
        with open_folder(folder) as pictures:
            files = {url: file for url in wanted if (file := pictures.fresh(url, settings.max_age_h * 3600))}
            rest, results = [url for url in wanted if url not in files], {}
            if rest:
                log(f"{len(files):,} of {len(wanted):,} pictures are in {folder}; asking for the other {len(rest):,}")
                log(f"  at most {settings.per_host_per_s:,g} a second from one host")
                with Fetcher(pictures, settings, allow_private) as fetcher:
                    results = _fetch_all(fetcher, rest, settings.connections)
    except OSError as error:
        raise LocationError(
            f"pictures cannot be kept in {folder} ({error.strerror or error}): free space or correct "
            f"catalog.download.folder, and run the same command again to resume"
        ) from None
    fetched = {url: result for url, result in results.items() if isinstance(result, Fetched)}
    files |= {url: result.file for url, result in fetched.items()}
    sources = Counter(result.source for result in fetched.values())
    return Download(
        files={url: files[url] for url in wanted if url in files},
        problems=[Problem(url, str(results[url])) for url in wanted if url not in files],
        fetched=sources["new"],
        confirmed=sources["confirmed"],
        unconfirmed=sources["unconfirmed"],
    )


def _fetch_all(fetcher: Fetcher, urls: Sequence[str], connections: int) -> dict[str, Fetched | str]:
    """Fetches in `connections` threads; returns url -> picture, or why there is none."""
    waiting, results, lock = deque(urls), dict[str, Fetched | str](), threading.Lock()
    with ThreadPoolExecutor(connections) as threads, bar(len(urls), "downloading pictures", "files") as shown:

        def work() -> None:
            while True:
                try:
                    url = waiting.popleft()
                except IndexError:
                    return
                result = fetcher.get(url)
                with lock:
                    results[url] = result
                    shown.update()

        try:
            for worker in as_completed([threads.submit(work) for _ in range(min(connections, len(urls)))]):
                worker.result()
        finally:
            waiting.clear()  # after an error or Ctrl-C, the threads begin no other picture
    return results
