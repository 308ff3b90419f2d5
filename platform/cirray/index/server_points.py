"""The points of one server collection: search, upload and removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from cirray.index.backend import Generation
from cirray.index.items import Item, point_id, unit_rows
from cirray.index.reader import BaseReader
from cirray.index.retry import RetryingClient
from cirray.index.translate import FilterClasses

_FILTER_CLASSES = FilterClasses(
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
        super().__init__(generation, _FILTER_CLASSES)
        self._rest = rest
        self._collection = collection
        settings = generation.settings
        rescore = models.QuantizationSearchParams(rescore=True, oversampling=settings.oversampling)
        quantized = settings.quantization != "none"
        self._approximate = models.SearchParams(
            hnsw_ef=settings.hnsw.ef_search, quantization=rescore if quantized else None
        )
        self._exact = models.SearchParams(exact=True)

    def close(self) -> None:
        """See `Reader`. The connection is the backend's."""

    def _nearest(self, rows: np.ndarray, limit: int, wanted: Any, exact: bool) -> Sequence[Sequence[Any]]:
        requests = [
            models.QueryRequest(
                query=row.tolist(),
                limit=limit,
                filter=wanted,
                params=self._exact if exact else self._approximate,
                with_payload=False,
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


def upsert(client: RetryingClient, collection: str, dim: int, items: Sequence[Item], features: np.ndarray) -> None:
    """Adds or replaces items with their raw image features [N, dim].

    Raises:
        SearchIndexError: a feature is of another width, zero or not finite.
    """
    units, norms = unit_rows(features, dim, [item.id for item in items])
    if not items:  # the server rejects an empty request
        return
    points = [
        models.PointStruct(id=point_id(item.id), vector=unit.tolist(), payload=item.payload(float(norm)))
        for item, unit, norm in zip(items, units, norms, strict=True)
    ]
    client.call("upsert", collection, points, wait=True)


def delete(client: RetryingClient, collection: str, ids: Sequence[str]) -> None:
    """Removes items."""
    if not ids:
        return
    selector = models.PointIdsList(points=[point_id(identifier) for identifier in ids])
    client.call("delete", collection, selector, wait=True)


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
