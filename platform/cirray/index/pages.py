"""Complete pages of hits, for any number of equal scores.

Qdrant returns equal scores in no defined order, and cuts them off at any place. A page is therefore taken from the best
points of the whole list, without an offset, sorted by score and then by point id. If the last returned score equals the
last one of the page, the cut may have dropped points of the page: the request is repeated with a larger limit.

The graph of an approximate search may hide copies: once a point has as many links to copies of itself as it may have,
others get none. Where an approximate search shows many equal scores, or too few points, the next request is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

# Limits are FIRST x GROWTH^n, so that the pages of one list are mostly cut from the answer to the same request.
FIRST = 64
GROWTH = 2


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A point and its score; the best sorts first.

    Attributes:
        cost: the negative cosine similarity.
        point: the point id.
        group: points of one group share a place in the list, that of the best; by default the point is alone.
    """

    cost: float
    point: str
    group: str = ""


# (query features [N, d], limit, exact) -> the nearest points of each
Nearest = Callable[[np.ndarray, int, bool], Sequence[Iterable[Candidate]]]


def read_pages(
    nearest: Nearest, rows: np.ndarray, limit: int, offset: int, copies: int | None
) -> list[list[Candidate]]:
    """Returns the page of `limit` points at `offset` of each query's list, the best point of each group.

    Args:
        nearest: searches the index.
        rows: query features [N, d].
        limit, offset: of the page.
        copies: an approximate search may hide some of so many points with equal scores; None to search exactly.
    """
    pages: list[list[Candidate]] = [[] for _ in rows]
    end, exact, size = offset + limit, copies is None, FIRST
    while size <= end:
        size *= GROWTH
    pending = list(range(len(rows)))
    while pending:
        answers = [sorted(answer) for answer in nearest(rows[pending], size, exact)]
        small, doubtful = [], []
        for row, answer in zip(pending, answers, strict=True):
            best = _best_of_groups(answer)
            pages[row] = best[offset:end]
            if len(answer) >= size and len(best) < end:
                small.append(row)
            elif _is_cut(answer, best, end, size) or (
                copies is not None and not exact and _may_hide_points(answer, best, end, copies)
            ):
                doubtful.append(row)
        pending, exact, size = [*small, *doubtful], exact or bool(doubtful), size * GROWTH
    return pages


def _best_of_groups(answer: Sequence[Candidate]) -> list[Candidate]:
    """Returns the first point of each group of a sorted list."""
    best: dict[str, Candidate] = {}
    for candidate in answer:
        best.setdefault(candidate.group or candidate.point, candidate)
    return list(best.values())


def _is_cut(answer: Sequence[Candidate], best: Sequence[Candidate], end: int, size: int) -> bool:
    """Whether points that were cut off may belong before the page's end."""
    return len(answer) >= size and answer[-1].cost == best[end - 1].cost


def _may_hide_points(answer: Sequence[Candidate], best: Sequence[Candidate], end: int, copies: int) -> bool:
    """Whether an approximate search may lack points that belong before the page's end."""
    if len(best) < end:
        return True
    runs = groupby(candidate.cost for candidate in answer if candidate.cost <= best[end - 1].cost)
    return any(sum(1 for _ in run) >= copies for _, run in runs)
