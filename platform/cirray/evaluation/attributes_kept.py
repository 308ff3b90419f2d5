"""Measures on catalogs with attributes: do answers have what was asked for, and keep what was not.

Shapes: Q queries, K ranked items of each, A attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Attributes = Mapping[str, object]

KS = (1, 10)
NOT_WANTED, ABSENT = -1, 0
_NO_ITEM_HAS_IT = -2


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """The attributes of a catalog as numbers.

    Attributes:
        rows: item id -> row.
        names: names of the attributes.
        numbers: (attribute, value) -> number, from 1.
        values: int64 [I, A], the number of each item's value; 0 if it has none.
    """

    rows: Mapping[str, int]
    names: tuple[str, ...]
    numbers: Mapping[tuple[str, object], int]
    values: NDArray[np.int64]

    @classmethod
    def of(cls, items: Mapping[str, Attributes]) -> AttributeTable:
        """Builds the table from id -> attribute -> value."""
        names = tuple(dict.fromkeys(name for attributes in items.values() for name in attributes))
        numbers: dict[tuple[str, object], int] = {}
        values = np.full((len(items), len(names)), ABSENT, dtype=np.int64)
        for row, attributes in enumerate(items.values()):
            for column, name in enumerate(names):
                if name in attributes:
                    key = (name, _hashable(attributes[name]))
                    values[row, column] = numbers.setdefault(key, len(numbers) + 1)
        return cls({identifier: row for row, identifier in enumerate(items)}, names, numbers, values)

    def wanted(self, wanted: Sequence[Attributes]) -> NDArray[np.int64]:
        """Returns the numbers of the values that each query wants, int64 [Q, A]; -1 for the other attributes.

        Raises:
            KeyError: no item has an attribute of that name.
        """
        column = {name: position for position, name in enumerate(self.names)}
        found = np.full((len(wanted), len(self.names)), NOT_WANTED, dtype=np.int64)
        for row, attributes in enumerate(wanted):
            for name, value in attributes.items():
                found[row, column[name]] = self.numbers.get((name, _hashable(value)), _NO_ITEM_HAS_IT)
        return found


def shares(
    values: NDArray[np.int64], ranked: NDArray[np.int64], wanted: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Returns, for each query, the share of the wanted values that its first k answers have, float64 [Q].

    The share is the mean over the answers and over the query's wanted values; NaN if it wants none or has no answers.

    Args:
        values: int64 [I, A], as in `AttributeTable`.
        ranked: int64 [Q, K], rows of the table, best first; -1 pads short lists.
        wanted: int64 [Q, A], the numbers of the wanted values; -1 for the other attributes.
        k: number of answers.
    """
    first = ranked[:, :k]
    is_answer = first >= 0
    has = (values[first] == wanted[:, None, :]) & is_answer[:, :, None]  # [Q, k, A]
    counted = is_answer.sum(axis=1) * (wanted != NOT_WANTED).sum(axis=1)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = has.sum(axis=(1, 2)) / counted
    return found


def attributes_kept(
    table: AttributeTable,
    ranked: NDArray[np.int64],
    asked: Sequence[Attributes],
    unasked: Sequence[Attributes],
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Returns asked-kept@K and unasked-kept@K in percent: means over the queries that ask, or keep, something.

    asked-kept@K is the share of asked values that the first K answers have; unasked-kept@K is the share of the
    reference's other values that they keep. An answer that equals the reference has 0 and 100, one that ignores it may
    have 100 and little.

    Args:
        table: the items.
        ranked: int64 [Q, K], rows of the table, best first; -1 pads short lists.
        asked: for each query attribute -> value that was asked for.
        unasked: for each query attribute -> value of the reference that should stay.
        ks: the K.
    """
    return percent_kept(table.values, ranked, table.wanted(asked), table.wanted(unasked), ks)


def percent_kept(
    values: NDArray[np.int64],
    ranked: NDArray[np.int64],
    asked: NDArray[np.int64],
    unasked: NDArray[np.int64],
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Returns the measures of `attributes_kept` for wanted values as numbers.

    Args:
        values, ranked: as in `shares`.
        asked, unasked: int64 [Q, A], the numbers of the wanted values; -1 for the other attributes.
        ks: the K.
    """
    found = {}
    for kind, wanted in (("asked", asked), ("unasked", unasked)):
        for k in ks:
            share = shares(values, ranked, wanted, k)
            known = share[~np.isnan(share)]
            if len(known):
                found[f"{kind}-kept@{k}"] = 100.0 * float(known.mean())
    return found


def unasked_of(reference: Attributes, asked: Attributes) -> dict[str, object]:
    """Returns the values of a reference that a change does not ask for."""
    return {name: value for name, value in reference.items() if name not in asked}


def rows_of(table: AttributeTable, ranked: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Returns lists of ids as rows of a table, int64 [Q, K], padded with -1."""
    found = np.full((len(ranked), max(map(len, ranked), default=0)), -1, dtype=np.int64)
    for row, ids in enumerate(ranked):
        found[row, : len(ids)] = [table.rows[identifier] for identifier in ids]
    return found


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
