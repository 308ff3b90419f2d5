"""asked-kept@K and unasked-kept@K: equal to counting by hand, for any lists, values and lengths."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.evaluation.attributes_kept import AttributeTable, attributes_kept, rows_of, shares, unasked_of

Item = dict[str, object]
NAMES = ("colour", "sleeve", "logo")
VALUES = st.one_of(st.sampled_from(["red", "blue", "long"]), st.booleans(), st.just(["red", "blue"]))
ITEMS = st.dictionaries(st.sampled_from(NAMES), VALUES)


def slow(items: dict[str, Item], ranked: list[list[str]], wanted: list[Item], k: int) -> float | None:
    """The mean share in percent by loops; None if there is no query to count."""
    per_query = []
    for ids, values in zip(ranked, wanted, strict=True):
        answers = ids[:k]
        hits = [items[answer].get(name) == value for answer in answers for name, value in values.items()]
        if hits:
            per_query.append(100 * sum(hits) / len(hits))
    return fmean(per_query) if per_query else None


@st.composite
def searches(draw: st.DrawFn) -> tuple[dict[str, Item], list[list[str]], list[Item], list[Item]]:
    items = {f"i{number}": item for number, item in enumerate(draw(st.lists(ITEMS, min_size=1, max_size=6)))}
    items["all"] = {"colour": "red", "sleeve": "long", "logo": True}  # each attribute is known
    count = draw(st.integers(1, 4))
    ranked = [draw(st.lists(st.sampled_from(list(items)), max_size=12)) for _ in range(count)]
    wanted = [[draw(ITEMS) for _ in range(count)] for _ in range(2)]
    return items, ranked, wanted[0], wanted[1]


@settings(deadline=None)
@given(searches())
def test_measures_equal_counting(search: tuple[dict[str, Item], list[list[str]], list[Item], list[Item]]) -> None:
    items, ranked, asked, kept = search
    table = AttributeTable.of(items)
    found = attributes_kept(table, rows_of(table, ranked), asked, kept, ks=(1, 3, 10))
    for kind, wanted in (("asked", asked), ("unasked", kept)):
        for k in (1, 3, 10):
            expected = slow(items, ranked, wanted, k)
            assert found.get(f"{kind}-kept@{k}") == (None if expected is None else pytest.approx(expected))


def test_an_example() -> None:
    items = {
        "reference": {"colour": "red", "sleeve": "long", "logo": True},
        "right": {"colour": "blue", "sleeve": "long", "logo": True},
        "loses": {"colour": "blue", "sleeve": "short", "logo": True},
    }
    table = AttributeTable.of(items)
    asked = {"colour": "blue"}
    kept = unasked_of(items["reference"], asked)
    assert kept == {"sleeve": "long", "logo": True}
    ranked = rows_of(table, [["reference", "right", "loses"]])
    assert attributes_kept(table, ranked, [asked], [kept], ks=(1, 2, 3)) == {
        "asked-kept@1": 0.0,
        "asked-kept@2": 50.0,
        "asked-kept@3": pytest.approx(200 / 3),
        "unasked-kept@1": 100.0,
        "unasked-kept@2": 100.0,
        "unasked-kept@3": pytest.approx(500 / 6),
    }


def test_queries_without_answers_or_wishes_have_no_share() -> None:
    table = AttributeTable.of({"a": {"colour": "red"}})
    wanted = table.wanted([{}, {"colour": "red"}, {"colour": "green"}])
    values = shares(table.values, rows_of(table, [["a"], [], ["a"]]), wanted, 1)
    assert np.isnan(values[:2]).all() and values[2] == 0.0


def test_an_attribute_that_no_item_has_is_an_error() -> None:
    with pytest.raises(KeyError, match="size"):
        AttributeTable.of({"a": {"colour": "red"}}).wanted([{"size": 1}])
