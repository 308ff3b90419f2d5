"""What an index holds of a catalog item, and what a search returns."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cirray.errors import SearchIndexError

Attributes = Mapping[str, str | int | float | bool | list[str]]
SMALLEST_NORM = 1e-12
# Qdrant leaves the order of equal scores open, and so which of them a limit cuts off. With so many hits more at either
# end of a page, pages fit together as long as no more items than that have the same picture.
TIES = 16
# Qdrant's ids are unsigned integers or UUIDs; this namespace makes ours from the catalog's own ids.
_NAMESPACE = uuid.UUID("6f1f3d52-4f0b-5f5e-9a39-0a9a7f6f7c11")


@dataclass(frozen=True, slots=True)
class Item:
    """One catalog item.

    Attributes:
        id: the catalog's own id.
        image: the picture file.
        content: SHA-256 of the picture's bytes.
        title: what people read, "" if there is none.
        attributes: what filters look at.
    """

    id: str
    image: str
    content: str
    title: str = ""
    attributes: Attributes = field(default_factory=dict)

    def digest(self) -> str:
        """Returns a short hash of all that an index stores of the item; another digest means it has changed."""
        content = [self.image, self.content, self.title, dict(sorted(self.attributes.items()))]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def payload(self, norm: float) -> dict[str, Any]:
        """Returns what is stored beside the unit vector; `norm` makes the raw feature of it again."""
        return {
            "id": self.id,
            "image": self.image,
            "content": self.content,
            "title": self.title,
            "attributes": dict(self.attributes),
            "digest": self.digest(),
            "norm": norm,
        }


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: an item and its cosine similarity to the query feature."""

    item: Item
    score: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some items in the index's own order; `cursor` gets the next ones, None at the end."""

    items: list[Item]
    cursor: str | None


def item_of(payload: Mapping[str, Any]) -> Item:
    """Rebuilds an item from its payload."""
    return Item(payload["id"], payload["image"], payload["content"], payload["title"], payload["attributes"])


def point_id(identifier: str) -> str:
    """Returns the UUID (version 5) under which an item is stored."""
    return str(uuid.uuid5(_NAMESPACE, identifier))


def check_cursor(cursor: str | None) -> None:
    """Raises SearchIndexError if it cannot come from a page."""
    try:
        uuid.UUID(cursor or point_id(""))
    except ValueError:
        raise SearchIndexError(f"{cursor!r} is no cursor: take it from the page before") from None


def unit_rows(rows: np.ndarray, dim: int, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Splits raw image features [N, dim] into unit vectors [N, dim] and norms [N].

    Raises:
        SearchIndexError: a feature of another width, not finite, or zero: Qdrant would take it without a word.
    """
    if rows.ndim != 2 or rows.shape[1] != dim or len(rows) != len(ids):
        raise SearchIndexError(
            f"features of shape {rows.shape} do not fit {len(ids)} items of {dim} numbers each ({', '.join(ids[:3])}"
            f"{', ...' if len(ids) > 3 else ''}): the index was made with another bundle"
        )
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    wrong = [ids[int(row)] for row in np.flatnonzero(~np.isfinite(norms) | (norms < SMALLEST_NORM))]
    if wrong:
        raise SearchIndexError(
            f"the features of {len(wrong)} items are zero or not finite, such as {wrong[0]}: the bundle's image "
            f"tower is broken; train or import it again"
        )
    return (rows / norms[:, None]).astype(np.float32), norms


def query_rows(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Returns query features as rows [N, dim].

    Raises:
        SearchIndexError: one of another width, not finite, or zero: Qdrant would find nothing, or anything.
    """
    rows = np.atleast_2d(vectors)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise SearchIndexError(f"query features of shape {rows.shape} do not fit an index of {dim} numbers an item")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not (np.isfinite(norms) & (norms >= SMALLEST_NORM)).all():
        raise SearchIndexError("a query feature is zero or not finite: the bundle is broken; train or import it again")
    return rows


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked of Qdrant for one page of hits, see TIES."""

    offset: int
    limit: int
    skipped: int
    wanted: int

    @classmethod
    def around(cls, limit: int, offset: int) -> Window:
        """Returns the window for a page."""
        start = max(0, offset - TIES)
        return cls(start, offset - start + limit + TIES, offset - start, limit)

    def page(self, hits: Iterable[Hit]) -> list[Hit]:
        """Cuts the page out of the hits found; those of equal score come in the order of their ids."""
        return sorted(hits, key=lambda hit: (-hit.score, hit.item.id))[self.skipped : self.skipped + self.wanted]
