"""The server backend: one collection per generation, published by moving an alias.

Collections are named COLLECTION--GENERATION; the alias COLLECTION points to the published one. The manifest is stored
in the collection's metadata (Qdrant 1.16 or later). An unfinished collection of an interrupted job is continued; point
ids derive from item ids, so there are no duplicates.

The server has no locks. A writer stores a heartbeat in its collection's metadata every BEAT_S seconds; a collection
whose heartbeat does not change within ALIVE_S seconds is abandoned.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from pydantic import ValidationError
from qdrant_client import QdrantClient, models

from cirray.config.indexing import IndexAccess
from cirray.console.log import log
from cirray.errors import IndexUnavailableError, SearchIndexError
from cirray.index.backend import Generation, same_build
from cirray.index.items import NUMBER, PRODUCT, Item
from cirray.index.reader import BaseBackend, digests
from cirray.index.retry import ATTEMPTS, RetryingClient
from cirray.index.server_points import (
    FILTER_CLASSES,
    ServerReader,
    delete,
    metadata_of,
    quantization_config,
    scroll,
    upsert,
)
from cirray.index.translate import translate

SEPARATOR = "--"
GRPC_PORT = 6334
_GRPC_WAIT_S = 2.0
_CONNECTIONS = 64
GREEN_EVERY_S = 0.5
BEAT_S = 5.0  # interval of a writer's heartbeat
ALIVE_S = 20.0  # a writer without a heartbeat for this time is dead

_KINDS = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
}


def connect_backend(url: str, api_key: str | None, settings: IndexAccess, grpc_port: int = GRPC_PORT) -> ServerBackend:
    """Connects to a Qdrant server: searches use REST; bulk uploads use gRPC if its port is reachable, else REST.

    Raises:
        SearchIndexError: the URL or the key is wrong, or the server is too old.
        IndexUnavailableError: the server does not answer.
    """
    # Without explicit limits the client disables keep-alive for localhost.
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS // 2)
    shared: dict[str, Any] = {"url": url, "api_key": api_key, "timeout": int(settings.timeout_s) or 1}
    where = without_password(url)
    try:
        rest = QdrantClient(**shared, limits=limits, check_compatibility=False)
        bulk = QdrantClient(**shared, prefer_grpc=True, grpc_port=grpc_port, check_compatibility=False)
    except ValueError as error:
        raise SearchIndexError(
            f"QDRANT_URL is {without_password(url)!r}: {error}: set it like http://localhost:6333"
        ) from None
    where = without_password(url)
    backend = ServerBackend(rest, rest, settings.collection, where, settings.attempts)
    backend.check_version()
    backend.published()  # checks the key: the version needs none
    if not _listens(urlsplit(url).hostname or "", grpc_port):
        log(
            f"{where}: the gRPC port {grpc_port} (QDRANT_GRPC_PORT) is unreachable: uploads use REST, at about half "
            f"the speed"
        )
        return backend
    return ServerBackend(rest, bulk, settings.collection, where, settings.attempts)


def without_password(url: str) -> str:
    """Removes user name and password from a URL."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url.rpartition("@")[2]


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _GRPC_WAIT_S).close()
    except OSError:
        return False
    return True


class ServerBackend(BaseBackend):
    """Generations as collections of one server.

    Args:
        rest: client for everything except uploads.
        bulk: client for uploads.
        collection: name of the alias, and prefix of the collections.
        where: display name of the server.
        attempts: attempts per call.
    """

    def __init__(
        self, rest: QdrantClient, bulk: QdrantClient, collection: str, where: str, attempts: int = ATTEMPTS
    ) -> None:
        self.collection = collection
        self.where = f"{where}, collection {collection}"
        self.search_threads = _CONNECTIONS // 2
        self._rest = RetryingClient(rest, self.where, attempts)
        self._bulk = RetryingClient(bulk, self.where, attempts)

    def check_version(self) -> None:
        """Checks that the server supports collection metadata.

        Raises:
            SearchIndexError: it is older than Qdrant 1.16.
        """
        version = self._rest.call("info").version
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < (1, 16):
            raise SearchIndexError(f"{self.where}: Qdrant {version} is too old: cirray needs 1.16 or later")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`. Does not lock: `create` checks for the heartbeat of another writer."""
        yield

    def create(self, plan: Generation) -> ServerWriter:
        """See `IndexBackend`. Continues or deletes the unfinished collections of interrupted jobs."""
        self._check_other_writers()
        left = None
        for name, found, complete in self._all():
            if complete:
                continue
            if found is not None and left is None and same_build(found, plan):
                left = found
            else:
                self._rest.call("delete_collection", name)
        if left is None:
            self._new_collection(plan)
        else:
            plan = plan.model_copy(update={"name": left.name})
        self._index_attributes(plan)
        return ServerWriter(self._rest, self._bulk, self._name(plan), plan)

    def generations(self) -> list[Generation]:
        """See `IndexBackend`."""
        return [found for _, found, complete in self._all() if complete and found is not None]

    def published(self) -> str | None:
        """See `IndexBackend`."""
        name = self._published_collection()
        return None if name is None else name.removeprefix(self.collection + SEPARATOR)

    def publish(self, name: str) -> None:
        """See `IndexBackend`."""
        self.read(name)
        create = models.CreateAlias(collection_name=self.collection + SEPARATOR + name, alias_name=self.collection)
        operations: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if self.published() is not None:
            delete = models.DeleteAlias(alias_name=self.collection)
            operations.insert(0, models.DeleteAliasOperation(delete_alias=delete))
        self._rest.call("update_collection_aliases", operations)  # one call: atomic

    def discard(self, name: str) -> None:
        """See `IndexBackend`."""
        self._rest.call("delete_collection", self.collection + SEPARATOR + name)

    def open(self, name: str) -> ServerReader:
        """See `IndexBackend`."""
        generation = self.read(name)
        return ServerReader(self._rest, self._name(generation), generation)

    def put(self, name: str, items: Sequence[Item], features: np.ndarray) -> None:
        """See `WritableBackend`."""
        upsert(self._bulk, self._served(name), self.read(name), items, features)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """See `WritableBackend`."""
        delete(self._rest, self._served(name), self.read(name), ids)

    def _served(self, name: str) -> str:
        """Returns the collection of the published generation, which must be the one that the caller searches."""
        published = self.published()
        if published != name:
            raise IndexUnavailableError(f"{self.where}: {name} is not published any more, {published} is: try again")
        return self.collection + SEPARATOR + name

    def _check_other_writers(self) -> None:
        """Raises SearchIndexError if the heartbeat of an unfinished collection advances within ALIVE_S seconds."""
        before = self._heartbeats()
        if not any(before.values()):
            return
        log(f"{self.where}: found an unfinished generation; waiting {ALIVE_S:g} s to check that no job writes it")
        time.sleep(ALIVE_S)
        alive = [name for name, beat in self._heartbeats().items() if beat != before.get(name)]
        if alive:
            raise SearchIndexError(f"another job is writing {alive[0]} at {self.where}: wait for it, or stop it")

    def _heartbeats(self) -> dict[str, float]:
        unfinished = [name for name, _, complete in self._all() if not complete]
        return {name: metadata_of(self._rest, name).get("beat", 0.0) for name in unfinished}

    def _published_collection(self) -> str | None:
        aliases = self._rest.call("get_aliases").aliases
        return next((alias.collection_name for alias in aliases if alias.alias_name == self.collection), None)

    def _name(self, generation: Generation) -> str:
        return f"{self.collection}{SEPARATOR}{generation.name}"

    def read(self, name: str) -> Generation:
        """See `IndexBackend`."""
        collection = self.collection + SEPARATOR + name
        found, complete = self._manifest(collection) if collection in self._names() else (None, False)
        if found is None or not complete:
            raise SearchIndexError(f"{self.where} has no complete generation {name}: run jobs/index.py again")
        return found

    def _all(self) -> list[tuple[str, Generation | None, bool]]:
        """Returns (collection, manifest, complete) of this index's collections, oldest first. One with an unreadable
        manifest counts as complete, so that it is not deleted: another version of cirray may have written it."""
        return [(name, *self._manifest(name)) for name in self._names()]

    def _names(self) -> list[str]:
        names = [entry.name for entry in self._rest.call("get_collections").collections]
        return sorted(name for name in names if name.startswith(self.collection + SEPARATOR))

    def _manifest(self, collection: str) -> tuple[Generation | None, bool]:
        metadata = metadata_of(self._rest, collection)
        complete = metadata.get("complete") is not False
        try:
            return Generation.model_validate(metadata["manifest"]), complete
        except (KeyError, ValidationError):
            return None, complete

    def _new_collection(self, plan: Generation) -> None:
        name, hnsw = self._name(plan), plan.settings.hnsw
        threshold = hnsw.threshold_kb
        known = self._names()
        try:
            self._rest.call(
                "create_collection",
                name,
                vectors_config=models.VectorParams(size=plan.dim, distance=models.Distance.COSINE),
                hnsw_config=models.HnswConfigDiff(
                    m=hnsw.m, ef_construct=hnsw.ef_construct, full_scan_threshold=threshold
                ),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
                quantization_config=quantization_config(plan.settings.quantization),
                metadata={"manifest": plan.model_dump(mode="json"), "complete": False},
            )
        except SearchIndexError:
            # A retry after a lost response finds the collection that the first attempt created.
            if name in known or name not in self._names():
                raise

    def _index_attributes(self, plan: Generation) -> None:
        """Creates the payload indexes, of which an interrupted run may lack some."""
        name = self._name(plan)
        kinds = {attribute.name: attribute.kind for attribute in plan.attributes}
        if plan.grouped:
            self._rest.call("create_payload_index", name, PRODUCT, models.PayloadSchemaType.KEYWORD)
            self._rest.call("create_payload_index", name, NUMBER, models.PayloadSchemaType.FLOAT)
        for attribute in plan.indexed:
            self._rest.call("create_payload_index", name, f"attributes.{attribute}", _KINDS[kinds[attribute]])


class ServerWriter:
    """Fills one collection and keeps its heartbeat; see `Writer`."""

    def __init__(self, rest: RetryingClient, bulk: RetryingClient, collection: str, plan: Generation) -> None:
        self.generation = plan
        self._rest = rest
        self._bulk = bulk
        self._collection = collection
        self._last_beat = 0.0
        self._beat()

    def state(self) -> dict[str, str]:
        """See `Writer`."""
        self._beat()
        return digests(partial(scroll, self._rest, self._collection))

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """See `Writer`."""
        self._beat()
        upsert(self._bulk, self._collection, self.generation, items, features)

    def remove(self, ids: Sequence[str]) -> None:
        """See `Writer`."""
        delete(self._rest, self._collection, self.generation, ids)

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """See `Writer`. Waits until the server has built the graph."""
        while (info := self._rest.call("get_collection", self._collection)).status != models.CollectionStatus.GREEN:
            if info.status == models.CollectionStatus.RED:
                raise SearchIndexError(f"collection {self._collection} failed: {info.optimizer_status}")
            if info.status == models.CollectionStatus.GREY:
                # After a restart the server resumes optimisation only when a collection is updated.
                nothing = models.OptimizersConfigDiff()
                self._rest.call("update_collection", self._collection, optimizers_config=nothing)
            self._beat()
            time.sleep(GREEN_EVERY_S)
        wanted = translate(None, FILTER_CLASSES, only_main=self.generation.grouped)
        count = self._rest.call("count", self._collection, count_filter=wanted, exact=True).count
        done = self.generation.model_copy(update={"count": count, "details": dict(details)})
        metadata = {"manifest": done.model_dump(mode="json"), "complete": True}
        self._rest.call("update_collection", self._collection, metadata=metadata)
        return done

    def close(self) -> None:
        """See `Writer`. Clears the heartbeat, so that the next job need not wait."""
        self._rest.call("update_collection", self._collection, metadata={"beat": 0.0})

    def _beat(self) -> None:
        """Updates the heartbeat if BEAT_S seconds have passed."""
        if time.monotonic() - self._last_beat > BEAT_S:
            self._last_beat = time.monotonic()
            self._rest.call("update_collection", self._collection, metadata={"beat": time.time()})
