"""Ranks and best results against full sorts, on features that tie often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cirray.evaluation.ranking import answer_ranks, order_subset, subset_ranks, target_ranks, top_k


@dataclass
class Case:
    query: Tensor
    gallery: Tensor
    target: Tensor
    exclude: Tensor


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small whole numbers as features, so that scores are exact and tie often; references may be the target itself."""
    queries, images, dim = draw(st.integers(1, 7)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return Case(
        torch.randint(-2, 3, (queries, dim), generator=random).float(),
        torch.randint(-2, 3, (images, dim), generator=random).float(),
        torch.randint(0, images, (queries,), generator=random),
        torch.randint(-1, images, (queries,), generator=random),
    )


def ranking(query: Tensor, gallery: Tensor, rows: list[int]) -> list[int]:
    """Sorts gallery rows by score, best first; equal scores by row."""
    scores = {row: sum(a * b for a, b in zip(query.tolist(), gallery[row].tolist(), strict=True)) for row in rows}
    return sorted(rows, key=lambda row: (-scores[row], row))


def allowed(case: Case, number: int, exclude: bool) -> list[int]:
    """Returns the gallery without the excluded row, which stays if it is the target."""
    hidden = int(case.exclude[number]) if exclude else -1
    return [row for row in range(len(case.gallery)) if row != hidden or row == int(case.target[number])]


many = settings(max_examples=150, deadline=None, derandomize=True)


@many
@given(cases(), st.booleans(), st.integers(1, 9))
def test_target_ranks_are_those_of_a_full_sort(case: Case, exclude: bool, chunk: int) -> None:
    exclude_rows = case.exclude if exclude else None
    found = target_ranks(case.query, case.gallery, case.target, exclude_rows, chunk * len(case.gallery))
    expected = [
        ranking(case.query[i], case.gallery, allowed(case, i, exclude)).index(int(case.target[i]))
        for i in range(len(case.query))
    ]
    assert found.dtype == torch.int64
    assert found.tolist() == expected


@many
@given(cases(), st.booleans(), st.integers(1, 9), st.integers(0, 4), st.integers(0, 10**6))
def test_answer_ranks_are_those_of_a_full_sort(case: Case, exclude: bool, chunk: int, width: int, seed: int) -> None:
    """Every answer is ranked on its own; padding, at any place, has rank -1."""
    random = torch.Generator().manual_seed(seed)
    answers = torch.randint(-1, len(case.gallery), (len(case.query), width), generator=random)
    exclude_rows = case.exclude if exclude else None
    found = answer_ranks(case.query, case.gallery, answers, exclude_rows, chunk * len(case.gallery))
    assert found.shape == answers.shape
    for number, rows in enumerate(answers.tolist()):
        hidden = int(case.exclude[number]) if exclude else -1
        for row, rank in zip(rows, found[number].tolist(), strict=True):
            rest = [other for other in range(len(case.gallery)) if other != hidden or other == row]
            assert rank == (ranking(case.query[number], case.gallery, rest).index(row) if row >= 0 else -1)


@many
@given(cases(), st.booleans(), st.integers(1, 15), st.integers(1, 9))
def test_top_k_is_that_of_a_full_sort(case: Case, exclude: bool, k: int, chunk: int) -> None:
    images = len(case.gallery)
    scores, rows = top_k(case.query, case.gallery, k, case.exclude if exclude else None, chunk * images)
    assert rows.dtype == torch.int64
    assert rows.shape == scores.shape == (len(case.query), min(k, images))
    for i in range(len(case.query)):
        hidden = int(case.exclude[i]) if exclude else -1
        order = ranking(case.query[i], case.gallery, [row for row in range(images) if row != hidden])
        order += [hidden] if hidden >= 0 else []
        assert rows[i].tolist() == order[:k]
        own = [float(case.query[i] @ case.gallery[row]) if row != hidden else float("-inf") for row in order[:k]]
        assert scores[i].tolist() == own


@many
@given(cases(), st.integers(1, 6), st.integers(0, 10**6))
def test_subset_ranks_are_those_of_a_full_sort(case: Case, width: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    subset = torch.randint(-1, len(case.gallery), (len(case.query), width), generator=random)
    for i in range(len(case.query)):  # no row twice, as in an image set
        for place in range(width):
            if int(subset[i, place]) in subset[i, :place].tolist():
                subset[i, place] = -1
    found = subset_ranks(case.query, case.gallery, case.target, subset)
    ordered = order_subset(case.query, case.gallery, subset)
    for i in range(len(case.query)):
        members = [row for row in subset[i].tolist() if row >= 0]
        padding = [-1] * (width - len(members))
        assert ordered[i].tolist() == ranking(case.query[i], case.gallery, members) + padding
        target = int(case.target[i])
        rows = sorted({row for row in subset[i].tolist() if row >= 0} | {target})
        assert int(found[i]) == ranking(case.query[i], case.gallery, rows).index(target)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@many
@given(cases(), st.integers(1, 9))
def test_half_precision_ranks_alike(dtype: torch.dtype, case: Case, chunk: int) -> None:
    query, gallery = case.query.to(dtype), case.gallery.to(dtype)
    expected = target_ranks(case.query, case.gallery, case.target, case.exclude)
    at_once = chunk * len(gallery)
    assert target_ranks(query, gallery, case.target, case.exclude, at_once).tolist() == expected.tolist()
    rows = top_k(case.query, case.gallery, 5, case.exclude)[1]
    assert top_k(query, gallery, 5, case.exclude, at_once)[1].tolist() == rows.tolist()
    subset = torch.arange(len(gallery)).repeat(len(query), 1)
    own = subset_ranks(case.query, case.gallery, case.target, subset)
    assert subset_ranks(query, gallery, case.target, subset).tolist() == own.tolist()


@pytest.mark.parametrize("dim", [16, 128, 640])
def test_copies_of_the_target_in_its_subset_tie(dim: int) -> None:
    random = torch.Generator().manual_seed(dim)
    gallery = torch.nn.functional.normalize(torch.randn(10, dim, generator=random), dim=1)
    query = torch.nn.functional.normalize(torch.randn(100, dim, generator=random), dim=1)
    gallery[7] = gallery[3]
    subset = torch.tensor([[7, 3]]).repeat(100, 1)
    assert subset_ranks(query, gallery, torch.full((100,), 3), subset).tolist() == [0] * 100
    assert subset_ranks(query, gallery, torch.full((100,), 7), subset).tolist() == [1] * 100


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple) else (found,):
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return found


@pytest.mark.parametrize("at_once", [1, 400, 1000, 2599, 10**6])
def test_memory_is_bounded_by_scores_and_the_results_do_not_depend_on_it(at_once: int) -> None:
    """Queries times gallery: a chunk is one query at least, and 2 of 400 images with 1,000 scores at once."""
    random = torch.Generator().manual_seed(0)
    gallery = torch.nn.functional.normalize(torch.randn(400, 2, generator=random), dim=1)
    query = torch.nn.functional.normalize(torch.randn(50, 2, generator=random), dim=1)
    target, exclude = torch.arange(50), torch.arange(50, 100)
    with LargestTensor() as largest:
        ranks = target_ranks(query, gallery, target, exclude, at_once)
        scores, rows = top_k(query, gallery, 10, exclude, at_once)
    assert largest.elements == max(gallery.numel(), min(50, max(1, at_once // 400)) * 400)
    assert ranks.tolist() == target_ranks(query, gallery, target, exclude).tolist()
    expected = top_k(query, gallery, 10, exclude)
    assert rows.tolist() == expected[1].tolist()
    torch.testing.assert_close(scores, expected[0], atol=1e-6, rtol=0)


def test_no_queries() -> None:
    gallery, none = torch.ones(3, 2), torch.zeros(0, dtype=torch.long)
    assert target_ranks(torch.zeros(0, 2), gallery, none).shape == (0,)
    scores, rows = top_k(torch.zeros(0, 2), gallery, 2)
    assert scores.shape == rows.shape == (0, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["query", "gallery"])
def test_features_that_are_not_finite_are_refused(bad: float, which: str) -> None:
    parts = {"query": torch.ones(2, 3), "gallery": torch.ones(4, 3)}
    parts[which][1, 1] = bad
    target = torch.tensor([0, 1])
    with pytest.raises(FloatingPointError, match=which):
        target_ranks(parts["query"], parts["gallery"], target)
    with pytest.raises(FloatingPointError, match=which):
        subset_ranks(parts["query"], parts["gallery"], target, torch.tensor([[1], [0]]))
