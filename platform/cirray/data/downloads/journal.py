"""The journal of downloads: an append-only JSON Lines file; the last line of an address counts.

A line is written after its picture is in place, so that a process killed at any moment loses at most the pictures that
it was just fetching. Lines that no longer count are removed when there are more of them than others.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cirray.storage.files import replacing


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
        self._lock = threading.Lock()
        self._kept: dict[str, Kept] = {}
        lines, is_whole = self._read(path) if path.is_file() else (0, True)
        if lines > 2 * len(self._kept):
            with replacing(path) as temporary:
                temporary.write_bytes(b"".join(map(_line, self._kept.values())))
            is_whole = True
        self._file = path.open("ab", buffering=0)
        if not is_whole:
            self._file.write(b"\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def get(self, url: str) -> Kept | None:
        """Returns the newest record of an address; None if there is none."""
        return self._kept.get(url)

    def add(self, kept: Kept) -> None:
        """Notes a download; on return, it survives a kill of this process."""
        line = _line(kept)
        with self._lock:
            self._file.write(line)
            self._kept[kept.url] = kept

    def _read(self, path: Path) -> tuple[int, bool]:
        """Reads all lines; returns their number, and whether the last one has its end (a kill may cut it short)."""
        lines, line = 0, b"\n"
        with path.open("rb") as file:
            for line in file:
                lines += 1
                try:
                    kept = Kept(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                self._kept[kept.url] = kept
        return lines, line.endswith(b"\n")


def _line(kept: Kept) -> bytes:
    return json.dumps(asdict(kept)).encode() + b"\n"
