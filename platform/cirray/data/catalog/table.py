"""A catalog file as columns of raw cells, whatever its file type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Table:
    """Rows of a catalog file, column by column. R rows.

    Attributes:
        columns: column name -> R cells; None = empty.
        places: where each row is, "file:line" or "file row i" [R].
        from_text: cells are text whose type is still to be found (CSV); else they have the types of the file.
        notes: how the file was read.
    """

    columns: dict[str, list[Any]]
    places: list[str]
    from_text: bool = False
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (place, column -> cell) of each row."""
        names = list(self.columns)
        for place, cells in zip(self.places, zip(*self.columns.values(), strict=True), strict=True):
            yield place, dict(zip(names, cells, strict=True))


def table_of(rows: list[tuple[str, dict[str, Any]]]) -> Table:
    """Makes a table of rows that need not have the same keys."""
    names = dict.fromkeys(name for _, row in rows for name in row)
    columns = {name: [row.get(name) for _, row in rows] for name in names}
    return Table(columns, [place for place, _ in rows])
