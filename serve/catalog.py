"""The catalog as the ingress sees it: the published generation, and the change to the next between two requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cirray.console.log import log
from cirray.errors import SearchIndexError
from cirray.index.backend import IndexBackend, Reader, check_fingerprint
from serve.errors import NotPublishedError


class Catalog:
    """Holds the published generation open. A request keeps the one that it began with; it is closed after the last.

    Args:
        backend: where generations live.
        bundle: what errors call the bundle.
    """

    def __init__(self, backend: IndexBackend, bundle: str) -> None:
        self.backend = backend
        self.refused = ""
        self._bundle = bundle
        self._current: Reader | None = None
        self._uses: dict[Reader, int] = {}
        self._lock = threading.Lock()

    def refresh(self, image_fingerprint: str) -> None:
        """Opens the generation that is published now, if it is another one, and lets it take over.

        A generation that the served model does not fit is not taken over, and `refused` says why.

        Raises:
            SearchIndexError: it does not fit and there is no other to stay with, or the index cannot be read.
        """
        name = self.backend.published()
        current = self._current
        if name is None or (current is not None and name == current.generation.name):
            return
        try:
            check_fingerprint(self.backend.read(name), image_fingerprint, self._bundle, self.backend.where)
        except SearchIndexError as error:
            self.refused = str(error)
            if current is None:
                raise
            return
        reader = self.backend.open(name)
        self.refused = ""
        self._replace(reader)
        log(f"searching generation {name} with {reader.generation.count} items")

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lends the current generation for one request.

        Raises:
            NotPublishedError: there is none yet.
        """
        with self._lock:
            reader = self._current
            if reader is None:
                raise NotPublishedError("no catalog is published yet: run jobs/index.py")
            self._uses[reader] += 1
        try:
            yield reader
        finally:
            self._return(reader)

    @property
    def is_ready(self) -> bool:
        """Whether there is a generation to search."""
        return self._current is not None

    def _replace(self, reader: Reader) -> None:
        with self._lock:
            old, self._current = self._current, reader
            self._uses[reader] = 0
            idle = old is not None and self._uses[old] == 0
            if old is not None and idle:
                del self._uses[old]
        if old is not None and idle:
            old.close()

    def _return(self, reader: Reader) -> None:
        with self._lock:
            self._uses[reader] -= 1
            last = self._uses[reader] == 0 and reader is not self._current
            if last:
                del self._uses[reader]
        if last:
            reader.close()
