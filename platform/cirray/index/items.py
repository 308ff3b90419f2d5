"""Items, hits and pages; conversion of features and ids to Qdrant's representation."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cirray.errors import SearchIndexError

Attributes = Mapping[str, str | int | float | bool | list[str]]
SMALLEST_NORM = 1e-12
# Qdrant's ids are unsigned integers or UUIDs; this is the namespace of the UUIDs derived from catalog ids.
_NAMESPACE = uuid.UUID("6f1f3d52-4f0b-5f5e-9a39-0a9a7f6f7c11")


@dataclass(frozen=True, slots=True)
class Item:
    """One catalog item.

    Attributes:
        id: the catalog's id.
        image: path or URI of the picture file.
        content: SHA-256 (hex) of the picture's bytes.
        title: the display title; "" if there is none.
        attributes: name -> value, for filters.
    """

    id: str
    image: str
    content: str
    title: str = ""
    attributes: Attributes = field(default_factory=dict)

    def digest(self) -> str:
        """Returns a short hash of all stored fields; the digests of an unchanged item are equal."""
        content = [self.image, self.content, self.title, dict(sorted(self.attributes.items()))]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def payload(self, norm: float) -> dict[str, Any]:
        """Returns the payload stored with the unit vector; unit vector x `norm` = raw feature."""
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
    """One page of items in the index's order; `cursor` requests the next page, None on the last."""

    items: list[Item]
    cursor: str | None


def item_of(payload: Mapping[str, Any]) -> Item:
    """Rebuilds an item from its payload."""
    return Item(payload["id"], payload["image"], payload["content"], payload["title"], payload["attributes"])


def point_id(identifier: str) -> str:
    """Returns the point id of an item, a version 5 UUID."""
    return str(uuid.uuid5(_NAMESPACE, identifier))


def check_cursor(cursor: str | None) -> None:
    """Checks that a cursor has the form of those in `Page`.

    Raises:
        SearchIndexError: it has not.
    """
    try:
        uuid.UUID(cursor or point_id(""))
    except ValueError:
        raise SearchIndexError(f"{cursor!r} is not a cursor: pass the cursor of the previous page") from None


def unit_rows(rows: np.ndarray, dim: int, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Splits raw image features [N, dim] into unit vectors [N, dim] and norms [N].

    Raises:
        SearchIndexError: a feature is of another width, not finite, or zero. Qdrant itself would accept it.
    """
    if rows.ndim != 2 or rows.shape[1] != dim or len(rows) != len(ids):
        raise SearchIndexError(
            f"features of shape {rows.shape} do not fit {len(ids)} items of {dim} numbers each ({', '.join(ids[:3])}"
            f"{', ...' if len(ids) > 3 else ''}): the index was built with another bundle"
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
        SearchIndexError: a feature is of another width, not finite, or zero. Qdrant itself would return arbitrary hits.
    """
    rows = np.atleast_2d(vectors)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise SearchIndexError(f"query features of shape {rows.shape} do not fit an index of {dim} numbers per item")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not (np.isfinite(norms) & (norms >= SMALLEST_NORM)).all():
        raise SearchIndexError("a query feature is zero or not finite: the bundle is broken; train or import it again")
    return rows
