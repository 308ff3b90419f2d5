"""Holds a part of the train triplets back, so that what is chosen is not chosen on what is reported.

Triplets that share images are near-copies of one question: they stay on one side. Triplets are held back by connected
components of the graph reference - target; where one component holds most of them (a catalogue whose triplets chain
through it all), by reference image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cirray.data.triplets import Dataset, Split, Triplet
from cirray.errors import ConfigError

SELECTION = "selection"
_GIANT = 0.5


def hold_back(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Returns the dataset with about `share` of its train triplets in a split of their own, "selection".

    The new split is ranked in the galleries of train. The same seed holds the same triplets back.

    Raises:
        ConfigError: one side would be empty.
    """
    train = dataset.splits["train"]
    groups = _groups(train.triplets)
    sizes = Counter(groups)
    order = np.random.default_rng([seed, 0x5E1EC7]).permutation(sorted(sizes))
    held: set[int] = set()
    count = 0
    for group in order.tolist():
        if count >= share * len(train.triplets):
            break
        held.add(group)
        count += sizes[group]
    parts: tuple[list[Triplet], list[Triplet]] = ([], [])
    for triplet, group in zip(train.triplets, groups, strict=True):
        parts[group in held].append(triplet)
    if not all(parts):
        raise ConfigError(
            f"data.holdout {share} leaves {len(parts[0])} triplets to train on and {len(parts[1])} to select on, of "
            f"{len(train.triplets)}: change it, or add triplets"
        )
    kept = Split(train.name, tuple(parts[0]), train.galleries)
    selection = Split(SELECTION, tuple(parts[1]), train.galleries)
    return replace(dataset, splits={**dataset.splits, "train": kept, SELECTION: selection})


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
