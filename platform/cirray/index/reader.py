"""Base classes of the embedded and the server backend.

Qdrant Edge and the client of the server return points with the same attributes (payload, vector, score) but take
different requests: subclasses send the requests, the base classes convert the results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from cirray.data.filters import Filter
from cirray.index.backend import Generation, expired, previous
from cirray.index.items import (
    PRODUCT,
    Hit,
    Item,
    Page,
    check_cursor,
    item_of,
    number_of,
    point_id,
    point_ids,
    query_rows,
)
from cirray.index.pages import Candidate, read_pages
from cirray.index.translate import FilterClasses, translate

PAGE = 1000
# (limit, cursor, filter, payload keys or True for all) -> (points, next cursor)
Scroll = Callable[[int, Any, Any, Any], tuple[Sequence[Any], Any]]


class BaseReader(ABC):
    """`Reader` on top of four Qdrant requests: nearest neighbours, retrieve, scroll and count.

    Args:
        generation: the generation to search.
        classes: the filter classes of this Qdrant library.
    """

    def __init__(self, generation: Generation, classes: FilterClasses) -> None:
        self.generation = generation
        self._classes = classes

    def search(
        self,
        vectors: np.ndarray,
        limit: int,
        offset: int = 0,
        filter: Filter | None = None,
        without: Sequence[str] = (),
    ) -> list[list[Hit]]:
        """See `Reader`."""
        rows = query_rows(vectors, self.generation.dim)
        wanted = translate(filter, self._classes, without, self._products(without))

        def nearest(some: np.ndarray, size: int, exact: bool) -> list[list[Candidate]]:
            results = self._nearest(some, size, wanted, exact)
            return [[_candidate(point) for point in points] for points in results]

        pages = read_pages(nearest, rows, limit, offset, self._hiding_copies())
        found = self._payloads({candidate.point for page in pages for candidate in page})
        return [
            [_hit(found[best.point], -best.cost) for best in page if best.point in found]  # else just deleted
            for page in pages
        ]

    def _products(self, ids: Sequence[str]) -> list[str]:
        """Returns the products of the items that exist among `ids`; none if no items share a product."""
        if not ids or not self.generation.grouped:
            return []
        return list(dict.fromkeys(item.product for item in self.items(ids).values()))

    def _payloads(self, points: Set[str]) -> dict[str, Any]:
        """Returns the payloads of the points that exist, by point id."""
        found = self._retrieve(sorted(points), with_vectors=False) if points else []
        return {str(point.id): point.payload for point in found}

    def _hiding_copies(self) -> int | None:
        """Returns the number of copies of which the graph may hide some; None if there is no graph."""
        hnsw = self.generation.settings.hnsw
        vectors_kb = self.generation.count * self.generation.dim * 4 / 1024
        return hnsw.m if vectors_kb >= hnsw.threshold_kb else None

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """See `Reader`."""
        items = [
            item_of(point.payload)
            for point in self._retrieve([point_id(identifier) for identifier in ids], with_vectors=False)
        ]
        return {item.id: item for item in items}

    def features(self, ids: Sequence[str], number: int = 0) -> dict[str, np.ndarray]:
        """See `Reader`."""
        return {
            point.payload["id"]: np.asarray(point.vector, np.float32) * np.float32(point.payload["norm"])
            for point in self._retrieve([point_id(identifier, number) for identifier in ids], with_vectors=True)
        }

    def digests(self) -> dict[str, str]:
        """See `Reader`."""
        return digests(self._scroll)

    def browse(self, limit: int, cursor: str | None = None, filter: Filter | None = None) -> Page:
        """See `Reader`."""
        check_cursor(cursor)
        points, following = self._scroll(limit, cursor, self._main_pictures(filter), True)
        return Page([item_of(point.payload) for point in points], None if following is None else str(following))

    def count(self, filter: Filter | None = None) -> int:
        """See `Reader`."""
        return self._count(self._main_pictures(filter))

    def _main_pictures(self, filter: Filter | None) -> Any:
        """Returns Qdrant's filter for the main pictures of the items that match."""
        return translate(filter, self._classes, only_main=self.generation.grouped)

    @abstractmethod
    def _nearest(self, rows: np.ndarray, limit: int, wanted: Any, exact: bool) -> Sequence[Sequence[Any]]:
        """Returns the nearest points of each row of `rows` [N, d] that match Qdrant's filter `wanted`.

        Their payload holds at most PRODUCT, which search results are grouped by.
        """

    @abstractmethod
    def _retrieve(self, points: list[Any], with_vectors: bool) -> Sequence[Any]:
        """Returns the points that exist among the point ids `points`."""

    @abstractmethod
    def _scroll(self, limit: int, cursor: Any, wanted: Any, payload: Any) -> tuple[Sequence[Any], Any]:
        """Returns a page of points and the cursor of the next one."""

    @abstractmethod
    def _count(self, wanted: Any) -> int:
        """Returns the number of points that match."""


class BaseBackend(ABC):
    """Roll-back and deletion of old generations, on top of the other methods of `IndexBackend`."""

    where: str

    def roll_back(self) -> str:
        """See `IndexBackend`."""
        name = previous(self.generations(), self.published(), self.where)
        self.publish(name)
        return name

    def collect(self, keep: int) -> list[str]:
        """See `IndexBackend`."""
        names = expired(self.generations(), self.published(), keep)
        for name in names:
            self.discard(name)
        return names

    @abstractmethod
    def generations(self) -> list[Generation]:
        """See `IndexBackend`."""

    @abstractmethod
    def published(self) -> str | None:
        """See `IndexBackend`."""

    @abstractmethod
    def publish(self, name: str) -> None:
        """See `IndexBackend`."""

    @abstractmethod
    def discard(self, name: str) -> None:
        """See `IndexBackend`."""


def digests(scroll: Scroll) -> dict[str, str]:
    """Returns id -> digest of all points."""
    digest_of: dict[str, str] = {}
    cursor: Any = None
    while True:
        points, cursor = scroll(PAGE, cursor, None, ["id", "digest"])
        digest_of.update({point.payload["id"]: point.payload["digest"] for point in points})
        if cursor is None:
            return digest_of


def _candidate(point: Any) -> Candidate:
    product = (point.payload or {}).get(PRODUCT)
    # An item with the id of a product belongs to it: its point id is then that of the product.
    return Candidate(-point.score, str(point.id), "" if product is None else point_id(product))


def _hit(payload: Mapping[str, Any], score: float) -> Hit:
    return Hit(item_of(payload), score, number_of(payload))


def further_points(retrieve: Callable[[list[Any]], Sequence[Any]], ids: Sequence[str]) -> set[str]:
    """Returns the point ids of all but the main pictures of the items that exist among `ids`: see `Item.pictures`."""
    found = [item_of(point.payload) for point in retrieve([point_id(identifier) for identifier in ids])]
    return {point for item in found for point in point_ids(item)[1:]}


def search_params(library: Any, generation: Generation) -> tuple[Any, Any]:
    """Returns the search parameters of approximate and of exact search.

    Args:
        library: the module with this Qdrant library's request classes, `qdrant_edge` or `qdrant_client.models`.
        generation: the generation to search.
    """
    settings = generation.settings
    rescore = library.QuantizationSearchParams(rescore=True, oversampling=settings.oversampling)
    quantization = rescore if settings.quantization != "none" else None
    return (
        library.SearchParams(hnsw_ef=settings.hnsw.ef_search, quantization=quantization),
        library.SearchParams(exact=True),
    )
