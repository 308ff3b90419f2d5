"""The points of one server collection: search, upload and removal."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import partial
from typing import Any

import numpy as np
from qdrant_client import models

from cirray.index.backend import Generation
from cirray.index.items import PRODUCT, Item, payload_rows, point_id, point_ids
from cirray.index.reader import BaseReader, further_points, search_params
from cirray.index.retry import RetryingClient
from cirray.index.translate import FilterClasses

FILTER_CLASSES = FilterClasses(
    filter=models.Filter,
    field=models.FieldCondition,
    range=models.Range,
    has_id=lambda ids: models.HasIdCondition(has_id=ids),
    value=lambda value: models.MatchValue(value=value),
    any_of=lambda values: models.MatchAny(any=values),
)


class ServerReader(BaseReader):
    """Searches one collection."""

    def __init__(self, rest: RetryingClient, collection: str, generation: Generation) -> None:
        super().__init__(generation, FILTER_CLASSES)
        self._rest = rest
        self._collection = collection
        self._approximate, self._exact = search_params(models, generation)

    def close(self) -> None:
        """See `Reader`. The connection is the backend's."""

    def _nearest(self, rows: np.ndarray, limit: int, wanted: Any, exact: bool) -> Sequence[Sequence[Any]]:
        requests = [
            models.QueryRequest(
                query=row.tolist(),
                limit=limit,
                filter=wanted,
                params=self._exact if exact else self._approximate,
                with_payload=[PRODUCT] if self.generation.grouped else False,
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
        return scroll(self._rest, self._collection, limit, cursor, wanted, payload)

    def _count(self, wanted: Any) -> int:
        count: int = self._rest.call("count", self._collection, count_filter=wanted, exact=True).count
        return count


def upsert(
    client: RetryingClient, collection: str, generation: Generation, items: Sequence[Item], features: np.ndarray
) -> None:
    """Adds or replaces items with the raw image features [P, d] of all their pictures.

    Raises:
        SearchIndexError: a feature is of another width, zero or not finite.
    """
    points = [
        models.PointStruct(id=point, vector=vector, payload=payload)
        for point, vector, payload in payload_rows(items, features, generation.dim)
    ]
    if not points:  # the server rejects an empty request
        return
    old = _further_points(client, collection, generation, [item.id for item in items])
    client.call("upsert", collection, points, wait=True)
    _delete(client, collection, old - {point for item in items for point in point_ids(item)})


def delete(client: RetryingClient, collection: str, generation: Generation, ids: Sequence[str]) -> None:
    """Removes items."""
    if not ids:
        return
    further = _further_points(client, collection, generation, ids)
    _delete(client, collection, {*further, *(point_id(identifier) for identifier in ids)})


def _delete(client: RetryingClient, collection: str, points: Set[str]) -> None:
    if points:
        client.call("delete", collection, models.PointIdsList(points=sorted(points)), wait=True)


def _further_points(client: RetryingClient, collection: str, generation: Generation, ids: Sequence[str]) -> set[str]:
    return further_points(partial(_with_payloads, client, collection), ids) if generation.grouped else set()


def _with_payloads(client: RetryingClient, collection: str, points: list[Any]) -> Sequence[Any]:
    found: Sequence[Any] = client.call("retrieve", collection, points, with_payload=True, with_vectors=False)
    return found


def metadata_of(client: RetryingClient, collection: str) -> dict[str, Any]:
    """Returns the metadata of a collection."""
    return client.call("get_collection", collection).config.metadata or {}


def scroll(
    client: RetryingClient, collection: str, limit: int, cursor: Any, wanted: Any, payload: Any
) -> tuple[Sequence[Any], Any]:
    """Returns a page of points without vectors, and the cursor of the next one."""
    points, following = client.call(
        "scroll",
        collection,
        scroll_filter=wanted,
        limit=limit,
        offset=cursor,
        with_payload=payload,
        with_vectors=False,
    )
    return points, following


def quantization_config(name: str) -> Any:
    """Returns Qdrant's configuration of a quantization: "none", "int8" or "binary"."""
    if name == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if name == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
