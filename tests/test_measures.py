"""Measures against simple reference code, and for known examples."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cirray.study.measures import alignment, effective_rank, separation, sparsity, spectrum, uniformity


def units(count: int, dim: int, seed: int) -> Tensor:
    rows = torch.randn(count, dim, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


counts, dims, seeds = st.integers(2, 9), st.integers(2, 6), st.integers(0, 10**6)


def test_rank_counts_directions_of_equal_weight() -> None:
    corners = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(spectrum(corners)) == pytest.approx(5.0)
    assert effective_rank(spectrum(corners[[0, 5]])) == pytest.approx(1.0)
    assert effective_rank(spectrum(torch.ones(4, 3))) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(counts, dims, seeds)
def test_rank_is_the_entropy_of_singular_values(count: int, dim: int, seed: int) -> None:
    rows = units(count, dim, seed)
    centred = rows - rows.mean(dim=0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt().tolist()
    shares = [value / sum(values) for value in values]
    entropy = -sum(share * math.log(share) for share in shares if share > 1e-12)
    assert spectrum(rows).tolist()[: len(shares)] == pytest.approx(shares[::-1][: len(spectrum(rows))], abs=1e-6)
    assert effective_rank(spectrum(rows)) == pytest.approx(math.exp(entropy), rel=1e-4)
    assert 1 - 1e-9 <= effective_rank(spectrum(rows)) <= min(count, dim) + 1e-9


@settings(max_examples=40, deadline=None, derandomize=True)
@given(counts, dims, seeds)
def test_uniformity_and_alignment_of_known_examples(count: int, dim: int, seed: int) -> None:
    rows, others = units(count, dim, seed), units(count, dim, seed + 1)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    kernel = [math.exp(-2 * float(((rows[i] - rows[j]) ** 2).sum())) for i, j in pairs]
    assert uniformity(rows) == pytest.approx(math.log(sum(kernel) / len(kernel)), rel=1e-6, abs=1e-9)
    distances = [float(((rows[i] - others[i]) ** 2).sum()) for i in range(count)]
    assert alignment(rows, others) == pytest.approx(sum(distances) / count)


def test_sparsity_at_its_ends() -> None:
    assert sparsity(torch.eye(4)) == pytest.approx(1.0)
    assert sparsity(torch.full((2, 9), -3.0)) == pytest.approx(0.0)
    some = torch.tensor([[1.0, -1.0, *[0.0] * 7]])
    assert sparsity(some) == pytest.approx((3 - math.sqrt(2)) / (3 - 1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(counts, dims, seeds)
def test_separation_counts_pairs(queries: int, others: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    positive = torch.randint(0, 4, (queries,), generator=random).float()
    negative = torch.randint(0, 4, (queries, others), generator=random).float()
    won = [
        1.0 if positive[i] > negative[i, j] else 0.5 if positive[i] == negative[i, j] else 0.0
        for i in range(queries)
        for j in range(others)
    ]
    assert separation(positive, negative) == pytest.approx(sum(won) / len(won))
