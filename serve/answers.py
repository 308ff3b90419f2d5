"""From what the index returns to what the service answers."""

from __future__ import annotations

import time
from urllib.parse import quote

from cirray.client import schemas
from cirray.index.items import Hit, Item


class Clock:
    """Measures the parts of a request, in milliseconds."""

    def __init__(self, began: float) -> None:
        self._began = self._last = began
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self._laps[name] = round(1000 * (now - self._last), 2)
        self._last = now

    def timings(self) -> schemas.Timings:
        """Returns all parts and their total."""
        return schemas.Timings(**self._laps, total=round(1000 * (self._last - self._began), 2))


def image_path(identifier: str) -> str:
    """Returns where an item's thumbnail is, below the service's address."""
    return f"/v1/items/{quote(identifier, safe='')}/image"


def item_answer(item: Item) -> schemas.ItemAnswer:
    """Returns what is told of an item."""
    return schemas.ItemAnswer(id=item.id, title=item.title, attributes=dict(item.attributes), image=image_path(item.id))


def hit_answer(hit: Hit) -> schemas.HitAnswer:
    """Returns what is told of a hit."""
    return schemas.HitAnswer(**item_answer(hit.item).model_dump(), score=hit.score)
