"""The embedded backend at a URI: generations are built and searched in a mirror, and stored in an object store.

URI/
├── published.json                  which generation is searched; written last
└── generations/NAME/
    ├── shard.tar.zst               Qdrant Edge's files, as one object
    └── generation.json             the manifest, written last: its existence means complete

A machine downloads a complete generation before it opens it. Object stores have no locks, and pyarrow has no
conditional writes: the mirror's lock separates two jobs of one machine. A job of another machine is only noticed when
it has published: `publish` then refuses.
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
from cirray.index.backend import Generation, name_at
from cirray.index.edge import GENERATIONS, MANIFEST, POINTER, SHARD, EdgeBackend, EdgeWriter
from cirray.storage.archive import SUFFIX, pack, unpack
from cirray.storage.location import Location
from cirray.storage.remote import Remote

PACKED = f"{SHARD}{SUFFIX}"
# An unfinished generation older than this is abandoned; a younger one may be another machine's work.
ABANDONED = timedelta(days=1)


class RemoteEdgeBackend(EdgeBackend):
    """Generations at a URI; `root` is its mirror.

    Raises:
        LocationError: from any call: the URI cannot be reached.
    """

    def __init__(self, location: Location) -> None:
        super().__init__(location.local)
        self._remote = Remote(str(location))
        self.where = str(location)
        self._seen: str | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`. Keeps out the jobs of this machine; `publish` notices those of others."""
        with super().lock():
            self._seen = self.published()
            yield

    def publish(self, name: str) -> None:
        """See `IndexBackend`.

        Raises:
            SearchIndexError: a job of another machine has published since `lock` began.
        """
        self.read(name)
        published = self.published()
        if self._held is not None and published != self._seen:
            raise SearchIndexError(
                f"{self.where}: another job has published {published} meanwhile, and {name} was not published: "
                f"let one indexing job run at a time, and run this one again"
            )
        self._remote.write(POINTER, json.dumps({"generation": name}).encode())
        self._seen = name

    def discard(self, name: str) -> None:
        """See `IndexBackend`."""
        self._remote.delete(f"{GENERATIONS}/{name}/{MANIFEST}")  # no longer complete from here on
        self._remote.drop(f"{GENERATIONS}/{name}")
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def _content(self, name: str) -> bytes | None:
        return self._remote.read(name)

    def _complete(self) -> list[str]:
        return sorted(name.split("/")[1] for name in self._remote.names(GENERATIONS) if name.endswith(f"/{MANIFEST}"))

    def _here(self, name: str) -> Path:
        """Downloads a complete generation into the mirror, atomically."""
        folder = self._folder(name)
        if not (folder / MANIFEST).is_file():
            self._forget_before(name)
            loading = self.root / f".{name}.{uuid.uuid4().hex}"
            try:
                self._fetch(name, loading)
                folder.parent.mkdir(exist_ok=True)
                loading.rename(folder)
            except OSError:
                if not (folder / MANIFEST).is_file():  # else another process of this machine was faster
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

    def _forget_before(self, name: str) -> None:
        """Deletes mirrored generations that no longer exist at the URI. Younger ones may be in progress here."""
        for loading in self.root.glob(".*"):
            if time.time() - loading.stat().st_mtime > ABANDONED.total_seconds():
                shutil.rmtree(loading, ignore_errors=True)
        complete = self._complete()
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.name < name and folder.name not in complete:
                shutil.rmtree(folder, ignore_errors=True)

    def _drop_unfinished(self) -> None:
        complete = self._complete()
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.name not in complete:
                shutil.rmtree(folder)
        abandoned = name_at(datetime.now(UTC) - ABANDONED)
        for name in {path.split("/")[1] for path in self._remote.names(GENERATIONS)}:
            if name < abandoned and name not in complete:
                self._remote.drop(f"{GENERATIONS}/{name}")

    def _writer(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> EdgeWriter:
        return RemoteEdgeWriter(folder, plan, copied, lock, self._remote)


class RemoteEdgeWriter(EdgeWriter):
    """Fills one folder of the mirror, and uploads it when it is complete; see `Writer`."""

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
