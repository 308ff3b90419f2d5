"""Raw cells and typed columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cirray.data.catalog.entry import Value

# Cells that mean "no value" in a column of numbers.
_NO_VALUE = frozenset({"n/a", "na", "nan", "null", "none", "nil", "-", "--", "?", "tba", "tbd"})


@dataclass(slots=True)
class Column:
    """A typed column.

    Attributes:
        values: R values; None = absent.
        notes: detected formats and omitted values.
        currencies: R currency codes of a column of prices; () if it is none.
    """

    values: list[Value | None]
    notes: list[str] = field(default_factory=list)
    currencies: Sequence[str | None] = ()


def is_missing(cell: Any) -> bool:
    """Whether a raw cell holds nothing: null, an empty text or list, NaN or infinity."""
    if cell is None or cell == "" or cell == []:
        return True
    if isinstance(cell, str):
        return not cell.strip()
    return isinstance(cell, float) and not math.isfinite(cell)


def is_no_value(text: str) -> bool:
    """Whether a text means "no value" in a column of numbers, such as N/A."""
    return text.strip().lower() in _NO_VALUE
