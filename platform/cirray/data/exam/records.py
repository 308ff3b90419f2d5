"""The parts of an exam: queries, goals, and what is known about their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Query:
    """One wording of a query.

    Attributes:
        name: name of the query; its wordings share it.
        references: ids of one or two reference images.
        captions: one caption for each reference.
        positives: ids of all right answers.
        hard_negatives: ids of wrong answers that are easily taken for right ones.
        asked: attribute -> the value that an answer should have.
        kept: attribute -> the value of the (first) reference that an answer should have.
        aspects: labels of this wording, such as its style.
        single: for two references, the name of the query of one reference that has the same answers; for a negative
            query, the name of the query without what is not wanted; otherwise "".
    """

    name: str
    references: tuple[str, ...]
    captions: tuple[str, ...]
    positives: tuple[str, ...]
    hard_negatives: tuple[str, ...]
    asked: Mapping[str, Value]
    kept: Mapping[str, Value]
    aspects: tuple[str, ...] = ()
    single: str = ""


@dataclass(frozen=True, slots=True)
class Negative:
    """A query of one reference with something that an answer should not have.

    Attributes:
        query: the query; its answers are right only without the unwanted value.
        text: names what is not wanted, or
        id: id of an item that shows it; the other one is "".
        unwanted: attribute -> the value that an answer should not have.
    """

    query: Query
    text: str
    id: str
    unwanted: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a simulated user looks for in several rounds.

    Attributes:
        name: name of the goal.
        start: id of the image to start from.
        positives: ids of the items that the user would accept: the target, and all that have its attributes.
        say: attribute -> the caption that asks for the target's value; the user names attributes in this order.
        wanted: attribute -> the target's value.
    """

    name: str
    start: str
    positives: tuple[str, ...]
    say: Mapping[str, str]
    wanted: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Exam:
    """An exam.

    Attributes:
        manifest: the content of manifest.json.
        items: id -> attribute -> value.
        queries: queries of one reference.
        two_references: queries of two references.
        goals: goals of several rounds.
        negatives: queries with something that is not wanted.
    """

    manifest: Mapping[str, Any]
    items: Mapping[str, Mapping[str, Value]]
    queries: tuple[Query, ...]
    two_references: tuple[Query, ...]
    goals: tuple[Goal, ...]
    negatives: tuple[Negative, ...] = ()
