"""What readers of all backends answer: one generation, of items that differ in every kind of attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirray.data.filters import Filter
from cirray.errors import SearchIndexError
from cirray.index.backend import Reader
from cirray.index.items import Item
from tests.support.index_backends import (
    DIM,
    KINDS,
    KNOWN,
    QDRANT_WARNINGS,
    backend_of,
    browsed,
    fill,
    found,
    item,
    rows,
)

pytestmark = QDRANT_WARNINGS
COUNT = 48
MIXED: list[Any] = ["1", 1, True, 1.0, 2.5, False, 0, "true", ["1", "x"]]


def various(number: int) -> Item:
    attributes: dict[str, Any] = {"plain": MIXED[(number // 2) % len(MIXED)]}  # "plain" has no payload index
    if number % 5:
        attributes["category"] = ["dress", "shirt", "coat", ""][number % 4]
    if number % 7:
        attributes["colour"] = [["red"], ["red", "blue"], [], ["blue", "green"], "red"][number % 5]
    if number % 3:
        attributes["price"] = [10, 10.0, 2.5, -5, 0, 1, 99.99][number % 7]
    if number % 4:
        attributes["sale"] = number % 3 == 0
    if number % 2:
        attributes["mixed-up"] = MIXED[number % len(MIXED)]
    return item(number, **attributes)


CATALOG = [various(number) for number in range(COUNT)]


@pytest.fixture(scope="module", params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with backend_of(request.param, tmp_path_factory.mktemp("backend"), request) as backend:
        done = fill(backend, CATALOG, rows(COUNT), attributes=KNOWN, indexed=[attribute.name for attribute in KNOWN])
        opened = backend.open(done.name)
        yield opened
        opened.close()


def cosines(queries: np.ndarray) -> np.ndarray:
    left, right = np.atleast_2d(queries).astype(np.float64), rows(COUNT).astype(np.float64)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return left @ right.T


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, COUNT + 5), st.integers(0, COUNT + 5))
def test_search_equals_brute_force(reader: Reader, seed: int, count: int, limit: int, offset: int) -> None:
    queries = rows(count, seed)
    expected = cosines(queries)
    for hits, scores in zip(reader.search(queries, limit, offset), expected, strict=True):
        best = np.argsort(-scores)[offset : offset + limit]
        assert [hit.item for hit in hits] == [CATALOG[number] for number in best]
        np.testing.assert_allclose([hit.score for hit in hits], scores[best], atol=1e-5)


def test_one_query_may_be_a_vector(reader: Reader) -> None:
    assert reader.search(rows(1)[0], 3) == reader.search(rows(1), 3)
    assert reader.search(rows(0), 3) == []


def test_pages_are_slices_of_the_long_list(reader: Reader) -> None:
    query = rows(1, seed=7)
    whole = found(reader, query, COUNT + 9)
    assert len(set(whole)) == COUNT
    paged = [name for offset in range(0, COUNT + 9, 7) for name in found(reader, query, 7, offset=offset)]
    assert paged == whole
    assert [found(reader, query, limit) for limit in range(1, 9)] == [whole[:limit] for limit in range(1, 9)]


def test_items_can_be_left_out(reader: Reader) -> None:
    query = rows(COUNT)[5]
    whole = found(reader, query, COUNT)
    assert whole[0] == "item5"
    assert found(reader, query, COUNT, without=["item5"]) == whole[1:]
    assert found(reader, query, 4, without=["item5"]) == whole[1:5]
    assert found(reader, query, COUNT, without=["nobody"]) == whole
    others = [whole[3], "nobody", whole[7]]
    assert found(reader, query, COUNT, without=others) == [name for name in whole if name not in others]
    red = Filter({"colour": "red"})
    with_it = found(reader, query, COUNT, filter=red)
    assert found(reader, query, COUNT, filter=red, without=with_it[:1]) == with_it[1:]


@pytest.mark.parametrize("broken", [[0.0] * DIM, [np.nan] * DIM, [np.inf] + [0.0] * (DIM - 1)])
def test_broken_queries_are_refused(broken: list[float], reader: Reader) -> None:
    with pytest.raises(SearchIndexError, match="query feature is zero or not finite"):
        reader.search(np.array([[1.0] * DIM, broken], np.float32), 3)


def test_queries_of_another_width_are_refused(reader: Reader) -> None:
    with pytest.raises(SearchIndexError, match="do not fit an index of 8 numbers"):
        reader.search(np.ones((2, DIM + 1), np.float32), 3)


def equal(stored: Any, asked: Any) -> bool:
    if isinstance(stored, bool) or isinstance(asked, bool):
        return stored is asked
    return bool(stored == asked)


def within(stored: Any, bounds: dict[str, float]) -> bool:
    if isinstance(stored, (bool, str)):
        return False
    compare: dict[str, Callable[[Any], Any]] = {
        "gt": stored.__gt__,
        "gte": stored.__ge__,
        "lt": stored.__lt__,
        "lte": stored.__le__,
    }
    # A number of the other type is "not implemented" for an int's own method.
    return all(compare[name](bound) is True for name, bound in bounds.items())


def meets(stored: list[Any], condition: Any) -> bool:
    if not isinstance(condition, dict):
        wanted = condition if isinstance(condition, list) else [condition]
        return any(equal(value, other) for value in stored for other in wanted)
    bounds = {name: float(bound) for name, bound in condition.items() if name != "not"}
    numbers = [value if isinstance(value, (bool, str)) else float(value) for value in stored]
    inside = not bounds or any(within(value, bounds) for value in numbers)
    return inside and not ("not" in condition and meets(stored, condition["not"]))


def fits(one: Item, asked: dict[str, Any]) -> bool:
    def stored(name: str) -> list[Any]:
        value: Any = one.attributes.get(name, [])
        return value if isinstance(value, list) else [value]

    return all(meets(stored(name), condition) for name, condition in asked.items())


SCALARS = st.sampled_from(
    ["dress", "shirt", "red", "blue", "1", "true", "", "x", "no such", 0, 1, 2, 10, 10.0, 2.5, -5, 99.99, True, False]
)
NUMBERS = st.sampled_from([-5, 0, 1, 1.0, 2.5, 10, 10.0, 10.5, 99.99, 1e300, -(2**53)])
ANY_OF = st.lists(SCALARS, min_size=1, max_size=5)
BOUNDS = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS, min_size=1)
CONDITIONS = st.one_of(
    SCALARS,
    ANY_OF,
    BOUNDS,
    st.builds(lambda bounds, excluded: {**bounds, "not": excluded}, st.just({}) | BOUNDS, SCALARS | ANY_OF),
)
NAMES = st.sampled_from(["category", "colour", "price", "sale", "mixed-up", "plain", "missing"])
FILTERS = st.dictionaries(NAMES, CONDITIONS, max_size=3)


@settings(max_examples=150, deadline=None)
@given(FILTERS)
def test_filters_mean_what_they_say(reader: Reader, asked: dict[str, Any]) -> None:
    filter = Filter.model_validate(asked)
    expected = {one.id for one in CATALOG if fits(one, asked)}
    assert {one.id for one in browsed(reader, 20, filter)} == expected
    assert reader.count(filter) == len(expected)
    hits = found(reader, rows(1), COUNT, filter=filter)
    assert len(hits) == len(expected)
    assert set(hits) == expected


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"sale": True}, 12),
        ({"sale": False}, 24),
        ({"sale": 1}, 0),
        ({"sale": [True, "red", 3]}, 12),
        ({"sale": {"not": True}}, 36),
        ({"price": 10}, 9),
        ({"price": {"gte": 2.5, "lt": 10}}, 5),
        ({"price": {"gte": 2.5, "gt": 2.5, "lte": 10, "lt": 10}}, 0),
        ({"price": {"gte": 2, "gt": 1, "lte": 10, "lt": 11}}, 14),
        ({"colour": "red"}, 25),
        ({"colour": {"not": ["red", "blue"]}}, 15),
        ({"missing": "x"}, 0),
        ({"missing": {"not": "x"}}, COUNT),
        ({}, COUNT),
    ],
)
def test_some_filters_by_hand(asked: dict[str, Any], count: int, reader: Reader) -> None:
    assert reader.count(Filter.model_validate(asked)) == count


def test_browsing_shows_each_item_once_in_an_order_that_stays(reader: Reader) -> None:
    whole = browsed(reader, COUNT)
    assert sorted(one.id for one in whole) == sorted(one.id for one in CATALOG)
    assert {one.id: one for one in whole} == {one.id: one for one in CATALOG}
    for limit in (1, 7, COUNT - 1, COUNT + 1):
        assert browsed(reader, limit) == whole
    red = Filter({"colour": "red"})
    some = browsed(reader, 100, red)
    assert some == [one for one in whole if fits(one, {"colour": "red"})]
    assert browsed(reader, 5, red) == some


def test_a_cursor_that_is_none_is_refused(reader: Reader) -> None:
    with pytest.raises(SearchIndexError, match="'no cursor' is not a cursor: pass the cursor of the previous page"):
        reader.browse(5, "no cursor")


def test_items_and_features_by_id(reader: Reader) -> None:
    asked = ["item3", "nobody", "item0", "item3"]
    assert reader.items(asked) == {"item0": CATALOG[0], "item3": CATALOG[3]}
    features = reader.features(asked)
    assert set(features) == {"item0", "item3"}
    for name, feature in features.items():
        assert feature.dtype == np.float32
        raw = rows(COUNT)[int(name.removeprefix("item"))]
        np.testing.assert_allclose(feature, raw, rtol=1e-5, atol=1e-5)
    assert reader.items([]) == reader.features([]) == reader.items(["nobody"]) == {}


def test_digests_of_all(reader: Reader) -> None:
    assert reader.digests() == {one.id: one.digest() for one in CATALOG}
