"""Metrics over all known answers of a query, against plain Python: mAP, hard negatives, aspects, paraphrases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.labels import QueryLabels
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import TripletTable, build_table
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.list_scores import score_lists
from cirray.evaluation.ranked_lists import RankedLists
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.retriever import AVERAGE, evaluate

KEPT = Protocol("triplets", exclude_reference=False, ks=(1, 10), precision_ks=(1, 3, 10))
REMOVED = replace(KEPT, exclude_reference=True)
ASPECTS = ("negation", "addition", "view-point")


@dataclass
class System:
    """Queries with everything that can be annotated, and the features that rank them."""

    triplets: tuple[Triplet, ...]
    gallery: tuple[str, ...]
    images: torch.Tensor
    queries: torch.Tensor

    def table(self) -> TripletTable:
        images = {name: Path(name) for name in self.gallery}
        split = Split("val", self.triplets, {triplet.category: self.gallery for triplet in self.triplets})
        return build_table(Dataset("x", images, {}, {}, {"val": split}, KEPT), "val")

    def rankings(self, exclude_reference: bool) -> list[list[str]]:
        """Every query's whole ranking; equal scores keep the gallery's order."""
        rankings = []
        for triplet, query in zip(self.triplets, self.queries.tolist(), strict=True):
            scores = [sum(a * b for a, b in zip(query, image, strict=True)) for image in self.images.tolist()]
            order = sorted(range(len(self.gallery)), key=lambda row: (-scores[row], row))
            names = [self.gallery[row] for row in order]
            rankings.append([name for name in names if not (exclude_reference and name == triplet.reference)])
        return rankings

    def measured(self, protocol: Protocol) -> dict[str, float]:
        (found,) = evaluate(CosineRetriever(self.table(), self.images, self.queries), protocol)
        assert found.undecided == {}
        return found.metrics


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Coarse whole numbers as features, so that scores tie; some queries lack each kind of annotation."""
    gallery = tuple(f"i{number}" for number in range(draw(st.integers(6, 25))))
    triplets = []
    for _ in range(draw(st.integers(1, 7))):
        reference, *others = draw(st.permutations(gallery))
        right, wrong = draw(st.integers(0, 4)), draw(st.integers(0, 3))
        positives, rest = others[:right], others[right:]
        negatives = [*rest[:wrong], *([reference] if draw(st.booleans()) else [])]
        aspects = tuple(draw(st.sets(st.sampled_from(ASPECTS))))
        target = positives[-1] if positives else rest[-1]
        negatives = [name for name in negatives if name != target]
        query = draw(st.sampled_from(["", "q1", "q2", "q3"]))
        known = (tuple(positives), tuple(negatives), aspects, query)
        triplets.append(Triplet(reference, ("x",), target, "all", "", (), "", *known))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    images, queries = (
        torch.randint(-2, 3, (count, 3), generator=random).float() for count in (len(gallery), len(triplets))
    )
    return System(tuple(triplets), gallery, images, queries)


def precision(names: list[str], triplet: Triplet, k: int) -> float:
    """AP@K of one ranking, position by position."""
    right = set(triplet.positives or [triplet.target])
    total = 0.0
    for position in range(1, min(k, len(names)) + 1):
        if names[position - 1] in right:
            total += len(right & set(names[:position])) / position
    return total / min(len(right), k)


def expected(triplets: tuple[Triplet, ...], rankings: list[list[str]], exclude_reference: bool) -> dict[str, float]:
    """All metrics beyond recall, in percent."""
    pairs = list(zip(triplets, rankings, strict=True))
    values: dict[str, float] = {}
    several = any(triplet.positives for triplet in triplets)
    if several:
        values |= {f"mAP@{k}": fmean(precision(names, t, k) for t, names in pairs) for k in KEPT.precision_ks}
    wrong = {
        row: {name for name in t.hard_negatives if not (exclude_reference and name == t.reference)}
        for row, t in enumerate(triplets)
    }
    with_wrong = [row for row in wrong if wrong[row]]
    if with_wrong:
        firsts = {k: [wrong[row] & set(rankings[row][:k]) for row in with_wrong] for k in (1, 5, 10)}
        values |= {f"HN@{k}": fmean(bool(found) for found in first) for k, first in firsts.items()}
        sizes = [len(wrong[row]) for row in with_wrong]
        values["HNR@10"] = fmean(len(found) / size for found, size in zip(firsts[10], sizes, strict=True))
    for aspect in ASPECTS:
        having = [precision(names, t, 10) for t, names in pairs if aspect in t.aspects]
        values |= {f"mAP[{aspect}]@10": fmean(having)} if having else {}
    groups = [
        [(t, names) for t, names in pairs if t.query == query] for query in {t.query for t in triplets if t.query}
    ]
    groups = [group for group in groups if len(group) > 1]
    if groups:
        spreads = {"R": [[float(t.target in names[:10]) for t, names in group] for group in groups]}
        if several:
            spreads["mAP"] = [[precision(names, t, 10) for t, names in group] for group in groups]
        for kind, of_query in spreads.items():
            values[f"{kind}-spread@10"] = fmean(max(each) - min(each) for each in of_query)
            values[f"{kind}-std@10"] = fmean(pstdev(each) for each in of_query)
    return {name: 100.0 * value for name, value in values.items()}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(systems(), st.booleans())
def test_all_metrics_are_those_of_plain_python(system: System, exclude: bool) -> None:
    found = system.measured(REMOVED if exclude else KEPT)
    beyond = {name: value for name, value in found.items() if not name.startswith("R@")}
    assert beyond == pytest.approx(expected(system.triplets, system.rankings(exclude), exclude), abs=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(systems())
def test_each_category_has_its_own_queries(system: System) -> None:
    system.triplets = tuple(replace(t, category=("dress", "shirt")[row % 2]) for row, t in enumerate(system.triplets))
    rankings = system.rankings(False)
    for result in evaluate(CosineRetriever(system.table(), system.images, system.queries), KEPT):
        rows = [row for row, triplet in enumerate(system.triplets) if triplet.category == result.category]
        beyond = {name: value for name, value in result.metrics.items() if not name.startswith("R@")}
        if result.category != AVERAGE:
            triplets = tuple(system.triplets[row] for row in rows)
            found = expected(triplets, [rankings[row] for row in rows], False)
            if any(t.positives for t in system.triplets) and not any(t.positives for t in triplets):
                beyond = {name: value for name, value in beyond.items() if name in found}  # mAP of the targets alone
            assert beyond == pytest.approx(found, abs=1e-9)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(systems(), st.booleans(), st.integers(0, 25))
def test_truncated_lists_give_the_value_or_bounds_of_it(system: System, exclude: bool, cut: int) -> None:
    """Whatever is cut off the lists, a metric has the value of the whole ranking or the tightest bounds of it."""
    full = system.rankings(exclude)
    short = [names[:cut] for names in full]
    pairs = Pairs("triplets", KEPT, {str(row): triplet for row, triplet in enumerate(system.triplets)})
    lists = Rankings({str(row): tuple(names) for row, names in enumerate(short)}, "recall")
    (found,) = evaluate(RankedLists(pairs, lists), REMOVED if exclude else KEPT)
    true = expected(system.triplets, full, exclude)
    assert {*found.metrics, *found.undecided} == {*true, "R@1", "R@10"}

    def followed_by(answers: list[tuple[str, ...]]) -> dict[str, float]:
        """The metrics if the answers that are missing in the lists follow at once, and no other ones ever."""
        rest = [[name for name in each if name not in names] for each, names in zip(answers, short, strict=True)]
        return expected(system.triplets, [a + b for a, b in zip(short, rest, strict=True)], exclude)

    lowest = followed_by([()] * len(short))
    highest = followed_by([t.answers for t in system.triplets])
    highest |= {
        name: value
        for name, value in followed_by([t.hard_negatives for t in system.triplets]).items()
        if name.startswith("HN")
    }
    for name, value in true.items():
        low, high = found.undecided.get(name) or (found.metrics[name],) * 2
        assert low - 1e-9 <= value <= high + 1e-9
        if "-" not in name.replace("view-point", ""):
            assert (low, high) == pytest.approx((lowest[name], highest[name]))
        assert name in found.metrics or cut < int(name.partition("@")[2])
    if cut == 25:
        assert found.undecided == {}
    undecidable = score_lists(pairs, lists, keep_reference=not exclude).undecidable
    assert undecidable.keys() == found.undecided.keys()


def test_a_worked_example() -> None:
    """Right answers at positions 1, 3 and 11: AP@10 = (1/1 + 2/3) / 3; the hard negative is at position 2."""
    names = ["a", "n", "b", *(f"x{number}" for number in range(7)), "c"]
    triplet = Triplet("r", ("x",), "b", positives=("b", "a", "c"), hard_negatives=("n", "y"), aspects=("negation",))
    pairs = Pairs("triplets", KEPT, {"0": triplet})
    (found,) = evaluate(RankedLists(pairs, Rankings({"0": tuple(names)}, "recall")), KEPT)
    assert found.metrics["mAP@10"] == found.metrics["mAP[negation]@10"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    assert found.metrics["mAP@1"] == 100.0
    assert (found.metrics["R@1"], found.metrics["R@10"]) == (0.0, 100.0)
    assert (found.metrics["HN@1"], found.metrics["HN@5"], found.metrics["HNR@10"]) == (0.0, 100.0, 50.0)


def test_paraphrases_of_one_query() -> None:
    """Two wordings find the target and one does not; a query with one wording does not count."""
    wordings = [Triplet("r", (text,), "t", query="q") for text in "abc"] + [Triplet("r", ("d",), "t")]
    pairs = Pairs("triplets", KEPT, {str(row): triplet for row, triplet in enumerate(wordings)})
    misses = tuple(f"m{number}" for number in range(10))
    lists = {"0": ("t",), "1": misses, "2": ("t",), "3": misses}
    (found,) = evaluate(RankedLists(pairs, Rankings(lists, "recall")), KEPT)
    assert found.metrics["R-spread@10"] == 100.0
    assert found.metrics["R-std@10"] == pytest.approx(100 * pstdev([1, 0, 1]))
    assert "mAP-spread@10" not in found.metrics


def test_datasets_without_annotations_have_recalls_only() -> None:
    triplets = (Triplet("i0", ("x",), "i1"), Triplet("i1", ("x",), "i2"))
    system = System(triplets, ("i0", "i1", "i2"), torch.eye(3), torch.eye(3)[:2])
    table = system.table()
    assert (table.positives, table.hard_negatives, table.labels) == (None, None, QueryLabels())
    assert set(system.measured(KEPT)) == {"R@1", "R@10"}
