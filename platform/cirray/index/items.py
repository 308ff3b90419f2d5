"""Items, hits and pages; conversion of features and ids to Qdrant's representation."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cirray.errors import SearchIndexError

Attributes = Mapping[str, str | int | float | bool | list[str]]
SMALLEST_NORM = 1e-12
# Payload fields of the points of items that belong to a product or have several pictures.
PRODUCT, NUMBER = "product", "number"
# Qdrant's ids are unsigned integers or UUIDs; this is the namespace of the UUIDs derived from catalog ids.
_NAMESPACE = uuid.UUID("6f1f3d52-4f0b-5f5e-9a39-0a9a7f6f7c11")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of an item.

    Attributes:
        image: path or URI of the picture file.
        content: SHA-256 (hex) of the picture's bytes.
    """

    image: str
    content: str


@dataclass(frozen=True, slots=True)
class Item:
    """One catalog item. Each of its pictures is a point of the index.

    Attributes:
        id: the catalog's id.
        image: path or URI of the main picture's file.
        content: SHA-256 (hex) of the main picture's bytes.
        title: the display title; "" if there is none.
        attributes: name -> value, for filters.
        group: id of the product of which this item is a variant; "" if it is a product of its own.
        more: further pictures.
    """

    id: str
    image: str
    content: str
    title: str = ""
    attributes: Attributes = field(default_factory=dict)
    group: str = ""
    more: tuple[Picture, ...] = ()

    @property
    def product(self) -> str:
        """The id by which search results are grouped."""
        return self.group or self.id

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures; the main one is first. A picture's number is its position."""
        return (Picture(self.image, self.content), *self.more)

    def digest(self) -> str:
        """Returns a short hash of all stored fields; the digests of an unchanged item are equal."""
        content: list[Any] = [self.image, self.content, self.title, dict(sorted(self.attributes.items()))]
        if self.group or self.more:  # else the digest is that of earlier versions
            content += [self.group, self._more()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def payload(self, norm: float, number: int = 0) -> dict[str, Any]:
        """Returns the payload stored with the unit vector of picture `number`; unit vector x `norm` = raw feature."""
        payload = {
            "id": self.id,
            "image": self.image,
            "content": self.content,
            "title": self.title,
            "attributes": dict(self.attributes),
            "digest": self.digest(),
            "norm": norm,
        }
        if self.group or self.more:
            payload |= {PRODUCT: self.product, NUMBER: number, "group": self.group, "more": self._more()}
        return payload

    def _more(self) -> list[list[str]]:
        return [[picture.image, picture.content] for picture in self.more]


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: an item, its cosine similarity to the query feature, and the number of the picture that has it."""

    item: Item
    score: float
    number: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of items in the index's order; `cursor` requests the next page, None on the last."""

    items: list[Item]
    cursor: str | None


def item_of(payload: Mapping[str, Any]) -> Item:
    """Rebuilds an item from its payload."""
    return Item(
        payload["id"],
        payload["image"],
        payload["content"],
        payload["title"],
        payload["attributes"],
        payload.get("group", ""),
        tuple(Picture(image, content) for image, content in payload.get("more", [])),
    )


def number_of(payload: Mapping[str, Any]) -> int:
    """Returns the number of the picture that a point stands for."""
    return int(payload.get(NUMBER, 0))


def point_id(identifier: str, number: int = 0) -> str:
    """Returns the point id of an item's picture, a version 5 UUID."""
    main = uuid.uuid5(_NAMESPACE, identifier)
    return str(uuid.uuid5(main, str(number)) if number else main)


def point_ids(item: Item) -> list[str]:
    """Returns the point ids of all pictures of an item."""
    return [point_id(item.id, number) for number in range(len(item.pictures))]


def check_cursor(cursor: str | None) -> None:
    """Checks that a cursor has the form of those in `Page`.

    Raises:
        SearchIndexError: it has not.
    """
    try:
        uuid.UUID(cursor or point_id(""))
    except ValueError:
        raise SearchIndexError(f"{cursor!r} is not a cursor: pass the cursor of the previous page") from None


def payload_rows(
    items: Sequence[Item], features: np.ndarray, dim: int
) -> Iterator[tuple[str, list[float], dict[str, Any]]]:
    """Yields the point id, unit vector and payload of each picture of `items`.

    Args:
        items: the items.
        features: raw image features [P, dim] of all their pictures, in the order of the items and of their pictures.
        dim: width of the index's vectors.

    Raises:
        SearchIndexError: as `unit_rows`.
    """
    owners = [(item, number) for item in items for number in range(len(item.pictures))]
    units, norms = unit_rows(features, dim, [item.id for item, _ in owners])
    for (item, number), unit, norm in zip(owners, units, norms, strict=True):
        yield point_id(item.id, number), unit.tolist(), item.payload(float(norm), number)


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
