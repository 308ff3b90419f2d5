"""Pairs of items whose titles are equal but for one contiguous phrase of at most three words.

The phrase of either title may be empty: words are added or removed. Every phrase of every title is masked, also the
empty ones, and masked titles are compared by their hashes. Time and memory grow with the number of words of all
titles, not with the number of pairs of titles.
"""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from cirray.console.bars import bar
from cirray.data.catalog import Entry
from cirray.data.made_triplets.pair import TITLE, Change, Pair
from cirray.data.made_triplets.title_words import Phrase, Words, split_title

# A masked title that more phrases complete, such as "red ___", leaves open what the product is: its phrases name other
# products, not other looks of the same.
MOST_PHRASES = 12
# Bounds memory: after so many masked titles with a change, in random order, the others are left out.
_MOST_PLACES = 1_000_000


class TitlePairs:
    """Draws pairs by titles. Rare changes appear as often as frequent ones."""

    def __init__(self, entries: Sequence[Entry], useful: Mapping[Phrase, str], seed: int) -> None:
        """Compares the titles of the items.

        Args:
            useful: phrases that may be changed, added or removed -> how captions say them (`useful_phrases`).
            seed: used if there are too many changes.
        """
        self._entries = entries
        changes: dict[tuple[str, str], list[tuple[list[int], list[int]]]] = defaultdict(list)
        count = 0
        for place in _places([split_title(entry.title) for entry in entries], random.Random(seed)):
            for old, new in place.changes(useful):
                texts = useful.get(old, ""), useful.get(new, "")
                if texts[0] != texts[1]:
                    changes[texts].append((place.items[old], place.items[new]))
                    count += 1
            if count >= _MOST_PLACES:
                break
        self._changes = sorted(changes.items())

    @property
    def is_empty(self) -> bool:
        """Whether there is no pair."""
        return not self._changes

    def draw(self, chance: random.Random) -> Pair:
        """Draws a pair, with equal chances at each step: the change, the masked title, the reference, the target."""
        (old, new), places = chance.choice(self._changes)
        references, targets = chance.choice(places)
        reference, target = chance.choice(references), chance.choice(targets)
        return Pair(self._entries[reference], self._entries[target], (Change(TITLE, old, new),))


@dataclass(frozen=True, slots=True)
class _Place:
    """A masked title.

    Attributes:
        common: number of words beside the mask.
        following: the word after the mask; "" at the end.
        items: phrase in place of the mask -> the items that have it there.
    """

    common: int
    following: str
    items: Mapping[Phrase, list[int]]

    def changes(self, useful: Container[Phrase]) -> Iterator[tuple[Phrase, Phrase]]:
        """Yields the (old, new) useful or empty phrases that share no word at their ends.

        Phrases that do are compared in another place: two titles differ so in one place at most, after their longest
        common beginning. A phrase is not replaced by another if one of them has more words than are common.
        """
        for old, new in permutations([phrase for phrase in self.items if not phrase or phrase in useful], 2):
            first = [phrase[0] if phrase else self.following for phrase in (old, new)]
            too_long = old and new and max(len(old), len(new)) > self.common
            if first[0] != first[1] and not too_long and not (old and new and old[-1] == new[-1]):
                yield old, new


def _places(titles: Sequence[Words], chance: random.Random) -> Iterator[_Place]:
    """Yields the masked titles that two to MOST_PHRASES phrases complete, in random order."""
    keys, masks = _masks(titles)
    order = np.argsort(keys, kind="stable")
    bounds = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    groups = [(first, last) for first, last in pairwise(bounds) if last - first > 1]
    chance.shuffle(groups)
    for first, last in groups:
        items: dict[Phrase, list[int]] = defaultdict(list)
        for row, start, end in masks[order[first:last]].tolist():
            items[titles[row].words[start:end]].append(row)
        if 1 < len(items) <= MOST_PHRASES:
            words = titles[row].words
            yield _Place(len(words) - (end - start), next(iter(words[end : end + 1]), ""), items)


def _masks(titles: Sequence[Words]) -> tuple[np.ndarray, np.ndarray]:
    """Masks all phrases of all titles, but never a whole title.

    Returns:
        (keys, masks): int64 [M] hash of each masked title and the mask's position; int32 [M, 3] row of the title,
        start and end of the mask.
    """
    keys, masks = array("q"), array("i")
    numbers: dict[str, int] = {}  # unlike those of texts, hashes of integers are the same in every process
    shown = bar(len(titles), "comparing titles", "titles")
    for row, title in enumerate(titles):
        shown.update()
        words = tuple(numbers.setdefault(word, len(numbers)) for word in title.words)
        spans = [(start, start) for start in range(len(words) + 1)]
        spans += [(start, start + len(phrase)) for start, phrase in title.phrases()]
        for start, end in spans:
            if end - start < len(words):
                keys.append(hash((words[:start], words[end:])))
                masks.extend((row, start, end))
    shown.close()
    return np.frombuffer(keys, dtype=np.int64), np.frombuffer(masks, dtype=np.int32).reshape(-1, 3)
