"""Limits of item ids, and summaries of the attributes of a catalog."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Maximum number of characters of an item id.
MAX_ID = 512


class Attribute(BaseModel):
    """Summary of one catalog attribute: the values to filter by.

    Attributes:
        kind: keyword (text), number or bool.
        values: the most frequent values with their number of items; empty for numbers.
        minimum, maximum: range of a number attribute; None for other kinds.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    values: list[tuple[str | bool, int]] = []
    minimum: float | None = None
    maximum: float | None = None
