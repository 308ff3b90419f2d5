"""Catalog items: the length of an id, and what is known of their attributes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Characters of an item id.
MAX_ID = 512


class Attribute(BaseModel):
    """What is known of one attribute of a catalog, for people who filter by it.

    Attributes:
        kind: keyword (text), number or bool.
        values: the most frequent values and how many items have them; empty for numbers.
        minimum, maximum: of numbers.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    values: list[tuple[str | bool, int]] = []
    minimum: float | None = None
    maximum: float | None = None
