"""The queries of an exam that a searcher got most wrong, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cirray.data.exam import Exam, Query
from cirray.evaluation.exam.measures import average_precision
from cirray.evaluation.exam.searcher import Searcher, ranks_of
from cirray.evaluation.figures import Example
from cirray.storage.tree import File

_ROWS, _RESULTS, _K = 8, 7, 10
_FIRST = "1: "


@dataclass(frozen=True, slots=True)
class Failure:
    """A query, its precision, and its row in the figure."""

    query: str
    caption: str
    precision: float
    example: Example

    def to_json(self) -> dict[str, Any]:
        """Returns what is wrong, for a report."""
        first = self.example.note.removeprefix(_FIRST)
        return {"query": self.query, "caption": self.caption, "AP@10": round(self.precision, 4), "first answer": first}


def find_failures(
    searcher: Searcher, exam: Exam, order: NDArray[np.int64], pictures: Mapping[str, File], count: int = _ROWS
) -> list[Failure]:
    """Returns the worst wordings by AP@10, at most one of each query and kind of change; fewer if all is right.

    Args:
        searcher: ranked the queries.
        exam: the exam.
        order: int64 [Q, I], the rankings of the queries with one reference, rows of the gallery.
        pictures: id -> picture.
        count: maximum number of failures.
    """
    positives = [[searcher.row[identifier] for identifier in query.positives] for query in exam.queries]
    precision = average_precision(ranks_of(order, positives), _K)
    found: list[Failure] = []
    seen: set[frozenset[str]] = set()
    for row in np.argsort(precision, kind="stable"):
        query = exam.queries[row]
        change = frozenset(query.asked)
        if len(found) == count or precision[row] == 1.0:
            break
        if change not in seen:
            seen.add(change)
            results = [searcher.ids[item] for item in order[row, :_RESULTS]]
            example = _example(query, results, exam, pictures)
            found.append(Failure(query.name, query.captions[0], float(precision[row]), example))
    return found


def what_is_wrong(query: Query, answer: Mapping[str, object]) -> str:
    """Returns in words what an answer lacks and loses, such as "lacks colour, loses sleeve"; "" if it is right."""
    lacks = [name for name, value in query.asked.items() if answer.get(name) != value]
    loses = [name for name, value in query.kept.items() if answer.get(name) != value]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("lacks", lacks), ("loses", loses)) if names]
    return ", ".join(parts)


def _example(query: Query, results: Sequence[str], exam: Exam, pictures: Mapping[str, File]) -> Example:
    right = [pictures[identifier] for identifier in query.positives]
    return Example(
        reference=pictures[query.references[0]],
        caption=query.captions[0],
        results=[pictures[identifier] for identifier in results],
        target=right[0],
        note=f"{_FIRST}{what_is_wrong(query, exam.items[results[0]]) or 'right'}",
        also_right=right[1:],
    )
