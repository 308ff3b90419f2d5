"""Reads a query's annotations beyond its target: right answers, hard negatives, aspects, paraphrases."""

from __future__ import annotations

import re
from collections.abc import Container

from cirray.data.parsing import Record

# Aspects are part of a metric's name, such as "mAP[negation]@10".
_ASPECT = re.compile(r"[^\s@\[\]]+")


def read_positives(
    record: Record, key: str, target: str | None, known: Container[str] | None, listed_in: str
) -> tuple[str, ...] | None:
    """Returns the right answers under an optional key, which contain the target; () without the key, None if invalid.

    `known` and `listed_in` are as in `Record.known_id`.
    """
    positives = record.known_ids(key, known, listed_in)
    if positives and target is not None and target not in positives:
        record.note(f"{key} must contain the target, {target!r}")
        return None
    return positives


def read_hard_negatives(
    record: Record, key: str, answers: Container[str | None], known: Container[str] | None, listed_in: str
) -> tuple[str, ...] | None:
    """Returns the hard negatives under an optional key; () without the key, None if invalid or if one is an answer."""
    negatives = record.known_ids(key, known, listed_in)
    right = [name for name in negatives or () if name in answers]
    for name in right:
        record.note(f"{key} must not contain {name!r}, which is a right answer")
    return None if right else negatives


def read_aspects(record: Record, key: str) -> tuple[str, ...] | None:
    """Returns the aspects under an optional key; () without the key or with an empty list, None if invalid."""
    aspects = () if record.value(key) in (None, []) else record.texts(key)
    wrong = [aspect for aspect in aspects or () if not _ASPECT.fullmatch(aspect)]
    for aspect in wrong:
        record.note(f"{key} must be names without spaces, @, [ and ], not {aspect!r}")
    return None if wrong or aspects is None else tuple(dict.fromkeys(aspects))


class Paraphrases:
    """Checks that the paraphrases of a query are about the same images."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[tuple[str | None, ...], str]] = {}

    def read(self, record: Record, key: str, images: tuple[str | None, ...] | None) -> str | None:
        """Returns the query's name under an optional key; "" without the key, None if invalid.

        Args:
            images: reference and target of the record; None if they are invalid.
        """
        query = record.id(key) if record.has(key) else ""
        if not query or images is None:
            return query
        first, where = self._first.setdefault(query, (images, record.where))
        if images == first:
            return query
        record.note(f"{key} {query!r} has another reference or target at {where}: paraphrases share both")
        return None
