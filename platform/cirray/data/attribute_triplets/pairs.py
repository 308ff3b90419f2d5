"""Pairs of items that agree on most attributes and differ in one to three, balanced over attributes and values.

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

from cirray.data.catalog import Entry

# How often pairs with one, two and three differences are drawn.
SHARES = (0.5, 0.35, 0.15)
# Maximum number of sets of differing attributes to consider; with more, a random sample of them.
_MOST_SETS = 400
# Numbers agree if they are in the same quantile range; this is the number of ranges.
_RANGES = 5
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and a target, and the attributes that differ."""

    reference: Entry
    target: Entry
    differing: tuple[str, ...]


def draw_pairs(entries: Sequence[Entry], names: Sequence[str], count: int, seed: int) -> list[Pair]:
    """Draws up to `count` different pairs.

    A pair's number of differences, then the differing attributes, then the target's values, then the target, then the
    reference are each drawn with equal chances, so that rare values appear as often as frequent ones.
    """
    chance = random.Random(seed)
    keys = _keys(entries, names)
    by_size = _buckets_by_size(keys, names, chance)
    drawn: dict[tuple[int, int], Pair] = {}
    misses = 0
    while len(drawn) < count and misses < _TRIES * max(count, 100) and any(by_size):
        reference, target, differing = _draw(by_size, keys, chance)
        if (reference, target) in drawn:
            misses += 1
        drawn[reference, target] = Pair(entries[reference], entries[target], differing)
    return list(drawn.values())


@dataclass(slots=True)
class _Cells:
    """The pairs of one set of differing attributes: target values -> (item, its bucket)."""

    differing: tuple[str, ...]
    positions: tuple[int, ...]
    cells: list[list[tuple[int, list[int]]]]


def _draw(
    by_size: Sequence[list[_Cells]], keys: Sequence[tuple[Any, ...]], chance: random.Random
) -> tuple[int, int, tuple[str, ...]]:
    sizes = [size for size, sets in enumerate(by_size) if sets]
    (size,) = chance.choices(sizes, [SHARES[size] for size in sizes])
    cells = chance.choice(by_size[size])
    target, bucket = chance.choice(chance.choice(cells.cells))
    return _reference(target, bucket, cells.positions, keys, chance), target, cells.differing


def _reference(
    target: int,
    bucket: Sequence[int],
    positions: Sequence[int],
    keys: Sequence[tuple[Any, ...]],
    chance: random.Random,
) -> int:
    """Draws an item of a bucket that differs from the target at all positions; each cell has one at least."""

    def differs(item: int) -> bool:
        return all(keys[item][position] != keys[target][position] for position in positions)

    for _ in range(_TRIES):
        item = chance.choice(bucket)
        if differs(item):
            return item
    return chance.choice([item for item in bucket if differs(item)])


def _keys(entries: Sequence[Entry], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Returns what is compared of each item: its values, numbers as the range that they are in; None = absent."""
    columns = [_comparable([entry.attributes.get(name) for entry in entries]) for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * len(entries)


def _comparable(values: Sequence[Any]) -> list[Any]:
    numbers = sorted(value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool))
    if not numbers:
        return [tuple(sorted(value)) if isinstance(value, list) else value for value in values]
    bounds = [numbers[len(numbers) * step // _RANGES] for step in range(1, _RANGES)]
    return [None if value is None else sum(value >= bound for bound in bounds) for value in values]


def _buckets_by_size(
    keys: Sequence[tuple[Any, ...]], names: Sequence[str], chance: random.Random
) -> list[list[_Cells]]:
    """Returns, for one to three differences, the sets of attributes in which pairs of items differ."""
    found: list[list[_Cells]] = []
    for size in range(1, len(SHARES) + 1):
        sets = list(combinations(range(len(names)), size))
        if len(sets) > _MOST_SETS:
            sets = chance.sample(sets, _MOST_SETS)
        cells = (_cells(keys, names, positions) for positions in sets)
        found.append([each for each in cells if each is not None])
    return found


def _cells(keys: Sequence[tuple[Any, ...]], names: Sequence[str], positions: tuple[int, ...]) -> _Cells | None:
    cells: Mapping[tuple[Any, ...], list[tuple[int, list[int]]]] = defaultdict(list)
    for bucket in _buckets(keys, positions):
        values = {item: tuple(keys[item][position] for position in positions) for item in bucket}
        for item, value in values.items():
            if any(all(a != b for a, b in zip(value, other, strict=True)) for other in set(values.values())):
                cells[value].append((item, bucket))
    return _Cells(tuple(names[position] for position in positions), positions, list(cells.values())) if cells else None


def _buckets(keys: Sequence[tuple[Any, ...]], positions: tuple[int, ...]) -> Iterator[list[int]]:
    """Yields the items that agree in all but some attributes, which all of them have."""
    buckets: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for item, key in enumerate(keys):
        if all(key[position] is not None for position in positions):
            buckets[tuple(value for position, value in enumerate(key) if position not in positions)].append(item)
    yield from (bucket for bucket in buckets.values() if len(bucket) > 1)
