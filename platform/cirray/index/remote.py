"""The embedded backend at a URI: generations are stored in an object store, built and searched in a local mirror.

URI/
├── published.json                  name of the published generation
└── generations/NAME/
    ├── shard.tar.zst               Qdrant Edge's files, one archive
    └── generation.json             the manifest, written last: marks the generation as complete

A machine downloads a whole generation before it opens it. Jobs on one machine exclude each other by the lock of the
mirror. Across machines there is no lock, as object stores have none and pyarrow no conditional writes: `publish` fails
if another job has published since `lock` was taken.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from cirray.errors import SearchIndexError
from cirray.index.backend import Generation, time_prefix
from cirray.index.edge import GENERATIONS, POINTER, EdgeBackend
from cirray.index.edge_shard import MANIFEST, SHARD, EdgeWriter
from cirray.storage.archive import SUFFIX, pack, unpack
from cirray.storage.location import Location
from cirray.storage.remote import Remote

PACKED = f"{SHARD}{SUFFIX}"
# Unfinished generations of this age are deleted; younger ones may still be written by another machine.
ABANDONED = timedelta(days=1)


class RemoteEdgeBackend(EdgeBackend):
    """Generations at a URI; `root` is the local mirror.

    Raises:
        LocationError: by any method: the URI cannot be reached.
    """

    def __init__(self, location: Location) -> None:
        super().__init__(location.local)
        self._remote = Remote(str(location))
        self.where = str(location)
        self._published_at_lock: str | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`. Excludes jobs on this machine; `publish` detects those on others."""
        with super().lock():
            self._published_at_lock = self.published()
            yield

    def publish(self, name: str) -> None:
        """See `IndexBackend`.

        Raises:
            SearchIndexError: a job on another machine has published since the lock was taken.
        """
        self.read(name)
        published = self.published()
        if self._lock_file is not None and published != self._published_at_lock:
            raise SearchIndexError(
                f"{self.where}: another job published {published} while this one ran; {name} was not published: run "
                f"one indexing job at a time, and run this one again"
            )
        self._remote.write(POINTER, json.dumps({"generation": name}).encode())
        self._published_at_lock = name

    def discard(self, name: str) -> None:
        """See `IndexBackend`."""
        self._remote.delete(f"{GENERATIONS}/{name}/{MANIFEST}")  # first: marks it as incomplete
        self._remote.drop(f"{GENERATIONS}/{name}")
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def _content(self, name: str) -> bytes | None:
        return self._remote.read(name)

    def _complete(self) -> list[str]:
        return sorted(name.split("/")[1] for name in self._remote.names(GENERATIONS) if name.endswith(f"/{MANIFEST}"))

    def _local_folder(self, name: str) -> Path:
        """Downloads a complete generation to the mirror, atomically, unless it is there; returns its folder."""
        folder = self._folder(name)
        if not (folder / MANIFEST).is_file():
            self._evict_before(name)
            loading = self.root / f".{name}.{uuid.uuid4().hex}"
            try:
                self._fetch(name, loading)
                folder.parent.mkdir(exist_ok=True)
                loading.rename(folder)
            except OSError:
                if not (folder / MANIFEST).is_file():  # else another process downloaded it first
                    raise
            finally:
                shutil.rmtree(loading, ignore_errors=True)
        return folder

    def _fetch(self, name: str, folder: Path) -> None:
        packed, manifest = (f"{GENERATIONS}/{name}/{file}" for file in (PACKED, MANIFEST))
        size = self._remote.names(f"{GENERATIONS}/{name}").get(packed, 0)
        with self._remote.reading(packed) as stream:
            unpack(stream, size, folder / SHARD, f"fetching {self.where}, generation {name}")
        self._remote.get(manifest, folder / MANIFEST)

    def _evict_before(self, name: str) -> None:
        """Deletes from the mirror older generations that no longer exist at the URI, and abandoned downloads."""
        for loading in self.root.glob(".*"):
            if time.time() - loading.stat().st_mtime > ABANDONED.total_seconds():
                shutil.rmtree(loading, ignore_errors=True)
        complete = self._complete()
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.name < name and folder.name not in complete:
                shutil.rmtree(folder, ignore_errors=True)

    def _delete_unfinished(self) -> None:
        complete = self._complete()
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.name not in complete:
                shutil.rmtree(folder)
        abandoned = time_prefix(datetime.now(UTC) - ABANDONED)
        for name in {path.split("/")[1] for path in self._remote.names(GENERATIONS)}:
            if name < abandoned and name not in complete:
                self._remote.drop(f"{GENERATIONS}/{name}")

    def _writer(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> EdgeWriter:
        return RemoteEdgeWriter(folder, plan, copied, lock, self._remote)


class RemoteEdgeWriter(EdgeWriter):
    """Fills a folder of the mirror and uploads it when complete; see `Writer`."""

    def __init__(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None, remote: Remote) -> None:
        super().__init__(folder, plan, copied, lock)
        self._remote = remote

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """See `Writer`."""
        done = super().finish(details)
        below = f"{GENERATIONS}/{done.name}"
        with self._remote.writing(f"{below}/{PACKED}") as stream:
            pack(self._folder / SHARD, stream, f"sending generation {done.name}")
        self._remote.put(self._folder / MANIFEST, f"{below}/{MANIFEST}")
        return done
