"""Pairs of items that differ in one to three attributes and agree in at least as many.

Items with the same values of all attributes but those of a set D are one bucket. Two items of a bucket that differ in
every attribute of D are a pair for D.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cirray.console.bars import bar
from cirray.data.catalog import Entry
from cirray.data.made_triplets.pair import Change, Pair

# How often pairs with one, two and three differences are drawn.
SHARES = (0.5, 0.35, 0.15)
# Maximum number of sets of differing attributes of one size; with more, a random sample of them.
_MOST_SETS = 400
# Memory grows with sets x items: in large catalogs fewer sets are considered, but at least as many as attributes.
_MOST_CELLS = 2_000_000
# Numbers agree if they are in the same quantile range; this is the number of ranges.
_RANGES = 5
_TRIES = 20


@dataclass(slots=True)
class _Cells:
    """The pairs of one set of differing attributes: for each combination of target values, (item, its bucket)."""

    differing: tuple[str, ...]
    positions: tuple[int, ...]
    cells: list[list[tuple[int, list[int]]]]


class AttributePairs:
    """Draws pairs by attributes. Rare attributes and values appear as often as frequent ones."""

    def __init__(self, entries: Sequence[Entry], names: Sequence[str], seed: int) -> None:
        """Compares the items in the attributes `names`; `seed` is used if there are too many sets of attributes."""
        self._entries = entries
        self._keys = _comparable_values(entries, names)
        self._by_size = _cells_by_size(self._keys, names, random.Random(seed))

    @property
    def is_empty(self) -> bool:
        """Whether there is no pair."""
        return not any(self._by_size)

    def draw(self, chance: random.Random) -> Pair:
        """Draws a pair, with equal chances at each step: the attributes, the target's values, target, reference.

        The number of attributes is drawn first, by SHARES.
        """
        sizes = [size for size, sets in enumerate(self._by_size) if sets]
        (size,) = chance.choices(sizes, [SHARES[size] for size in sizes])
        cells = chance.choice(self._by_size[size])
        target, bucket = chance.choice(chance.choice(cells.cells))
        reference = self._draw_reference(target, bucket, cells.positions, chance)
        old, new = self._entries[reference], self._entries[target]
        changes = (Change(name, old.attributes[name], new.attributes[name]) for name in cells.differing)
        return Pair(old, new, tuple(changes))

    def _draw_reference(
        self, target: int, bucket: Sequence[int], positions: Sequence[int], chance: random.Random
    ) -> int:
        """Draws an item of a bucket that differs from the target at all positions; there is one at least."""

        def differs(item: int) -> bool:
            return all(self._keys[item][position] != self._keys[target][position] for position in positions)

        for _ in range(_TRIES):
            item = chance.choice(bucket)
            if differs(item):
                return item
        return chance.choice([item for item in bucket if differs(item)])


def _comparable_values(entries: Sequence[Entry], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Returns the attribute values of each item as hashable keys, with numbers as ranges; None = absent."""
    columns = [_comparable([entry.attributes.get(name) for entry in entries]) for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * len(entries)


def _comparable(values: Sequence[Any]) -> list[Any]:
    numbers = sorted(value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool))
    if not numbers:
        return [_key(value) for value in values]
    bounds = [numbers[len(numbers) * step // _RANGES] for step in range(1, _RANGES)]
    return [None if value is None else sum(value >= bound for bound in bounds) for value in values]


def _key(value: Any) -> Any:
    """Returns a hashable key: texts regardless of case, lists regardless of order."""
    if isinstance(value, list):
        return tuple(sorted({text.lower() for text in value}))
    return value.lower() if isinstance(value, str) else value


def _cells_by_size(keys: Sequence[tuple[Any, ...]], names: Sequence[str], chance: random.Random) -> list[list[_Cells]]:
    """Returns, for one to three differences, the sets of attributes in which pairs of items differ."""
    most = min(_MOST_SETS, max(len(names), _MOST_CELLS // max(len(keys), 1)))
    sizes = range(1, min(len(SHARES), len(names) - 1) + 1)
    sets = [list(combinations(range(len(names)), size)) for size in sizes]
    sets = [chance.sample(each, most) if len(each) > most else each for each in sets]
    found: list[list[_Cells]] = []
    with bar(sum(map(len, sets)), "comparing attributes", "combinations") as shown:
        for each in sets:
            found.append([])
            for positions in each:
                cells = _cells(keys, names, positions)
                found[-1] += [cells] if cells else []
                shown.update()
    return found


def _cells(keys: Sequence[tuple[Any, ...]], names: Sequence[str], positions: tuple[int, ...]) -> _Cells | None:
    cells: Mapping[tuple[Any, ...], list[tuple[int, list[int]]]] = defaultdict(list)
    for bucket in _buckets(keys, positions):
        values = {item: tuple(keys[item][position] for position in positions) for item in bucket}
        distinct = set(values.values())
        paired = {value for value in distinct if any(_all_differ(value, other) for other in distinct)}
        for item, value in values.items():
            if value in paired:
                cells[value].append((item, bucket))
    return _Cells(tuple(names[position] for position in positions), positions, list(cells.values())) if cells else None


def _all_differ(value: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(a != b for a, b in zip(value, other, strict=True))


def _buckets(keys: Sequence[tuple[Any, ...]], positions: tuple[int, ...]) -> Iterator[list[int]]:
    """Yields the items that have all attributes of a set, and that agree in at least as many others and in the rest."""
    buckets: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for item, key in enumerate(keys):
        if any(key[position] is None for position in positions):
            continue
        rest = tuple(value for position, value in enumerate(key) if position not in positions)
        if sum(value is not None for value in rest) >= len(positions):
            buckets[rest].append(item)
    yield from (bucket for bucket in buckets.values() if len(bucket) > 1)
