"""Holds a part of the train triplets back, so that what is chosen is not chosen on what is reported.

Triplets that share images are near-copies of one question: they stay on one side. Triplets are held back by connected
components of the graph reference - target; where one component holds most of them (a catalog whose triplets chain
through it all), by reference image. Of each category the same share is held back: recall is averaged over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cirray.data.records import Dataset, Split, Triplet
from cirray.errors import ConfigError

SELECTION = "selection"
_GIANT = 0.5


def hold_back(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Returns the dataset with about `share` of each category's train triplets in a split of their own, "selection".

    The new split is ranked in the galleries of train. The same seed holds the same triplets back.

    Raises:
        ConfigError: a category would be empty on one side.
    """
    train = dataset.splits["train"]
    random = np.random.default_rng([seed, 0x5E1EC7])
    held: set[int] = set()
    for category in dict.fromkeys(triplet.category for triplet in train.triplets):
        held |= _draw(train.triplets, category, share, random)
    parts: tuple[list[Triplet], list[Triplet]] = ([], [])
    for row, triplet in enumerate(train.triplets):
        parts[row in held].append(triplet)
    kept = Split(train.name, tuple(parts[0]), train.galleries)
    selection = Split(SELECTION, tuple(parts[1]), train.galleries)
    return replace(dataset, splits={**dataset.splits, "train": kept, SELECTION: selection})


def _draw(triplets: Sequence[Triplet], category: str, share: float, random: np.random.Generator) -> set[int]:
    """Draws about `share` of a category's triplets; returns their rows."""
    rows = [row for row, triplet in enumerate(triplets) if triplet.category == category]
    groups = _groups([triplets[row] for row in rows])
    sizes = Counter(groups)
    drawn: set[int] = set()
    count = 0
    for group in random.permutation(sorted(sizes)).tolist():
        if count >= share * len(rows):
            break
        drawn.add(group)
        count += sizes[group]
    if not 0 < count < len(rows):
        raise ConfigError(
            f"data.holdout {share} leaves {len(rows) - count} triplets of category {category} to train on and {count} "
            f"to select on, of {len(rows)}: change it, or add triplets"
        )
    return {row for row, group in zip(rows, groups, strict=True) if group in drawn}


def _groups(triplets: Sequence[Triplet]) -> list[int]:
    """Returns a group number for each triplet."""
    parents: dict[str, str] = {}

    def root(image: str) -> str:
        parents.setdefault(image, image)
        while parents[image] != image:
            parents[image] = parents[parents[image]]
            image = parents[image]
        return image

    for triplet in triplets:
        if triplet.target is not None:
            parents[root(triplet.target)] = root(triplet.reference)
    names = [root(triplet.reference) for triplet in triplets]
    if max(Counter(names).values()) > _GIANT * len(triplets):
        names = [triplet.reference for triplet in triplets]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]
