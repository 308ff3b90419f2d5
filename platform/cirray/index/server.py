"""The server backend: a generation a collection, published by moving an alias.

Collections are named COLLECTION--GENERATION; the alias COLLECTION points at the published one. The manifest is the
collection's metadata (Qdrant 1.16 or later). A collection that a killed job left unfinished is gone on with: points
are named after their items, so nothing is there twice.
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
from cirray.index.items import Item, point_id, unit_rows
from cirray.index.reader import GenerationHistory, PointReader, digests
from cirray.index.retry import ATTEMPTS, Calls
from cirray.index.translate import FilterTypes

SEPARATOR = "--"
GRPC_PORT = 6334
_GRPC_WAIT_S = 2.0
_CONNECTIONS = 64
GREEN_EVERY_S = 0.5
BEAT_S = 5.0
ALIVE_S = 20.0

_FILTER_TYPES = FilterTypes(
    filter=models.Filter,
    field=models.FieldCondition,
    range=models.Range,
    has_id=lambda ids: models.HasIdCondition(has_id=ids),
    value=lambda value: models.MatchValue(value=value),
    any_of=lambda values: models.MatchAny(any=values),
)
_KINDS = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
}


def connect_backend(url: str, api_key: str | None, settings: IndexAccess, grpc_port: int = GRPC_PORT) -> ServerBackend:
    """Connects to a Qdrant server: REST for searches; for bulk uploads gRPC, where its port can be reached, else REST.

    Raises:
        SearchIndexError: the URL or the key is wrong, or the server is too old.
        IndexUnavailableError: nothing answers there.
    """
    # For localhost the client turns keep-alive off and opens a connection a request, unless it is told the limits.
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
    backend.published()  # the version is told to anybody, this is not
    if not _listens(urlsplit(url).hostname or "", grpc_port):
        log(
            f"{where}: nothing answers on the gRPC port {grpc_port} (QDRANT_GRPC_PORT): uploads go by REST, about half "
            f"as fast"
        )
        return backend
    return ServerBackend(rest, bulk, settings.collection, where, settings.attempts)


def without_password(url: str) -> str:
    """Returns a URL as people and logs may see it."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url.rpartition("@")[2]


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _GRPC_WAIT_S).close()
    except OSError:
        return False
    return True


class ServerBackend(GenerationHistory):
    """Generations as collections of one server.

    Args:
        rest: client for everything but uploads.
        bulk: client for uploads.
        collection: the alias.
        where: what errors call the server.
        attempts: how often a call is tried.
    """

    def __init__(
        self, rest: QdrantClient, bulk: QdrantClient, collection: str, where: str, attempts: int = ATTEMPTS
    ) -> None:
        self.collection = collection
        self.where = f"{where}, collection {collection}"
        self.searches = _CONNECTIONS // 2
        self._rest = Calls(rest, self.where, attempts)
        self._bulk = Calls(bulk, self.where, attempts)

    def check_version(self) -> None:
        """Raises SearchIndexError if the server does not keep metadata."""
        version = self._rest.call("info").version
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < (1, 16):
            raise SearchIndexError(f"{self.where}: Qdrant {version} is too old: cirray needs 1.16 or later")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `IndexBackend`. Nothing is locked: `create` looks for the signs of life of another job."""
        yield

    def create(self, plan: Generation) -> ServerWriter:
        """See `IndexBackend`. A collection under work shows a beat; one without is left over."""
        self._wait_for_others()
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
        _upsert(self._bulk, self._served(name), self.read(name).dim, items, features)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """See `WritableBackend`."""
        _delete(self._rest, self._served(name), ids)

    def _served(self, name: str) -> str:
        """Returns the collection of the published generation, which must be the one that the caller searches."""
        published = self.published()
        if published != name:
            raise IndexUnavailableError(f"{self.where}: {name} is not published any more, {published} is: try again")
        return self.collection + SEPARATOR + name

    def _wait_for_others(self) -> None:
        """Raises SearchIndexError if an unfinished collection is being worked on: if its beat goes on."""
        before = self._beats()
        if not any(before.values()):
            return
        log(f"{self.where}: a job was writing here; waiting {ALIVE_S:g} s to see whether it still does")
        time.sleep(ALIVE_S)
        alive = [name for name, beat in self._beats().items() if beat != before.get(name)]
        if alive:
            raise SearchIndexError(f"another job is writing {alive[0]} at {self.where}: wait for it, or stop it")

    def _beats(self) -> dict[str, float]:
        unfinished = [name for name, _, complete in self._all() if not complete]
        return {name: _metadata(self._rest, name).get("beat", 0.0) for name in unfinished}

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
        """Returns (collection, manifest, complete) of ours, oldest first. One that cannot be read counts as complete:
        another version of cirray may have made it, and it must not be deleted."""
        return [(name, *self._manifest(name)) for name in self._names()]

    def _names(self) -> list[str]:
        names = [entry.name for entry in self._rest.call("get_collections").collections]
        return sorted(name for name in names if name.startswith(self.collection + SEPARATOR))

    def _manifest(self, collection: str) -> tuple[Generation | None, bool]:
        metadata = _metadata(self._rest, collection)
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
                quantization_config=_quantization(plan.settings.quantization),
                metadata={"manifest": plan.model_dump(mode="json"), "complete": False},
            )
        except SearchIndexError:
            # Tried again after an answer that was lost, it finds the collection that it has made itself.
            if name in known or name not in self._names():
                raise

    def _index_attributes(self, plan: Generation) -> None:
        """Creates the payload indexes; a killed run may have left out some."""
        name = self._name(plan)
        kinds = {attribute.name: attribute.kind for attribute in plan.attributes}
        for attribute in plan.indexed:
            self._rest.call("create_payload_index", name, f"attributes.{attribute}", _KINDS[kinds[attribute]])


class ServerWriter:
    """Fills one collection; see `Writer`."""

    def __init__(self, rest: Calls, bulk: Calls, collection: str, plan: Generation) -> None:
        self.generation = plan
        self._rest = rest
        self._bulk = bulk
        self._collection = collection
        self._beaten = 0.0
        self._beat()

    def state(self) -> dict[str, str]:
        """See `Writer`."""
        self._beat()
        return digests(partial(_scroll, self._rest, self._collection))

    def upload(self, items: Sequence[Item], features: np.ndarray) -> None:
        """See `Writer`."""
        self._beat()
        _upsert(self._bulk, self._collection, self.generation.dim, items, features)

    def remove(self, ids: Sequence[str]) -> None:
        """See `Writer`."""
        _delete(self._rest, self._collection, ids)

    def finish(self, details: Mapping[str, Any]) -> Generation:
        """See `Writer`. Waits until the server has built the graph."""
        while (info := self._rest.call("get_collection", self._collection)).status != models.CollectionStatus.GREEN:
            if info.status == models.CollectionStatus.RED:
                raise SearchIndexError(f"collection {self._collection} failed: {info.optimizer_status}")
            if info.status == models.CollectionStatus.GREY:
                # A server that was started anew builds nothing until a collection is changed.
                nothing = models.OptimizersConfigDiff()
                self._rest.call("update_collection", self._collection, optimizers_config=nothing)
            self._beat()
            time.sleep(GREEN_EVERY_S)
        count = self._rest.call("count", self._collection, exact=True).count
        done = self.generation.model_copy(update={"count": count, "details": dict(details)})
        metadata = {"manifest": done.model_dump(mode="json"), "complete": True}
        self._rest.call("update_collection", self._collection, metadata=metadata)
        return done

    def close(self) -> None:
        """See `Writer`. Takes the sign of life away, so that the next job need not wait."""
        self._rest.call("update_collection", self._collection, metadata={"beat": 0.0})

    def _beat(self) -> None:
        """Shows other jobs that this one lives."""
        if time.monotonic() - self._beaten > BEAT_S:
            self._beaten = time.monotonic()
            self._rest.call("update_collection", self._collection, metadata={"beat": time.time()})


class ServerReader(PointReader):
    """Searches one collection."""

    def __init__(self, rest: Calls, collection: str, generation: Generation) -> None:
        super().__init__(generation, _FILTER_TYPES)
        self._rest = rest
        self._collection = collection
        settings = generation.settings
        rescore = models.QuantizationSearchParams(rescore=True, oversampling=settings.oversampling)
        quantized = settings.quantization != "none"
        self._params = models.SearchParams(hnsw_ef=settings.hnsw.ef_search, quantization=rescore if quantized else None)

    def close(self) -> None:
        """See `Reader`. The connection is the backend's."""

    def _nearest(self, rows: np.ndarray, limit: int, offset: int, wanted: Any) -> Sequence[Sequence[Any]]:
        requests = [
            models.QueryRequest(
                query=row.tolist(),
                limit=limit,
                offset=offset,
                filter=wanted,
                params=self._params,
                with_payload=True,
            )
            for row in rows
        ]
        return [answer.points for answer in self._rest.call("query_batch_points", self._collection, requests)]

    def _retrieve(self, points: list[Any], with_vectors: bool) -> Sequence[Any]:
        found: Sequence[Any] = self._rest.call(
            "retrieve", self._collection, points, with_payload=True, with_vectors=with_vectors
        )
        return found

    def _scroll(self, limit: int, cursor: Any, wanted: Any, payload: Any) -> tuple[Sequence[Any], Any]:
        return _scroll(self._rest, self._collection, limit, cursor, wanted, payload)

    def _count(self, wanted: Any) -> int:
        count: int = self._rest.call("count", self._collection, count_filter=wanted, exact=True).count
        return count


def _upsert(calls: Calls, collection: str, dim: int, items: Sequence[Item], features: np.ndarray) -> None:
    units, norms = unit_rows(features, dim, [item.id for item in items])
    if not items:  # the server refuses to do nothing
        return
    points = [
        models.PointStruct(id=point_id(item.id), vector=unit.tolist(), payload=item.payload(float(norm)))
        for item, unit, norm in zip(items, units, norms, strict=True)
    ]
    calls.call("upsert", collection, points, wait=True)


def _delete(calls: Calls, collection: str, ids: Sequence[str]) -> None:
    if not ids:
        return
    selector = models.PointIdsList(points=[point_id(identifier) for identifier in ids])
    calls.call("delete", collection, selector, wait=True)


def _metadata(calls: Calls, collection: str) -> dict[str, Any]:
    return calls.call("get_collection", collection).config.metadata or {}


def _scroll(
    calls: Calls, collection: str, limit: int, cursor: Any, wanted: Any, payload: Any
) -> tuple[Sequence[Any], Any]:
    points, following = calls.call(
        "scroll",
        collection,
        scroll_filter=wanted,
        limit=limit,
        offset=cursor,
        with_payload=payload,
        with_vectors=False,
    )
    return points, following


def _quantization(name: str) -> Any:
    if name == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if name == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
