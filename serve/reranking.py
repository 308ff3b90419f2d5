"""The second stage of a search: the first hits are fetched, scored again, and paged in their new order.

The list of a reranked search consists of the first `top` hits by the reranker's score, then of the other hits by cosine
similarity. Every page is cut from that list: a page before `top` reranks all of them, a page after it does not rerank.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cirray.index.backend import Reader
from cirray.index.items import Hit
from serve.answers import Clock
from serve.catalog import Catalog
from serve.encoder_types import EncodedQuery
from serve.model import ServedModel

# (limit, offset) -> the hits of the first stage
FirstStage = Callable[[int, int], Awaitable[Sequence[Hit]]]
# A hit, and the reranker's score; None if it was not reranked.
Scored = tuple[Hit, float | None]


@dataclass(frozen=True)
class SecondStage:
    """Reranks the hits of one query.

    Attributes:
        catalog: calls the index.
        reader: the searched generation.
        model: the served model.
        query: the query.
    """

    catalog: Catalog
    reader: Reader
    model: ServedModel
    query: EncodedQuery

    async def page(self, search: FirstStage, top: int, limit: int, offset: int, clock: Clock) -> list[Scored]:
        """Returns one page of the reranked list.

        Args:
            search: the first stage.
            top: number of first hits to rerank; 0 = none.
            limit, offset: of the page.
            clock: measures both stages.

        Raises:
            BusyError, ModelChangedError: temporary.
        """
        end = offset + limit
        first = await search(top, 0) if offset < top else []
        goes_on = end > top and (offset >= top or len(first) == top)
        rest = await search(end - max(offset, top), max(offset, top)) if goes_on else []
        clock.lap("search")
        reranked = (await self._rerank(first))[offset:end]
        if first:
            clock.lap("rerank")
        return [*reranked, *((hit, None) for hit in rest)]

    async def _rerank(self, hits: Sequence[Hit]) -> list[Scored]:
        """Returns hits by the reranker's score; equal ones stay in their order."""
        features = await self._features(hits)
        present = [hit for hit in hits if _key(hit) in features]  # others have just been deleted
        if not present:
            return []
        scores = await self.model.rerank(self.query, np.stack([features[_key(hit)] for hit in present]))
        return [(present[row], float(scores[row])) for row in np.argsort(-scores, kind="stable")]

    async def _features(self, hits: Sequence[Hit]) -> dict[tuple[str, int], np.ndarray]:
        """Returns the raw features of the hits' pictures, by id and number of the picture."""
        features: dict[tuple[str, int], np.ndarray] = {}
        for number in {hit.number for hit in hits}:
            ids = [hit.item.id for hit in hits if hit.number == number]
            found = await self.catalog.call(self.reader.features, ids, number)
            features |= {(identifier, number): feature for identifier, feature in found.items()}
        return features


def _key(hit: Hit) -> tuple[str, int]:
    return hit.item.id, hit.number
