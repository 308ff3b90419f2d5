"""Converts what the index returns to answers of the API."""

from __future__ import annotations

import time
from urllib.parse import quote

from cirray.client import schemas
from cirray.index.items import Hit, Item


class Clock:
    """Measures the parts of a request in milliseconds.

    Args:
        began: `time.perf_counter()` when the request arrived.
    """

    def __init__(self, began: float) -> None:
        self._began = self._last = began
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self._laps[name] = round(1000 * (now - self._last), 2)
        self._last = now

    def timings(self) -> schemas.Timings:
        """Returns the duration of each part, and the total."""
        return schemas.Timings(**self._laps, total=round(1000 * (self._last - self._began), 2))


def image_path(identifier: str, number: int = 0) -> str:
    """Returns the path of the thumbnail of an item's picture below the service's address."""
    return f"/v1/items/{quote(identifier, safe='')}/image" + (f"?number={number}" if number else "")


def item_answer(item: Item) -> schemas.ItemAnswer:
    """Returns the answer for an item."""
    images = [image_path(item.id, number) for number in range(len(item.pictures))]
    return schemas.ItemAnswer(
        id=item.id,
        title=item.title,
        attributes=dict(item.attributes),
        image=images[0],
        images=images,
        group=item.product,
    )


def hit_answer(hit: Hit, rerank_score: float | None = None) -> schemas.HitAnswer:
    """Returns the answer for a hit, with the score of the reranker if it was reranked."""
    answer = item_answer(hit.item).model_dump()
    return schemas.HitAnswer(
        **{**answer, "image": image_path(hit.item.id, hit.number)},
        score=hit.score,
        image_number=hit.number,
        rerank_score=rerank_score,
    )
