"""The published generation, for the ingress; a newly published one replaces it between two requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from cirray.console.log import log
from cirray.errors import SearchIndexError
from cirray.index.backend import IndexBackend, Reader, check_fingerprint
from serve.errors import NotPublishedError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Catalog:
    """Keeps the published generation open. A request uses one generation; a replaced one closes after its last request.

    Args:
        backend: the index; `backend.search_threads` calls of it run at a time.
        bundle: name of the bundle in error messages.
    """

    def __init__(self, backend: IndexBackend, bundle: str) -> None:
        self.backend = backend
        self.refused = ""
        self._bundle = bundle
        self._current: Reader | None = None
        self._uses: dict[Reader, int] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(backend.search_threads, thread_name_prefix="index")

    async def call(
        self, method: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Calls a method of a reader or the backend in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(*args, **kwargs))

    def close(self) -> None:
        """Stops the threads."""
        self._threads.shutdown(wait=False)

    def refresh(self, image_fingerprint: str) -> None:
        """Opens the published generation if it is a new one, and replaces the current one.

        A generation that does not fit the served model is not opened; `refused` contains the reason.

        Raises:
            SearchIndexError: the generation does not fit and no other one is open, or the index cannot be read.
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
        """Yields the current generation for one request.

        Raises:
            NotPublishedError: no generation is open yet.
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
