"""The records of the exam's files: queries of one and of two references, and goals of several rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cirray.demo.attributes import CATEGORIES, differences
from cirray.demo.exam.changes import Change, is_hard_negative
from cirray.demo.exam.gallery import Gallery
from cirray.demo.exam.wordings import captions, corrections, two_reference_captions
from cirray.demo.pictures import random_stream

# In how many attributes start and target of rounds differ, and at least how many the two references.
_ROUNDS_CHANGES = (3, 4)
_BETWEEN_REFERENCES = 3


def queries(changes: Mapping[str, Change], gallery: Gallery, seed: int) -> Iterable[dict[str, Any]]:
    """Yields a record for each wording of each change.

    Args:
        changes: name of the query -> change.
        gallery: all items.
        seed: random seed of the wordings.
    """
    for query, change in changes.items():
        answers = _answers(change, gallery)
        for style, text in captions(change.source, change.target, random_stream(seed, query, "exam captions")):
            yield {
                "query": query,
                "reference": change.reference,
                "captions": [text],
                "target": answers["positives"][0],
                "aspects": [style],
                **answers,
            }


def two_references(changes: Mapping[str, Change], gallery: Gallery, seed: int) -> Iterable[dict[str, Any]]:
    """Yields the queries with one change once more: a second reference has the wanted value, and no text names it."""
    for query, change in changes.items():
        second = _second_reference(change, gallery, seed) if len(change.asked) == 1 else None
        if second is None:
            continue
        for first_text, second_text in two_reference_captions(change.asked[0]):
            yield {
                "query": f"two-{query}",
                "single": query,
                "references": [change.reference, second],
                "captions": [first_text, second_text],
                **_answers(change, gallery),
            }


def _second_reference(change: Change, gallery: Gallery, seed: int) -> str | None:
    """Returns an item of the catalog that has the wanted value and little else of the target; None if there is none."""
    (attribute,) = change.asked
    if attribute == "logo" and not change.target.logo:
        return None
    choices = [
        name
        for name, garment in gallery.catalog.items()
        if garment.category == change.target.category
        and getattr(garment, attribute) == getattr(change.target, attribute)
        and len(differences(change.source, garment)) >= _BETWEEN_REFERENCES
    ]
    rng = random_stream(seed, change.reference, attribute, "exam second reference")
    return choices[rng.integers(len(choices))] if choices else None


def rounds(gallery: Gallery, count: int, seed: int) -> Iterable[dict[str, Any]]:
    """Yields `count` goals per category; start and target are items of the catalog."""
    for category in CATEGORIES:
        members = [name for name, garment in gallery.catalog.items() if garment.category == category]
        rng = random_stream(seed, category, "exam rounds")
        pairs = [
            (start, target)
            for start in members
            for target in members
            if len(differences(gallery.catalog[start], gallery.catalog[target])) in _ROUNDS_CHANGES
        ]
        for number, pair in enumerate(rng.permutation(len(pairs))[:count]):
            start, target = pairs[pair]
            garment = gallery.catalog[target]
            yield {
                "query": f"rounds-{category}-{number:03d}",
                "start": start,
                "target": target,
                "positives": gallery.of(garment),
                "say": corrections(garment),
            }


def _answers(change: Change, gallery: Gallery) -> dict[str, Any]:
    """Returns the keys of a query that say which answers are right and which are wrong, and why."""
    return {
        "positives": gallery.of(change.target),
        "hard_negatives": [
            name
            for name, garment in gallery.garments.items()
            if name != change.reference and is_hard_negative(change, garment)
        ],
        "relation": "+".join(change.asked),
        "asked": {name: getattr(change.target, name) for name in change.asked},
        "kept": ["category", *change.kept],
    }
