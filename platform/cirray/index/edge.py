"""The embedded backend: Qdrant's engine in this process, one folder per generation.

INDEX/
├── published.json            name of the published generation; replaced atomically
├── writer.lock               held by the job that writes
└── generations/NAME/
    ├── shard/                Qdrant Edge's files, see edge_shard.py
    └── generation.json       the manifest, written last: marks the generation as complete

Shards are written without a write-ahead log, so a crash may corrupt one: unfinished generations are deleted, and the
next one starts from a copy of the published one. Complete generations never change, so any number of processes may
search them. These need write permission, though: the engine opens its files for writing, and rewrites some unchanged.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from cirray.errors import SearchIndexError
from cirray.index.backend import Generation, same_build
from cirray.index.edge_shard import MANIFEST, SHARD, EdgeReader, EdgeWriter
from cirray.index.reader import BaseBackend
from cirray.storage.archive import TEMPORARY
from cirray.storage.files import write_json

POINTER = "published.json"
GENERATIONS = "generations"
# The engine creates and removes such folders whenever a shard is opened or closed.
_TEMPORARY = shutil.ignore_patterns(f"{TEMPORARY}*")


class EdgeBackend(BaseBackend):
    """Generations as folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)
        self.search_threads = 1  # the engine holds the GIL during a call
        self._lock_file: IO[str] | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`."""
        self._lock_file = _acquire_lock(self.root, self.where)
        try:
            yield
        finally:
            self._lock_file.close()
            self._lock_file = None

    def create(self, plan: Generation) -> EdgeWriter:
        """See `IndexBackend`."""
        lock = _acquire_lock(self.root, self.where) if self._lock_file is None else None
        try:
            self._delete_unfinished()
            folder = self._folder(plan.name)
            base = self._copy_source(plan)
            if base is not None:
                shutil.copytree(self._local_folder(base) / SHARD, folder / SHARD, ignore=_TEMPORARY)
            return self._writer(folder, plan, base is not None, lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    def generations(self) -> list[Generation]:
        """See `IndexBackend`."""
        return [self.read(name) for name in self._complete()]

    def published(self) -> str | None:
        """See `IndexBackend`."""
        content = self._content(POINTER)
        if content is None:
            return None
        try:
            name: str = json.loads(content)["generation"]
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self.where}/{POINTER}"
            raise SearchIndexError(f"{where} is damaged ({error}): delete it and index again") from None
        return None if self._content(_manifest(name)) is None else name  # the generation may have been deleted manually

    def publish(self, name: str) -> None:
        """See `IndexBackend`."""
        self.read(name)
        write_json(self.root / POINTER, {"generation": name})

    def discard(self, name: str) -> None:
        """See `IndexBackend`."""
        (self._folder(name) / MANIFEST).unlink()  # first: marks it as incomplete
        shutil.rmtree(self._folder(name))

    def open(self, name: str) -> EdgeReader:
        """See `IndexBackend`."""
        generation = self.read(name)
        return EdgeReader(self._local_folder(name), generation)

    def _copy_source(self, plan: Generation) -> str | None:
        """Returns the published generation if the new one can start from a copy of it."""
        name = self.published()
        return name if name is not None and same_build(self.read(name), plan) else None

    def read(self, name: str) -> Generation:
        """See `IndexBackend`."""
        content = self._content(_manifest(name))
        if content is None:
            raise SearchIndexError(f"{self.where} has no complete generation {name}: run jobs/index.py again")
        try:
            return Generation.model_validate(json.loads(content))
        except (ValidationError, ValueError) as error:
            where = f"{self.where}/{_manifest(name)}"
            raise SearchIndexError(f"{where} is damaged ({error}): delete its folder and index again") from None

    def _folder(self, name: str) -> Path:
        return self.root / GENERATIONS / name

    def _content(self, name: str) -> bytes | None:
        """Returns the content of a file below the root; None if it does not exist."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def _complete(self) -> list[str]:
        """Returns the names of the complete generations, oldest first."""
        return [path.parent.name for path in sorted(self.root.glob(f"{GENERATIONS}/*/{MANIFEST}"))]

    def _local_folder(self, name: str) -> Path:
        """Returns the local folder of a complete generation."""
        return self._folder(name)

    def _writer(self, folder: Path, plan: Generation, copied: bool, lock: IO[str] | None) -> EdgeWriter:
        return EdgeWriter(folder, plan, copied, lock)

    def _delete_unfinished(self) -> None:
        for folder in self.root.glob(f"{GENERATIONS}/*"):
            if folder.is_dir() and not (folder / MANIFEST).exists():
                shutil.rmtree(folder)


def _manifest(name: str) -> str:
    return f"{GENERATIONS}/{name}/{MANIFEST}"


def _acquire_lock(root: Path, where: str) -> IO[str]:
    """Takes the writer lock; closing the file or the end of the process releases it."""
    root.mkdir(parents=True, exist_ok=True)
    stream = (root / "writer.lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise SearchIndexError(f"another job is writing to the index {where}: wait for it, or stop it") from None
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream
