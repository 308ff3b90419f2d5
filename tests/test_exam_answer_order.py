"""The measures of an exam: equal to slow, obvious code for any ranks."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.evaluation.average_precision import average_precision
from cirray.evaluation.exam.answer_order import hard_negatives_above
from cirray.evaluation.exam.searcher import ranks_of

Lists = list[tuple[list[int], list[int]]]
GALLERY = 12


@st.composite
def known(draw: st.DrawFn) -> Lists:
    """Ranks of right answers, at least one, and of hard negatives of some queries; the first query has both."""
    found: Lists = []
    for number in range(draw(st.integers(1, 5))):
        order = draw(st.permutations(range(GALLERY)))
        right = draw(st.integers(1, 5))
        found.append((list(order[:right]), list(order[right : right + draw(st.integers(not number, 5))])))
    return found


def padded(lists: list[list[int]]) -> np.ndarray:
    width = max(map(len, lists)) + 1
    return np.array([[*ranks, *[-1] * (width - len(ranks))] for ranks in lists], dtype=np.int64)


def slow_precision(right: list[int], k: int) -> float:
    total, hits = 0.0, 0
    for position in range(1, k + 1):
        if position - 1 in right:
            hits += 1
            total += hits / position
    return total / min(len(right), k)


@settings(deadline=None)
@given(known(), st.integers(1, 14))
def test_measures_equal_slow_code(lists: Lists, k: int) -> None:
    positives, negatives = padded([right for right, _ in lists]), padded([wrong for _, wrong in lists])
    assert average_precision(positives, k).tolist() == pytest.approx([slow_precision(right, k) for right, _ in lists])
    counted = [(right, wrong) for right, wrong in lists if wrong]
    above = fmean(
        100.0 * sum(bad < good for good in right for bad in wrong) / (len(right) * len(wrong))
        for right, wrong in counted
    )
    assert hard_negatives_above(positives, negatives) == pytest.approx(above)


def test_ranks_are_positions_in_the_order() -> None:
    order = np.array([[2, 0, 1], [1, 2, 0]])
    assert ranks_of(order, [[0, 1], [0]]).tolist() == [[1, 2], [2, -1]]
