"""Makes the triplets of both splits."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cirray.config.triplets import TripletSettings
from cirray.data.catalog import Entry
from cirray.data.made_triplets.attribute_pairs import AttributePairs
from cirray.data.made_triplets.captions import captions_of, shared_values
from cirray.data.made_triplets.draw import Drawn, PairSource, draw_pairs
from cirray.data.made_triplets.pair import TITLE, Pair
from cirray.data.made_triplets.title_pairs import TitlePairs
from cirray.data.made_triplets.title_words import MIN_TITLES, Phrase, useful_phrases
from cirray.data.made_triplets.usable import Usable, usable_attributes
from cirray.data.made_triplets.where import check_names, select_items
from cirray.errors import NoTripletsError

# How often a pair is drawn by attributes and by titles, if both have pairs. Attributes are stated by the shop; titles
# may also differ in words that say the same.
_ATTRIBUTE_WEIGHT, _TITLE_WEIGHT = 0.75, 0.25

Identical = Callable[[Entry, Entry], bool]


@dataclass(frozen=True, slots=True)
class MadeTriplets:
    """The triplets of a catalog.

    Attributes:
        splits: "train" and "val" -> pairs.
        captions: "train" and "val" -> the captions of each pair.
        attributes: the attributes that are used.
        left_out: attribute, or "title" -> why it is not used.
        identical: number of pairs that were left out because their pictures are nearly identical.
    """

    splits: Mapping[str, Sequence[Pair]]
    captions: Mapping[str, Sequence[list[str]]]
    attributes: Sequence[str]
    left_out: Mapping[str, str]
    identical: int

    def changes(self) -> dict[str, int]:
        """Returns attribute, or "title" -> number of train triplets in which it changes."""
        return dict(Counter(change.attribute for pair in self.splits["train"] for change in pair.changes))


def make_splits(
    entries: Sequence[Entry], settings: TripletSettings, seed: int, nearly_identical: Identical
) -> MadeTriplets:
    """Draws pairs and composes their captions; no product is in both splits.

    Args:
        entries: the items of the catalog.
        nearly_identical: whether the pictures of two items show no difference.

    Raises:
        ConfigError: `where` or `exclude` names an attribute or value that no item has.
        NoTripletsError: neither attributes nor titles can be used, or a split has no pair.
    """
    entries = select_items(entries, settings.where)
    check_names(entries, [name for name in settings.exclude if name != TITLE], "triplets.exclude")
    excluded = dict.fromkeys(settings.exclude, "excluded") | dict.fromkeys(settings.where, "used by triplets.where")
    usable = usable_attributes(entries, excluded)
    titles = [entry.title for entry in entries if entry.title]
    phrases = {} if TITLE in settings.exclude else useful_phrases(titles)
    reason = f"no words occur in {MIN_TITLES} different titles" if titles else "no item has one"
    left_out = {**usable.left_out, **({} if phrases else {TITLE: excluded.get(TITLE, reason)})}
    if not usable.names and not phrases:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise NoTripletsError(
            f"no triplets can be made: neither attributes nor titles of the catalog can be used{reasons}\n"
            f"give items two attributes that pictures show, such as category and colour, or titles"
        )
    wanted = {"train": settings.count, "val": max(1, round(settings.count * settings.val_share))}
    drawn: dict[str, Drawn] = {}
    for name, count in wanted.items():
        members = [entry for entry in entries if split_of(entry, settings.val_share) == name]
        drawn[name] = _drawn(members, usable, phrases, count, seed, nearly_identical)
        if not drawn[name].pairs:
            raise NoTripletsError(_no_pairs(name, len(members), usable, bool(phrases), drawn[name].identical))
    chance = random.Random(seed)
    shared = shared_values(entries, usable.names)
    with_titles = {name: name == "train" and TITLE not in settings.exclude for name in drawn}
    captions = {
        name: [captions_of(pair, chance, shared=shared, titles=with_titles[name]) for pair in found.pairs]
        for name, found in drawn.items()
    }
    pairs = {name: found.pairs for name, found in drawn.items()}
    return MadeTriplets(pairs, captions, usable.names, left_out, sum(found.identical for found in drawn.values()))


def split_of(entry: Entry, val_share: float) -> str:
    """Returns an item's split by a hash of its product, so that it stays when the catalog grows."""
    digest = hashlib.sha256((entry.group or entry.id).encode()).digest()
    return "val" if int.from_bytes(digest[:8]) < val_share * 2**64 else "train"


def _drawn(
    members: Sequence[Entry],
    usable: Usable,
    phrases: Mapping[Phrase, str],
    count: int,
    seed: int,
    nearly_identical: Identical,
) -> Drawn:
    sources: list[tuple[PairSource, float]] = [
        *([(AttributePairs(members, usable.names, seed), _ATTRIBUTE_WEIGHT)] if usable.names else []),
        *([(TitlePairs(members, phrases, seed), _TITLE_WEIGHT)] if phrases else []),
    ]
    return draw_pairs(sources, count, seed, nearly_identical)


def _no_pairs(split: str, items: int, usable: Usable, has_titles: bool, identical: int) -> str:
    """Returns the error message of a split without pairs."""
    by = [f"in one to three of {', '.join(usable.names)} and agree in as many others"] if usable.names else []
    by += ["in one to three adjacent words of their titles"] if has_titles else []
    pictures = f", except {identical} pairs with nearly identical pictures" if identical else ""
    return (
        f"no two of the {items} items of the {split} split differ {' or '.join(by)}{pictures}: give more items, "
        f"change the size of the val split (--triplets.val-share), or leave out attributes that differ nearly "
        f"everywhere (--exclude)"
    )
