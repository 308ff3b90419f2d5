"""Selection split: train triplets held out for model selection, so that val is only reported.

Triplets that share images are near-duplicates and stay in the same split: whole connected components of the
reference-target graph are held out, or whole reference images if one component holds more than half of a category. The
same fraction of each category is held out, as recall is averaged over categories.
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
    """Moves about `share` of each category's train triplets to a new split "selection".

    The new split is ranked among the galleries of train. The draw depends on the seed alone.

    Raises:
        ConfigError: a category would have no triplets in one of the two splits.
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
    """Draws whole groups up to about `share` of a category's triplets; returns their rows."""
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
            f"data.holdout {share} leaves {len(rows) - count} training and {count} selection triplets of the "
            f"{len(rows)} of category {category}: change it, or add triplets"
        )
    return {row for row, group in zip(rows, groups, strict=True) if group in drawn}


def _groups(triplets: Sequence[Triplet]) -> list[int]:
    """Returns the group number of each triplet: its connected component, or its reference image."""
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
