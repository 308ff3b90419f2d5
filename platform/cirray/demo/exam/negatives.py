"""The records of negative queries: "like this, but in red, and not like that"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cirray.demo.attributes import ATTRIBUTES, Attribute, differences
from cirray.demo.exam.changes import Change
from cirray.demo.exam.gallery import Gallery
from cirray.demo.exam.wordings import captions, phrase, read_wordings
from cirray.demo.pictures import random_stream

# At least in how many attributes the target and an item that shows the unwanted value differ.
_BETWEEN = 3


@dataclass(frozen=True, slots=True)
class _Negative:
    """A change and the value that an answer should not have: that of the target, so the first answers have it.

    Attributes:
        answers: the keys of a record that say which answers are right.
        shown: id of an item that has the unwanted value and little else of the target.
    """

    change: Change
    unwanted: Attribute
    answers: Mapping[str, Any]
    shown: str


def negatives(changes: Mapping[str, Change], gallery: Gallery, seed: int) -> Iterable[dict[str, Any]]:
    """Yields two records for each wording of a change: one names the unwanted value, the other shows it with an item.

    Each attribute is unwanted about equally often. Changes for which no item is a right answer are left out.

    Args:
        changes: name of the query of one reference -> change.
        gallery: all items.
        seed: random seed of the wordings and of the items shown.
    """
    used: Counter[Attribute] = Counter()
    styles = list(read_wordings()["styles"].values())
    for query, change in changes.items():
        possible = list(_possible(change, gallery, seed))
        if not possible:
            continue
        chosen = min(possible, key=lambda negative: used[negative.unwanted])
        used[chosen.unwanted] += 1
        texts = captions(change.source, change.target, random_stream(seed, query, "exam captions"))
        for number, (_, caption) in enumerate(texts):
            text = phrase(styles[number % len(styles)], chosen.unwanted, change.target)
            for kind, unwanted in (("text", text), ("id", chosen.shown)):
                yield {
                    "query": f"not-{query}",
                    "single": query,
                    "reference": change.reference,
                    "captions": [caption],
                    "not": {kind: unwanted},
                    "aspects": [kind],
                    **chosen.answers,
                }


def _possible(change: Change, gallery: Gallery, seed: int) -> Iterator[_Negative]:
    """Yields the negative queries of a change that have right answers and an item to show."""
    for unwanted in change.kept:
        if unwanted == "logo" and not change.target.logo:
            continue
        answers = _answers(change, unwanted, gallery)
        choices = [
            name
            for name, garment in gallery.catalog.items()
            if garment.category == change.target.category
            and name != change.reference
            and getattr(garment, unwanted) == getattr(change.target, unwanted)
            and len(differences(change.target, garment)) >= _BETWEEN
        ]
        if answers["positives"] and choices:
            rng = random_stream(seed, change.reference, unwanted, "exam unwanted")
            yield _Negative(change, unwanted, answers, choices[rng.integers(len(choices))])


def _answers(change: Change, unwanted: Attribute, gallery: Gallery) -> dict[str, Any]:
    """Returns the keys of a record that say which answers are right, and why.

    A logo that another neckline or pattern may not have is not kept.
    """
    target = change.target
    lost = {unwanted, "logo"} if target.logo and unwanted in ("neckline", "pattern") else {unwanted}
    kept = ["category", *(name for name in ATTRIBUTES if name in change.kept and name not in lost)]
    asked = {name: getattr(target, name) for name in change.asked}
    wanted = {name: getattr(target, name) for name in (*kept, *change.asked)}
    value = getattr(target, unwanted)
    return {
        "positives": [
            name
            for name, garment in gallery.garments.items()
            if getattr(garment, unwanted) != value and all(getattr(garment, key) == wanted[key] for key in wanted)
        ],
        "unwanted": {unwanted: value},
        "asked": asked,
        "kept": kept,
    }
