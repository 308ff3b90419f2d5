"""Recalls by the two datasets' protocols, against a query at a time in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cirray.data.records import Protocol, Selection
from cirray.data.table import TripletTable
from cirray.evaluation.metrics import AVERAGE, Recall, average, evaluate, selection_value

FASHIONIQ = Protocol("fashioniq", exclude_reference=False, ks=(1, 3, 10, 50), selection="mean-r10-r50")
CIRR = Protocol("cirr", exclude_reference=True, ks=(1, 2, 5, 10), subset_ks=(1, 2, 3), selection="headline")


def random_rows(count: int, among: list[int], random: torch.Generator) -> list[int]:
    return [among[int(i)] for i in torch.randint(len(among), (count,), generator=random)]


def features(count: int, random: torch.Generator) -> Tensor:
    """Coarse numbers: scores tie often, and are exact."""
    return torch.randint(-2, 3, (count, 3), generator=random).float()


def fashioniq(seed: int) -> tuple[TripletTable, Tensor, Tensor]:
    """Three categories with galleries that overlap, listed in an order of their own, and mixed triplets."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(20, generator=random).tolist()
    galleries = {"dress": order[:9], "shirt": order[6:15], "toptee": order[13:]}
    counts = {"dress": 7, "shirt": 2, "toptee": 5}
    rows = [(name, *random_rows(2, galleries[name], random)) for name, count in counts.items() for _ in range(count)]
    rows = [rows[i] for i in torch.randperm(len(rows), generator=random)]
    categories = {
        name: (torch.tensor([i for i, row in enumerate(rows) if row[0] == name]), torch.tensor(gallery))
        for name, gallery in galleries.items()
    }
    table = TripletTable(
        reference=torch.tensor([row[1] for row in rows]),
        target=torch.tensor([row[2] for row in rows]),
        captions=("x",),
        variants=((0,),) * len(rows),
        query=torch.zeros(len(rows), dtype=torch.long),
        categories=categories,
        subset=torch.zeros(len(rows), 0, dtype=torch.long),
        gallery=torch.tensor(sorted(set(order))),
    )
    return table, features(20, random), features(len(rows), random)


def cirr(seed: int, triplets: int = 8) -> tuple[TripletTable, Tensor, Tensor]:
    """One gallery that leaves images out; image sets of six with the target among the other five, one set shorter."""
    random = torch.Generator().manual_seed(seed)
    gallery = torch.randperm(18, generator=random)[:14].tolist()
    rows = [[gallery[i] for i in torch.randperm(14, generator=random)[:6]] for _ in range(triplets)]
    subset = [[*row[1:5], -1] if i == 1 else row[1:] for i, row in enumerate(rows)]
    table = TripletTable(
        reference=torch.tensor([row[0] for row in rows]),
        target=torch.tensor([row[2] for row in rows]),
        captions=("x",),
        variants=((0,),) * triplets,
        query=torch.zeros(triplets, dtype=torch.long),
        categories={"all": (torch.arange(triplets), torch.tensor(gallery))},
        subset=torch.tensor(subset),
        gallery=torch.tensor(gallery),
    )
    return table, features(18, random), features(triplets, random)


def hit(query: Tensor, images: Tensor, among: list[int], target: int, k: int) -> bool:
    """Whether the target is among the first k of `among`; equal scores keep their order."""
    scores = [(-float(sum(query * images[row])), place, row) for place, row in enumerate(among)]
    return target in [row for _, _, row in sorted(scores)[:k]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_fashioniq_keeps_the_reference_and_averages_over_categories(seed: int) -> None:
    table, images, queries = fashioniq(seed)
    found = evaluate(table, FASHIONIQ, images, queries)
    assert [result.category for result in found] == ["dress", "shirt", "toptee", AVERAGE]
    for result in found[:-1]:
        members, gallery = table.categories[result.category]
        assert (result.queries, result.gallery) == (len(members), len(gallery))
        assert result.subset == {}
        assert list(result.recall) == [1, 3, 10, 50]
        for k, value in result.recall.items():
            hits = [hit(queries[i], images, gallery.tolist(), int(table.target[i]), k) for i in members]
            assert value == pytest.approx(100 * fmean(hits))
    assert found[-1].queries == len(table)
    for k in FASHIONIQ.ks:
        assert found[-1].recall[k] == pytest.approx(fmean(result.recall[k] for result in found[:-1]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_cirr_removes_the_reference_and_ranks_in_the_image_set(seed: int) -> None:
    table, images, queries = cirr(seed)
    (found,) = evaluate(table, CIRR, images, queries)
    gallery = table.categories["all"][1].tolist()
    rest = [[row for row in gallery if row != int(reference)] for reference in table.reference]
    assert (found.category, found.queries, found.gallery) == ("all", len(table), 14)
    for k in CIRR.ks:
        hits = [hit(queries[i], images, rest[i], int(table.target[i]), k) for i in range(len(table))]
        assert found.recall[k] == pytest.approx(100 * fmean(hits))
    for k in CIRR.subset_ks:
        sets = [[row for row in gallery if row in table.subset[i].tolist()] for i in range(len(table))]
        hits = [hit(queries[i], images, sets[i], int(table.target[i]), k) for i in range(len(table))]
        assert found.subset[k] == pytest.approx(100 * fmean(hits))


def test_removing_the_reference_matters() -> None:
    """The reference scores best: FashionIQ counts it before the target, CIRR does not."""
    images = torch.tensor([[3.0], [2.0], [1.0]])
    table, _, _ = cirr(0)
    table = replace(
        table,
        reference=torch.tensor([0]),
        target=torch.tensor([1]),
        categories={"all": (torch.tensor([0]), torch.arange(3))},
        subset=torch.tensor([[1, 2]]),
    )
    kept = evaluate(table, replace(CIRR, exclude_reference=False), images, torch.ones(1, 1))
    assert kept[0].recall[1] == 0.0
    assert evaluate(table, CIRR, images, torch.ones(1, 1))[0].recall[1] == 100.0


def test_secret_targets_are_refused() -> None:
    table, images, queries = cirr(0)
    table.target[3] = -1
    with pytest.raises(ValueError, match="secret"):
        evaluate(table, CIRR, images, queries)


def test_a_split_without_queries_is_refused() -> None:
    table, images, queries = cirr(0)
    rows = torch.tensor([], dtype=torch.long)
    empty = replace(table, reference=rows, target=rows, categories={"all": (rows, table.gallery)})
    with pytest.raises(ValueError, match="no queries"):
        evaluate(empty, CIRR, images, queries[:0])


def test_features_that_are_not_finite_are_refused() -> None:
    table, images, queries = cirr(0)
    queries[2, 0] = math.nan
    with pytest.raises(FloatingPointError):
        evaluate(table, CIRR, images, queries)


SEVEN = Recall("all", 8, 9, {1: 10.0, 5: 20.0, 10: 40.0, 50: 80.0}, {1: 16.0, 2: 32.0, 3: 64.0})


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("headline", (20.0 + 16.0) / 2),
        ("mean-r10-r50", (40.0 + 80.0) / 2),
        ("arithmetic", (10 + 20 + 40 + 80 + 16 + 32 + 64) / 7),
        ("mean-all", (10 + 20 + 40 + 80 + 16 + 32 + 64) / 7),
        ("harmonic", 7 / (1 / 10 + 1 / 20 + 1 / 40 + 1 / 80 + 1 / 16 + 1 / 32 + 1 / 64)),
        ("geometric", (10.0 * 20 * 40 * 80 * 16 * 32 * 64) ** (1 / 7)),
    ],
)
def test_selection_value(selection: str, expected: float) -> None:
    protocol = replace(CIRR, selection=cast(Selection, selection))
    assert selection_value([SEVEN], protocol) == pytest.approx(expected)


@pytest.mark.parametrize("selection", ["geometric", "harmonic"])
def test_a_recall_of_zero_selects_with_zero(selection: str) -> None:
    protocol = replace(CIRR, selection=cast(Selection, selection))
    assert selection_value([replace(SEVEN, subset={1: 0.0, 2: 32.0, 3: 64.0})], protocol) == 0.0


def test_the_average_over_categories_selects() -> None:
    """FashionIQ's number: (mean R@10 + mean R@50) / 2, each category counting the same whatever its size."""
    rows = [
        Recall("dress", 1000, 9, {10: 10.0, 50: 20.0}, {}),
        Recall("shirt", 1, 9, {10: 40.0, 50: 60.0}, {}),
    ]
    assert selection_value([*rows, average(rows)], FASHIONIQ) == pytest.approx(((10 + 40) / 2 + (20 + 60) / 2) / 2)
