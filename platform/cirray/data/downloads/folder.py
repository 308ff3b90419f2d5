"""The folder of downloaded pictures: files named by a hash of their content, a journal, and a lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cirray.console.log import log
from cirray.data.downloads.journal import Journal, Kept

_JOURNAL = "downloads.jsonl"
_LOCK = ".lock"
_PARTIAL = ".partial"


@contextmanager
def open_folder(path: Path) -> Iterator[PictureFolder]:
    """Opens a folder for one process at a time; others wait here. What a kill left half-written is deleted."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another job downloads pictures to {path}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(path / _PARTIAL, ignore_errors=True)
        (path / _PARTIAL).mkdir()
        with closing(Journal(path / _JOURNAL)) as journal:
            yield PictureFolder(path, journal)


class PictureFolder:
    """An open folder. Thread-safe."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal

    def find(self, url: str) -> Kept | None:
        """Returns the journal's record of a picture; None if it is not here, or its file was deleted."""
        kept = self._journal.get(url)
        return kept if kept is not None and self.file(kept).is_file() else None

    def file(self, kept: Kept) -> Path:
        """Returns the file of a picture."""
        return self._path / kept.file

    def fresh(self, url: str, max_age_s: float) -> Path | None:
        """Returns the file of a picture that was fetched or confirmed less than `max_age_s` seconds ago."""
        kept = self.find(url)
        return self.file(kept) if kept is not None and kept.is_fresh(max_age_s) else None

    def confirm(self, kept: Kept) -> Path:
        """Notes that a picture is unchanged."""
        return self._note(kept.url, kept.file, kept.etag, kept.modified)

    def add(self, url: str, content: Iterable[bytes], etag: str, modified: str) -> Path:
        """Writes a picture. Its file appears when it is complete; if `content` raises, nothing is left."""
        digest = hashlib.sha256()
        temporary = self._path / _PARTIAL / uuid.uuid4().hex
        try:
            with temporary.open("wb") as file:
                for chunk in content:
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())  # without it, a power loss may leave an empty file under the final name
            temporary.replace(self._path / digest.hexdigest())
        finally:
            temporary.unlink(missing_ok=True)
        return self._note(url, digest.hexdigest(), etag, modified)

    def _note(self, url: str, file: str, etag: str, modified: str) -> Path:
        self._journal.add(Kept(url, file, etag, modified, time.time()))
        return self._path / file
