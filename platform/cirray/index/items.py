"""What an index holds of a catalogue item, and what a search returns."""

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
# Qdrant's ids are unsigned integers or UUIDs; this namespace makes ours from the catalogue's own ids.
_NAMESPACE = uuid.UUID("6f1f3d52-4f0b-5f5e-9a39-0a9a7f6f7c11")


@dataclass(frozen=True, slots=True)
class Item:
    """One catalogue item.

    Attributes:
        id: the catalogue's own id.
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


def unit_rows(rows: np.ndarray, dim: int, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Splits raw image features [N, dim] into unit vectors [N, dim] and norms [N].

    Raises:
        SearchIndexError: a feature of another width, not finite, or zero: Qdrant would take it without a word.
    """
    if rows.ndim != 2 or rows.shape[1] != dim or len(rows) != len(ids):
        raise SearchIndexError(f"features of shape {rows.shape} do not fit {len(ids)} items of {dim} numbers each")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    wrong = [ids[row] for row in np.flatnonzero(~np.isfinite(norms) | (norms < 1e-12))]
    if wrong:
        raise SearchIndexError(
            f"the features of {len(wrong)} items are zero or not finite, such as {wrong[0]}: the bundle's image "
            f"tower is broken; train or import it again"
        )
    return (rows / norms[:, None]).astype(np.float32), norms
