"""Chooses what the exam asks: changes of garments, and the garments that its gallery needs to be hard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from cirray.demo.attributes import ATTRIBUTES, Attribute, Category, Garment, can_have_logo, differences, variants

# How many of ten queries change one, two and three attributes.
_CHANGES = (1, 2, 1, 3, 1, 2, 1, 3, 1, 2)
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A reference item and the garment that it should become.

    Attributes:
        reference: id of the reference.
        source: its garment.
        target: the wanted garment.
        asked: the attributes to change, of which a caption names each; a logo that the target cannot have is not one.
    """

    reference: str
    source: Garment
    target: Garment

    @property
    def asked(self) -> tuple[Attribute, ...]:
        return differences(self.source, self.target)

    @property
    def kept(self) -> tuple[Attribute, ...]:
        """The attributes to keep; not the logo if the target cannot have one."""
        target = self.target
        may_have_logo = can_have_logo(target.category, target.neckline, target.pattern)
        return tuple(name for name in ATTRIBUTES if name not in self.asked and (name != "logo" or may_have_logo))


def draw_changes(
    items: Mapping[str, Garment], category: Category, count: int, trained: Set[Garment], rng: np.random.Generator
) -> list[Change]:
    """Draws changes of items of a category; no target is a garment of the train split.

    Args:
        items: id -> garment, the items to change.
        category: their category.
        count: number of changes.
        trained: the garments of the train split.
        rng: random generator.

    Raises:
        ValueError: there are no such changes.
    """
    members = [name for name, garment in items.items() if garment.category == category]
    order = rng.permutation(len(members))
    names = [name for name in ATTRIBUTES if name != "logo" or category != "dress"]
    found: list[Change] = []
    of_size: Counter[int] = Counter()
    for turn in range(_TRIES + count):
        if len(found) == count:
            return found
        reference = members[order[turn % len(members)]]
        size = _CHANGES[len(found) % len(_CHANGES)]
        # Each attribute in turn, and random ones with it.
        first = names[of_size[size] % len(names)]
        others = [names[i] for i in rng.permutation(len(names)) if names[i] != first]
        asked = [first, *others][:size]
        target = items[reference]
        for attribute in asked:
            choices = variants(target, attribute)
            target = choices[rng.integers(len(choices))] if choices else target
        change = Change(reference, items[reference], target)
        if set(change.asked) == set(asked) and target not in trained:
            found.append(change)
            of_size[size] += 1
    raise ValueError(f"found only {len(found)} of {count} changes of category {category}")


def needed(change: Change, right: int, trained: Set[Garment], rng: np.random.Generator) -> Counter[Garment]:
    """Returns garment -> the number of items of it that the gallery needs for a change: `right` right answers, a second
    item of the reference's garment, and the hard negatives."""
    found = Counter({change.target: right})
    found[change.source] = max(found[change.source], 2)
    for choices in (*_losing_one(change), *_lacking_one(change)):
        allowed = [garment for garment in choices if garment not in trained]
        if allowed:
            found[allowed[rng.integers(len(allowed))]] = 1
    return found


def is_hard_negative(change: Change, garment: Garment) -> bool:
    """Whether a garment has all that is asked and loses exactly one kept attribute, or keeps all and lacks at least
    one of the asked changes.

    A logo that the garment cannot have because of its other loss does not count as a second one.
    """
    if garment.category != change.target.category:
        return False
    wrong = set(differences(change.target, garment))
    lacks, loses = wrong & set(change.asked), wrong & set(change.kept)
    return (bool(lacks) and not loses) or (not lacks and len(loses) == 1)


def _losing_one(change: Change) -> Iterator[list[Garment]]:
    """Yields, for each kept attribute, the garments that differ from the target in it alone."""
    for attribute in change.kept:
        yield _only(change.target, attribute)


def _lacking_one(change: Change) -> Iterator[list[Garment]]:
    """Yields, for each asked attribute, the garments that differ from the target in it alone: with the reference's
    value if others are asked too; with a third value otherwise, because the other is the reference's own garment."""
    for attribute in change.asked:
        old = getattr(change.source, attribute)
        several = len(change.asked) > 1
        yield [
            garment for garment in _only(change.target, attribute) if (getattr(garment, attribute) == old) == several
        ]


def _only(target: Garment, attribute: Attribute) -> list[Garment]:
    return [garment for garment in variants(target, attribute) if differences(target, garment) == (attribute,)]
