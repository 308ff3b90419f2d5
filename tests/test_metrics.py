"""Recalls by the two datasets' protocols, against a query at a time in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from cirray.data.labels import QueryLabels
from cirray.data.records import Protocol, Selection
from cirray.data.table import TripletTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.metrics import (
    METRICS,
    NOT_MONOTONE,
    Metric,
    by_k,
    is_detail,
    kind_of,
    measure,
    part_of,
    ranks_behind,
    selection_value,
)
from cirray.evaluation.ranks import Ranks
from cirray.evaluation.retriever import AVERAGE, Evaluation, Ranking, Retriever, average, evaluate

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
    found = evaluate(CosineRetriever(table, images, queries), FASHIONIQ)
    assert [result.category for result in found] == ["dress", "shirt", "toptee", AVERAGE]
    for result in found[:-1]:
        members, gallery = table.categories[result.category]
        assert (result.queries, result.gallery) == (len(members), len(gallery))
        assert result.undecided == {}
        assert list(by_k(result.metrics, "R")) == ["1", "3", "10", "50"]
        assert by_k(result.metrics, "Rs") == {}
        for k in FASHIONIQ.ks:
            hits = [hit(queries[i], images, gallery.tolist(), int(table.target[i]), k) for i in members]
            assert result.metrics[f"R@{k}"] == pytest.approx(100 * fmean(hits))
    assert found[-1].queries == len(table)
    for k in FASHIONIQ.ks:
        assert found[-1].metrics[f"R@{k}"] == pytest.approx(fmean(result.metrics[f"R@{k}"] for result in found[:-1]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_cirr_removes_the_reference_and_ranks_in_the_image_set(seed: int) -> None:
    table, images, queries = cirr(seed)
    (found,) = evaluate(CosineRetriever(table, images, queries), CIRR)
    gallery = table.categories["all"][1].tolist()
    rest = [[row for row in gallery if row != int(reference)] for reference in table.reference]
    assert (found.category, found.queries, found.gallery) == ("all", len(table), 14)
    for k in CIRR.ks:
        hits = [hit(queries[i], images, rest[i], int(table.target[i]), k) for i in range(len(table))]
        assert found.metrics[f"R@{k}"] == pytest.approx(100 * fmean(hits))
    for k in CIRR.subset_ks:
        sets = [[row for row in gallery if row in table.subset[i].tolist()] for i in range(len(table))]
        hits = [hit(queries[i], images, sets[i], int(table.target[i]), k) for i in range(len(table))]
        assert found.metrics[f"Rs@{k}"] == pytest.approx(100 * fmean(hits))


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
    kept = evaluate(CosineRetriever(table, images, torch.ones(1, 1)), replace(CIRR, exclude_reference=False))
    assert kept[0].metrics["R@1"] == 0.0
    assert evaluate(CosineRetriever(table, images, torch.ones(1, 1)), CIRR)[0].metrics["R@1"] == 100.0


def test_secret_targets_are_refused() -> None:
    table, images, queries = cirr(0)
    table.target[3] = -1
    with pytest.raises(ValueError, match="no targets"):
        evaluate(CosineRetriever(table, images, queries), CIRR)


def test_a_split_without_queries_is_refused() -> None:
    table, images, queries = cirr(0)
    rows = torch.tensor([], dtype=torch.long)
    empty = replace(table, reference=rows, target=rows, categories={"all": (rows, table.gallery)})
    with pytest.raises(ValueError, match="no queries"):
        evaluate(CosineRetriever(empty, images, queries[:0]), CIRR)


def test_features_that_are_not_finite_are_refused() -> None:
    table, images, queries = cirr(0)
    queries[2, 0] = math.nan
    with pytest.raises(FloatingPointError):
        evaluate(CosineRetriever(table, images, queries), CIRR)


SEVEN = {"R@1": 10.0, "R@5": 20.0, "R@10": 40.0, "R@50": 80.0, "Rs@1": 16.0, "Rs@2": 32.0, "Rs@3": 64.0}
OF_SEVEN = replace(CIRR, ks=(1, 5, 10, 50))


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
    protocol = replace(OF_SEVEN, selection=cast(Selection, selection))
    assert selection_value(SEVEN, protocol) == pytest.approx(expected)
    assert selection_value({**SEVEN, "another": 99.0}, protocol) == pytest.approx(expected)


@pytest.mark.parametrize("selection", ["geometric", "harmonic"])
def test_a_recall_of_zero_selects_with_zero(selection: str) -> None:
    protocol = replace(OF_SEVEN, selection=cast(Selection, selection))
    assert selection_value({**SEVEN, "Rs@1": 0.0}, protocol) == 0.0


def test_the_average_over_categories_selects() -> None:
    """FashionIQ's number: (mean R@10 + mean R@50) / 2, each category counting the same whatever its size."""
    rows = [
        Evaluation("dress", 1000, 9, {"R@10": 10.0, "R@50": 20.0}, {}),
        Evaluation("shirt", 1, 9, {"R@10": 40.0, "R@50": 60.0}, {}),
    ]
    protocol = replace(FASHIONIQ, ks=(10, 50))
    assert selection_value(average(rows).metrics, protocol) == pytest.approx(((10 + 40) / 2 + (20 + 60) / 2) / 2)


@st.composite
def ranks_and_delays(draw: st.DrawFn) -> tuple[Ranks, Ranks]:
    """Ranks of everything that a dataset may know, and the same with some answers later. Ranks of a query differ."""
    rows = draw(st.lists(st.permutations(range(60)), min_size=1, max_size=6))
    first = np.array([row[:9] for row in rows], dtype=np.int64)
    first[:, 4] = np.where(first[:, 4] % 2, -1, first[:, 4])
    delays = np.array([draw(st.lists(st.booleans(), min_size=9, max_size=9)) for _ in rows])
    later = np.where(first < 0, -1, first + 60 * delays)
    labels = QueryLabels(np.zeros(len(rows), dtype=np.int64), {"negation": np.ones(len(rows), dtype=np.bool_)})
    earlier, delayed = (
        Ranks(each[:, 0], each[:, 1] // 12, each[:, [2, 3, 0, 4]], each[:, 5:], labels) for each in (first, later)
    )
    return earlier, delayed


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_metrics_keep_the_rules_that_everything_else_relies_on(metric: Metric, data: st.DataObject) -> None:
    """Monotone in the ranks, "...@K" of the first K places only, percent, names without spaces."""
    ranks, later = data.draw(ranks_and_delays())
    found, delayed = metric(ranks, CIRR), metric(later, CIRR)
    assert found.keys() == delayed.keys()
    for name, value in found.items():
        assert 0.0 <= value <= 100.0 + 1e-9 and " " not in name
        assert metric in NOT_MONOTONE or delayed[name] <= value + 1e-9
        if "@" in name:
            k = int(name.partition("@")[2])
            assert metric(beyond(ranks, k), CIRR)[name] == pytest.approx(value)
            assert ranks_behind(name, ranks).shape[0] == len(ranks.target)


def beyond(ranks: Ranks, k: int) -> Ranks:
    """Returns the ranks with those from k on moved further back."""

    def moved(each: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        return None if each is None else np.where(each < k, each, each + 1000)

    target = moved(ranks.target)
    assert target is not None
    return replace(
        ranks,
        target=target,
        subset=moved(ranks.subset),
        positives=moved(ranks.positives),
        hard_negatives=moved(ranks.hard_negatives),
    )


def test_all_metrics_are_measured_under_names_of_their_own() -> None:
    labels = QueryLabels(np.array([0, 1, 0]), {"negation": np.array([True, False, False])})
    known = np.array([[0, 3], [4, -1], [60, 61]])
    ranks = Ranks(np.array([0, 4, 60]), np.array([2, 0, 1]), known, known + 1, labels)
    each = [metric(ranks, CIRR) for metric in METRICS]
    assert all(each)
    assert measure(ranks, CIRR) == {name: value for found in each for name, value in found.items()}
    assert sum(len(found) for found in each) == len(measure(ranks, CIRR))
    assert by_k(measure(ranks, CIRR), "R") == pytest.approx({"1": 100 / 3, "2": 100 / 3, "5": 200 / 3, "10": 200 / 3})
    assert by_k(measure(ranks, CIRR), "Rs") == pytest.approx({"1": 100 / 3, "2": 200 / 3, "3": 100.0})
    assert set(by_k(measure(ranks, CIRR), "mAP")) == {"5", "10", "25", "50"}
    assert set(measure(Ranks(ranks.target), CIRR)) == {f"R@{k}" for k in CIRR.ks}


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("R@10", "R", ""),
        ("mAP[negation]@10", "mAP", "negation"),
        ("mAP[view-point]@10", "mAP", "view-point"),
        ("R-std@10", "R", ""),
        ("MRR", "MRR", ""),
    ],
)
def test_names_of_metrics(name: str, kind: str, part: str) -> None:
    assert (kind_of(name), part_of(name)) == (kind, part)
    assert is_detail(name) == ("[" in name or "-" in name)


# ---------------------------------------------------------------------------------------------------------------------
# any retriever


class Shortlist(Retriever):
    """A search service that returns its first five: 2 of 4 targets are among them; the first is found at once."""

    def categories(self) -> Sequence[str]:
        return ("shop",)

    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        best, worst = np.array([0, 3, 5, 5]), np.array([0, 3, 89, 89])
        return Ranking(90 - exclude_reference, Ranks(best), Ranks(worst))


@pytest.mark.parametrize("exclude", [False, True])
def test_a_cut_ranking_decides_what_it_can_and_bounds_the_rest(exclude: bool) -> None:
    protocol = Protocol("shop", exclude, ks=(1, 5, 10))
    (found,) = evaluate(Shortlist(), protocol)
    assert (found.category, found.queries, found.gallery) == ("shop", 4, 90 - exclude)
    assert by_k(found.metrics, "R") == {"1": 25.0, "5": 50.0}
    assert by_k(found.undecided, "R") == {"10": (50.0, 100.0)}


def test_an_average_is_undecided_where_a_category_is() -> None:
    rows = [
        Evaluation("a", 3, 5, {"R@1": 10.0, "R@5": 20.0, "other": 1.0}, {}),
        Evaluation("b", 4, 6, {"R@1": 30.0}, {"R@5": (40.0, 60.0)}),
    ]
    assert average(rows) == Evaluation(AVERAGE, 7, 11, {"R@1": 20.0}, {"R@5": (30.0, 40.0)})
