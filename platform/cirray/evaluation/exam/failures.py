"""The queries of an exam that a searcher got most wrong, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cirray.data.exam import Exam, Query
from cirray.evaluation.exam.searcher import Searcher, ranks_of
from cirray.evaluation.figures import Example
from cirray.storage.tree import File

_ROWS, _RESULTS = 8, 6
_FIRST = "1: "


@dataclass(frozen=True, slots=True)
class Failure:
    """A query, the place of its first right answer from 1, and its row in the figure."""

    query: str
    caption: str
    place: int
    example: Example

    def to_json(self) -> dict[str, Any]:
        """Returns what is wrong, for a report."""
        first = self.example.note.removeprefix(_FIRST)
        return {"query": self.query, "caption": self.caption, "first right": self.place, "first answer": first}


def find_failures(
    searcher: Searcher, exam: Exam, order: NDArray[np.int64], pictures: Mapping[str, File], count: int = _ROWS
) -> list[Failure]:
    """Returns the wordings whose first right answer is ranked last; fewer if all other first answers are right.

    They are equally many of each aspect, and at most one of each kind of change.

    Args:
        searcher: ranked the queries.
        exam: the exam.
        order: int64 [Q, I], the rankings of the queries with one reference, rows of the gallery.
        pictures: id -> picture.
        count: maximum number of failures.
    """
    ranks = ranks_of(order, [[searcher.row[identifier] for identifier in query.positives] for query in exam.queries])
    first_right = np.where(ranks >= 0, ranks, order.shape[1]).min(axis=1)
    aspects = {query.aspects for query in exam.queries}
    left = dict.fromkeys(aspects, -(-count // len(aspects)))
    found: dict[frozenset[str], Failure] = {}
    for row in np.argsort(-first_right, kind="stable"):
        query, place = exam.queries[row], int(first_right[row])
        change = frozenset(query.asked)
        if place == 0 or len(found) == count:
            break
        if left[query.aspects] and change not in found:
            left[query.aspects] -= 1
            shown = [*range(min(_RESULTS, order.shape[1])), *([place] if place >= _RESULTS else [])]
            results = [searcher.ids[order[row, rank]] for rank in shown]
            example = _example(query, results, [rank + 1 for rank in shown], exam, pictures)
            found[change] = Failure(query.name, query.captions[0], place + 1, example)
    return list(found.values())


def what_is_wrong(query: Query, answer: Mapping[str, object]) -> str:
    """Returns in words what an answer lacks and loses, such as "lacks colour, loses sleeve"; "" if it is right."""
    lacks = [name for name, value in query.asked.items() if answer.get(name) != value]
    loses = [name for name, value in query.kept.items() if answer.get(name) != value]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("lacks", lacks), ("loses", loses)) if names]
    return ", ".join(parts)


def _example(
    query: Query, results: Sequence[str], places: Sequence[int], exam: Exam, pictures: Mapping[str, File]
) -> Example:
    """Returns the row of a figure. A right answer that follows the first results is shown too."""
    right = [pictures[identifier] for identifier in query.positives]
    return Example(
        reference=pictures[query.references[0]],
        caption=query.captions[0],
        results=[pictures[identifier] for identifier in results],
        target=right[0],
        note=f"{_FIRST}{what_is_wrong(query, exam.items[results[0]])}",
        also_right=right[1:],
        places=places,
    )
