"""Draws different pairs from several sources, without those whose pictures show no difference."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cirray.data.catalog import Entry
from cirray.data.made_triplets.pair import Pair

# A source is exhausted after so many draws without a new pair, as a multiple of the wanted number of pairs.
_MISSES = 20
_LEAST_WANTED = 100


class PairSource(Protocol):
    """Draws pairs with its own balance; the same pair may be drawn again."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no pair."""

    def draw(self, chance: random.Random) -> Pair:
        """Draws a pair; not if the source is empty."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Different pairs, and how many others were left out because their pictures are nearly identical."""

    pairs: list[Pair]
    identical: int


def draw_pairs(
    sources: Sequence[tuple[PairSource, float]],
    count: int,
    seed: int,
    nearly_identical: Callable[[Entry, Entry], bool],
) -> Drawn:
    """Draws up to `count` different pairs.

    Args:
        sources: (source, weight): how often a pair is drawn from it, while it has new ones.
        nearly_identical: whether the pictures of two items show no difference.
    """
    chance = random.Random(seed)
    left = [(source, weight) for source, weight in sources if not source.is_empty]
    misses = {id(source): _MISSES * max(count, _LEAST_WANTED) for source, _ in left}
    pairs: dict[tuple[str, str], Pair] = {}
    identical: set[frozenset[str]] = set()
    while left and len(pairs) < count:
        ((source, _),) = chance.choices(left, [weight for _, weight in left])
        pair = source.draw(chance)
        ids = pair.reference.id, pair.target.id
        if ids not in pairs and frozenset(ids) not in identical:
            if not nearly_identical(pair.reference, pair.target):
                pairs[ids] = pair
                continue
            identical.add(frozenset(ids))
        misses[id(source)] -= 1
        left = [entry for entry in left if misses[id(entry[0])] > 0]
    return Drawn(list(pairs.values()), len(identical))
