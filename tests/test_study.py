"""The study against simple reference code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cirray.config.training import CombiningSettings
from cirray.data.records import Dataset, Protocol, Split, Triplet
from cirray.data.table import TripletTable, build_table
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import evaluate
from cirray.study.failures import examples, failures
from cirray.study.findings import Finding, agreement, measure, most_discriminative_k
from cirray.study.groups import LENGTHS, lengths, recall_by_group, relations
from cirray.study.plots import claim_plot
from cirray.study.report import claim
from cirray.study.scores import ranks, score, similarities
from cirray.study.variants import Variant, stages_of_bundle
from tests.support.bundles import write_bundle

seeds = st.integers(0, 10**6)


def dataset(seed: int) -> Dataset:
    """Two categories with galleries of different sizes that overlap."""
    random = torch.Generator().manual_seed(seed)
    names = [f"p{number}" for number in range(14)]
    galleries = {"dress": tuple(names[:9]), "shirt": tuple(names[6:])}
    triplets = []
    for category, gallery in galleries.items():
        for number in range(6):
            one, two = (gallery[int(i)] for i in torch.randperm(len(gallery), generator=random)[:2])
            relation = "colour" if number % 2 else ""
            triplets.append(Triplet(one, ("is " * (1 + 3 * number),), two, category, relation=relation))
    return Dataset(
        name="test",
        images={name: Path(f"{name}.png") for name in names},
        contents={name: name for name in names},
        titles={},
        splits={"val": Split("val", tuple(triplets), galleries)},
        protocol=Protocol("test", exclude_reference=False, ks=(1, 2, 5)),
    )


def variant(data: Dataset, table: TripletTable, seed: int, name: str = "Sum") -> Variant:
    random = torch.Generator().manual_seed(seed)
    gallery = torch.nn.functional.normalize(torch.randn(14, 4, generator=random), dim=1)
    query = torch.nn.functional.normalize(torch.randn(len(table), 4, generator=random), dim=1)
    return Variant(name, gallery, query, None, evaluate(CosineRetriever(table, gallery, query), data.protocol))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds)
def test_similarities_are_with_the_target_and_with_the_rest_of_the_gallery(seed: int) -> None:
    data = dataset(seed)
    table = build_table(data, "val")
    found = variant(data, table, seed)
    positive, negative = similarities(found, table)
    assert negative.shape == (12, 7)  # the smaller gallery has eight images, one of them the target
    for row, triplet in enumerate(data.splits["val"].triplets):
        gallery = data.splits["val"].galleries[triplet.category]
        cosines = {name: float(found.query[row] @ found.gallery[int(name[1:])]) for name in gallery}
        assert float(positive[row]) == pytest.approx(cosines[triplet.target or ""], abs=1e-6)
        others = [value for name, value in cosines.items() if name != triplet.target]
        for value in negative[row].tolist():
            assert min(abs(value - other) for other in others) < 1e-6
        if len(others) == 7:
            assert sorted(negative[row].tolist()) == pytest.approx(sorted(others), abs=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, st.booleans())
def test_ranks_give_the_recall_that_evaluation_gives(seed: int, exclude: bool) -> None:
    data = dataset(seed)
    table = build_table(data, "val")
    found = variant(data, table, seed)
    protocol = Protocol("test", exclude_reference=exclude, ks=(1, 2, 5))
    rank = ranks(found, table, exclude)
    by_category = recall_by_group(rank, [triplet.category for triplet in data.splits["val"].triplets], 2)
    expected = evaluate(CosineRetriever(table, found.gallery, found.query), protocol)
    assert {name: value for name, (_, value) in by_category.items()} == pytest.approx(
        {one.category: one.metrics["R@2"] for one in expected[:-1]}
    )
    assert {count for count, _ in by_category.values()} == {6}


def test_groups_of_queries() -> None:
    data = dataset(0)
    table = build_table(data, "val")
    assert relations(data.splits["val"])[:4] == ["dress", "colour", "dress", "colour"]
    one, four, seven, ten, thirteen, sixteen = lengths(table)[:6]
    assert [one, four, seven] == ["1 to 3 words", "4 to 6 words", "7 to 9 words"]
    assert [ten, thirteen, sixteen] == ["10 to 14 words", "10 to 14 words", "15 words or more"]
    by_length = recall_by_group(torch.arange(12), lengths(table)[::-1], 3, LENGTHS)
    assert list(by_length) == ["1 to 3 words", "4 to 6 words", "7 to 9 words", "10 to 14 words", "15 words or more"]
    assert by_length["15 words or more"] == (2, 50.0)


def test_failures_take_the_worst_of_each_group_in_turn() -> None:
    rank, names = torch.tensor([5, 0, 9, 7, 1, 0]), ["a", "a", "a", "b", "b", "b"]
    groups = recall_by_group(rank, names, 1)
    assert groups == {"a": (3, pytest.approx(100 / 3)), "b": (3, pytest.approx(100 / 3))}
    assert failures(rank, names, 3) == [2, 3, 0]
    assert failures(rank, names, 9) == [2, 3, 0, 4], "a target in the first place is no failure"


@pytest.mark.parametrize("removed", [False, True])
def test_an_example_shows_the_best_of_its_own_gallery(removed: bool) -> None:
    data = dataset(1)
    data = replace(data, protocol=replace(data.protocol, exclude_reference=removed))
    table = build_table(data, "val")
    found = variant(data, table, 1)
    place = ranks(found, table, removed)
    for row, example in zip(range(12), examples(range(12), place, found, data, table, "val"), strict=True):
        triplet = data.splits["val"].triplets[row]
        hidden = triplet.reference if removed else ""
        names = [name for name in data.splits["val"].galleries[triplet.category] if name != hidden]
        names.sort(key=lambda name: -float(found.query[row] @ found.gallery[int(name[1:])]))
        assert example.results == [Path(f"{name}.png") for name in names[:6]]
        assert example.reference == Path(f"{triplet.reference}.png") and example.target == Path(f"{triplet.target}.png")
        assert example.caption == triplet.captions[0]
        assert example.note == f"target: rank {names.index(triplet.target or '') + 1}"


def finding(name: str, **numbers: Any) -> Finding:
    data = dataset(0)
    table = build_table(data, "val")
    one = variant(data, table, 0, name)
    return replace(measure(one, score(one, table, False), table), **numbers)


def test_agreement_counts_pairs_and_leaves_single_parts_out() -> None:
    found = [
        finding("text only", rank=99.0, metrics={"R@1": 0.0, "R@10": 99.0, "other": 0.0 + 0.0}),
        finding("Combiner", rank=4.0, uniformity=-2.5, metrics={"R@1": 40.0, "R@10": 99.5, "other": 40.0 + 40.0}),
        finding("Sum", rank=3.0, uniformity=-1.0, metrics={"R@1": 10.0, "R@10": 99.0, "other": 10.0 + 10.0}),
        finding("FT Sum", rank=5.0, uniformity=-2.0, metrics={"R@1": 20.0, "R@10": 99.5, "other": 20.0 + 20.0}),
    ]
    assert most_discriminative_k(found) == 1
    agreed = agreement(found, 1)
    assert agreed["rank"] == (2, 3)
    assert agreed["uniformity"] == (3, 3)
    assert agreed["alignment"] == (0, 0), "equal ones say nothing"
    assert claim(agreed, 1).endswith("the claim holds here.")
    turned = {**agreed, "rank": (0, 3), "uniformity": (1, 3)}
    assert claim(turned, 1).endswith("the claim does not hold here.")
    assert "by one measure" in claim({**agreed, "rank": (1, 3)}, 1)


def test_numbers_of_a_variant_whose_queries_are_their_targets() -> None:
    data = dataset(3)
    table = build_table(data, "val")
    gallery = variant(data, table, 3).gallery
    query: Tensor = gallery[table.target]
    share = torch.linspace(0, 1, len(table))
    perfect = Variant(
        "Combiner", gallery, query, share, evaluate(CosineRetriever(table, gallery, query), data.protocol)
    )
    found = measure(perfect, score(perfect, table, False), table)
    assert (found.positive, found.separation) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found.alignment == pytest.approx(0.0, abs=1e-12)
    assert found.metrics["R@1"] == 100.0
    assert found.share == pytest.approx(0.5)
    assert found.share_deviation == pytest.approx(np.std(np.linspace(0, 1, len(table))))
    assert 1 < found.rank <= 4


def test_recall_of_a_variant_is_the_average_of_categories() -> None:
    data = dataset(0)
    table = build_table(data, "val")
    one = variant(data, table, 0)
    dress, shirt, _ = one.found
    assert dress.metrics != shirt.metrics
    measured = measure(one, score(one, table, False), table)
    names = {k: f"R@{k}" for k in (1, 2, 5)}
    expected = {name: (dress.metrics[name] + shirt.metrics[name]) / 2 for name in names.values()}
    assert {name: measured.metrics[name] for name in expected} == pytest.approx(expected)
    assert measured.to_json()["recall"] == pytest.approx({str(k): expected[name] for k, name in names.items()})


def test_a_combining_function_goes_by_its_own_name(tmp_path: Path) -> None:
    for function, expected in {"gated": "FT Gated", "combiner": "FT Combiner", "sum": "FT Sum"}.items():
        settings_ = CombiningSettings(function=function, projection=4, hidden=8)
        (stage,) = stages_of_bundle(write_bundle(tmp_path / function, settings=settings_))
        assert list(stage.functions) == list(dict.fromkeys(["image only", "text only", "FT Sum", expected]))
        assert type(stage.functions[expected]).__name__ == expected.removeprefix("FT ")


def test_pictures_take_any_combining_function() -> None:
    found = [finding(name) for name in ("image only", "text only", "Sum", "Gated", "FT Sum", "FT Gated")]
    assert claim_plot(found, 1).startswith(b"\x89PNG")
