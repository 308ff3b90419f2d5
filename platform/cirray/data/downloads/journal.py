"""The journal of downloads: an append-only JSON Lines file; the last line of an address counts.

A line is written after its picture is in place, so that a process killed at any moment loses at most the pictures that
it was just fetching.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that was downloaded.

    Attributes:
        file: its name in the folder.
        etag, modified: what the server said (ETag, Last-Modified); "" if nothing.
        checked: when it was last fetched or confirmed, in seconds since 1970.
    """

    url: str
    file: str
    etag: str
    modified: str
    checked: float

    def is_fresh(self, max_age_s: float) -> bool:
        """Whether it need not be confirmed yet."""
        return 0 <= time.time() - self.checked < max_age_s


class Journal:
    """The journal of one folder. Thread-safe; one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                self._read(line)

    def get(self, url: str) -> Kept | None:
        """Returns what is known of an address."""
        return self._kept.get(url)

    def add(self, kept: Kept) -> None:
        """Notes a download; it is on disk on return."""
        with self._lock:
            new = not self._path.exists()
            with self._path.open("a", encoding="utf-8") as file:
                # A line that a kill cut short ends here; readers skip it.
                file.write(("" if new else "\n") + json.dumps(asdict(kept)))
            self._kept[kept.url] = kept

    def _read(self, line: str) -> None:
        try:
            kept = Kept(**json.loads(line))
        except (ValueError, TypeError):
            return
        self._kept[kept.url] = kept
