"""One contract for all backends: Qdrant Edge, here and at a URI; the client's memory; a real server where there is one.

Set QDRANT_URL (and QDRANT_API_KEY) to run it on a server too; it deletes the collections that it has made.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from cirray.config.indexing import Hnsw, Indexing
from cirray.data.attributes import Attribute
from cirray.data.filters import Filter
from cirray.errors import IndexUnavailableError, SearchIndexError
from cirray.index import open_backend, retry, server
from cirray.index.backend import Generation, Reader, WritableBackend, check_fingerprint, new_name, same_build
from cirray.index.edge import EdgeBackend
from cirray.index.items import TIES, Item
from cirray.index.remote import RemoteEdgeBackend
from cirray.index.server import SEPARATOR, ServerBackend, connect_backend
from tests.support.object_store import new_bucket

DIM = 8
PRINT = "ab" * 32
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact .brute-force. search:UserWarning"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]

AnyHome = EdgeBackend | ServerBackend


def item(number: int, **attributes: Any) -> Item:
    return Item(f"item{number}", f"pictures/{number}.jpg", f"{number:064x}", f"Item {number}", attributes)


def items(count: int) -> list[Item]:
    return [item(number) for number in range(count)]


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Raw features, of norms that are not 1."""
    return (3.0 * np.random.default_rng(seed).normal(size=(count, DIM))).astype(np.float32)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was killed is not waited for."""
    monkeypatch.setattr(server, "ALIVE_S", 0.0)


def plan(image_fingerprint: str = PRINT, **changes: Any) -> Generation:
    content = {"name": new_name(), "image_fingerprint": image_fingerprint, "dim": DIM, "settings": Indexing()}
    return Generation(**{**content, **changes})


def fill(backend: AnyHome, of: Sequence[Item], features: np.ndarray, **changes: Any) -> Generation:
    """Makes a complete generation of these items alone."""
    writer = backend.create(plan(**changes))
    try:
        writer.remove(list(writer.state()))
        writer.upload(of, features)
        return writer.finish({"made": "here"})
    finally:
        writer.close()


def names(backend: AnyHome) -> list[str]:
    return [generation.name for generation in backend.generations()]


def found(reader: Reader, query: np.ndarray, limit: int = 10, **more: Any) -> list[str]:
    (hits,) = reader.search(query, limit, **more)
    return [hit.item.id for hit in hits]


def browsed(reader: Reader, limit: int, filter: Filter | None = None) -> list[Item]:
    seen: list[Item] = []
    cursor = None
    while True:
        page = reader.browse(limit, cursor, filter)
        assert len(page.items) <= limit
        seen += page.items
        cursor = page.cursor
        if cursor is None:
            return seen


@contextmanager
def memory_home() -> Iterator[ServerBackend]:
    client = QdrantClient(":memory:")
    yield ServerBackend(client, client, "test", "memory")
    client.close()


@contextmanager
def real_server() -> Iterator[ServerBackend]:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no Qdrant server is at hand: set QDRANT_URL to its address")
    key = os.environ.get("QDRANT_API_KEY")
    backend = connect_backend(url, key, Indexing(collection=f"test.{secrets.token_hex(6)}"))
    yield backend
    client = QdrantClient(url=url, api_key=key)
    for entry in client.get_collections().collections:
        if entry.name.startswith(backend.collection + SEPARATOR):
            client.delete_collection(entry.name)
    client.close()


@contextmanager
def home_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[AnyHome]:
    if kind == "edge":
        yield EdgeBackend(folder / "index")
    elif kind == "remote":
        with new_bucket(request.getfixturevalue("s3_server"), folder) as bucket:
            yield RemoteEdgeBackend(f"{bucket}/index")
    else:
        with memory_home() if kind == "memory" else real_server() as backend:
            yield backend


KINDS = ["edge", "remote", "memory", "server"]


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyHome]:
    with home_of(request.param, tmp_path, request) as opened:
        yield opened


def test_the_life_of_a_generation(backend: AnyHome) -> None:
    assert (backend.generations(), backend.published()) == ([], None)
    asked, features = plan(), rows(5)
    writer = backend.create(asked)
    assert writer.generation == asked
    assert writer.state() == {}
    writer.upload(items(3), features[:3])
    writer.upload(items(5)[3:], features[3:])
    writer.remove(["item1"])
    assert writer.state() == {f"item{number}": item(number).digest() for number in (0, 2, 3, 4)}
    done = writer.finish({"commit": "abc", "versions": {"torch": "2.15"}})
    writer.close()
    assert done == asked.model_copy(update={"count": 4, "details": {"commit": "abc", "versions": {"torch": "2.15"}}})
    assert backend.generations() == [done]
    assert backend.published() is None
    backend.publish(done.name)
    assert backend.published() == done.name
    reader = backend.open(done.name)
    assert reader.generation == done
    assert reader.count() == 4
    assert reader.digests() == {f"item{number}": item(number).digest() for number in (0, 2, 3, 4)}
    reader.close()


def test_an_unfinished_generation_is_not_there(backend: AnyHome) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    unfinished = plan(image_fingerprint="cd" * 32)
    writer = backend.create(unfinished)
    writer.upload(items(3), rows(3))
    assert backend.generations() == [done]
    for use in (backend.open, backend.publish):
        with pytest.raises(SearchIndexError, match=rf"no complete generation {unfinished.name}: run jobs/index\.py"):
            use(unfinished.name)
    assert backend.published() == done.name
    writer.close()
    assert backend.generations() == [done]


def test_an_open_reader_outlives_its_publication(backend: AnyHome) -> None:
    old = fill(backend, items(3), rows(3))
    backend.publish(old.name)
    reader = backend.open(old.name)
    new = fill(backend, items(6)[3:], rows(6)[3:])
    assert backend.published() == old.name
    backend.publish(new.name)
    assert backend.published() == new.name
    assert found(reader, rows(3)[1])[0] == "item1"
    assert set(reader.digests()) == {"item0", "item1", "item2"}
    later = backend.open(new.name)
    assert set(later.digests()) == {"item3", "item4", "item5"}
    reader.close()
    later.close()


def test_rolling_back(backend: AnyHome) -> None:
    with pytest.raises(SearchIndexError, match="no complete generation before None to roll back to"):
        backend.roll_back()
    made = [fill(backend, items(2), rows(2)).name for _ in range(3)]
    assert names(backend) == made
    backend.publish(made[2])
    assert backend.roll_back() == made[1]
    assert backend.published() == made[1]
    assert backend.roll_back() == made[0]
    with pytest.raises(SearchIndexError, match=f"no complete generation before {made[0]} to roll back to"):
        backend.roll_back()
    assert backend.published() == made[0]
    assert names(backend) == made


def test_collecting_keeps_the_published_and_the_newest_others(backend: AnyHome) -> None:
    made = [fill(backend, items(2), rows(2)).name for _ in range(4)]
    assert backend.collect(4) == []
    backend.publish(made[1])
    assert backend.collect(2) == [made[0], made[2]]
    assert names(backend) == [made[1], made[3]]
    assert backend.collect(1) == [made[3]]
    assert backend.collect(0) == []
    assert names(backend) == [made[1]]
    with pytest.raises(SearchIndexError, match="no complete generation"):
        backend.open(made[0])
    reader = backend.open(made[1])
    assert reader.count() == 2
    reader.close()


def test_collecting_where_nothing_is_published(backend: AnyHome) -> None:
    made = [fill(backend, items(2), rows(2)).name for _ in range(3)]
    assert backend.collect(1) == made[:2]
    assert names(backend) == made[2:]


def test_an_item_is_there_once_and_as_it_was_last(backend: AnyHome) -> None:
    writer, features = backend.create(plan()), rows(4)
    writer.upload(items(3), features[:3])
    writer.upload(items(3), features[:3])
    changed = item(1, colour="red")
    assert changed.digest() != item(1).digest()
    writer.upload([changed], features[3:])
    assert writer.state() == {"item0": item(0).digest(), "item1": changed.digest(), "item2": item(2).digest()}
    done = writer.finish({})
    writer.close()
    assert done.count == 3
    reader = backend.open(done.name)
    assert reader.items(["item1"]) == {"item1": changed}
    np.testing.assert_allclose(reader.features(["item1"])["item1"], features[3], rtol=1e-5, atol=1e-5)
    assert found(reader, features[3])[0] == "item1"
    reader.close()


def test_removing_what_is_not_there_and_nothing_at_all(backend: AnyHome) -> None:
    writer = backend.create(plan())
    writer.upload(items(2), rows(2))
    writer.remove(["item7", "item1", "item1"])
    writer.remove([])
    writer.upload([], rows(0))
    assert set(writer.state()) == {"item0"}
    writer.close()


def test_an_empty_generation(backend: AnyHome) -> None:
    done = fill(backend, [], rows(0))
    reader = backend.open(done.name)
    assert (done.count, reader.count(), reader.digests()) == (0, 0, {})
    assert reader.search(rows(2), 5) == [[], []]
    assert browsed(reader, 5) == []
    reader.close()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([0.0] * DIM, "zero or not finite, such as item1: .* tower is broken"),
        ([np.nan] + [1.0] * (DIM - 1), "1 items are zero or not finite, such as item1"),
        ([np.inf] + [1.0] * (DIM - 1), "1 items are zero or not finite, such as item1"),
    ],
)
def test_broken_features_are_refused(broken: list[float], message: str, backend: AnyHome) -> None:
    writer, features = backend.create(plan()), rows(3)
    features[1] = broken
    with pytest.raises(SearchIndexError, match=message):
        writer.upload(items(3), features)
    assert writer.state() == {}
    writer.close()


@pytest.mark.parametrize("shape", [(3, DIM - 1), (3, DIM + 1), (2, DIM), (4, DIM), (DIM,), (3, 1, DIM)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...], backend: AnyHome) -> None:
    writer = backend.create(plan())
    with pytest.raises(SearchIndexError, match=r"do not fit 3 items of 8 numbers each \(item0, item1, item2\)"):
        writer.upload(items(3), np.ones(shape, np.float32))
    writer.close()


def test_odd_ids(backend: AnyHome) -> None:
    odd = [
        "a/b",
        "../x",
        "a b",
        " a b",
        "ä",
        "a\u0308",
        "日本/語 1",
        'q"\\',
        "line\nbreak",
        "",
        "x" * 500,
        "%2F",
        "A",
        "a",
    ]
    these = [Item(name, "p.jpg", "c", name) for name in odd]
    features = rows(len(odd))
    reader = backend.open(fill(backend, these, features).name)
    assert reader.items(odd) == {one.id: one for one in these}
    assert set(reader.features(odd)) == set(odd) == set(reader.digests())
    for row, name in enumerate(odd):
        assert found(reader, features[row])[0] == name
        assert name not in found(reader, features[row], len(odd), without=name)
    assert sorted(one.id for one in browsed(reader, 3)) == sorted(odd)
    reader.close()


def test_attributes_come_back_as_they_were(backend: AnyHome) -> None:
    attributes = {"a": 1, "b": 1.0, "c": True, "d": "1", "e": ["x", "ü"], "f": [], "g": "", "h": -2.5, "i": 2**53}
    one = item(0, **attributes)
    reader = backend.open(fill(backend, [one], rows(1)).name)
    (back,) = reader.items(["item0"]).values()
    assert back == one
    assert {name: type(value) for name, value in back.attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert back.digest() == one.digest() == reader.digests()["item0"]
    reader.close()


# Read only from here on: one generation for all, of items that differ in every kind of attribute.
KNOWN = [
    Attribute(name="category", kind="keyword"),
    Attribute(name="colour", kind="keyword"),
    Attribute(name="price", kind="number"),
    Attribute(name="sale", kind="bool"),
    Attribute(name="mixed-up", kind="keyword"),
]
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
    with home_of(request.param, tmp_path_factory.mktemp("backend"), request) as backend:
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


def test_pages_fit_together_where_items_share_a_picture(backend: AnyHome) -> None:
    """Catalogs have the same picture for several sizes; Qdrant alone would show some twice and others never."""
    copies, count = TIES, 5 * TIES
    reader = backend.open(fill(backend, items(count), np.repeat(rows(count // copies), copies, axis=0)).name)
    query = rows(1, seed=3)
    whole = found(reader, query, count)
    for limit in (1, 5, 12):
        paged = [name for offset in range(0, count, limit) for name in found(reader, query, limit, offset=offset)]
        assert paged == whole
    reader.close()


def test_an_item_can_be_left_out(reader: Reader) -> None:
    query = rows(COUNT)[5]
    whole = found(reader, query, COUNT)
    assert whole[0] == "item5"
    assert found(reader, query, COUNT, without="item5") == whole[1:]
    assert found(reader, query, 4, without="item5") == whole[1:5]
    assert found(reader, query, COUNT, without="nobody") == whole
    red = Filter({"colour": "red"})
    with_it = found(reader, query, COUNT, filter=red)
    assert found(reader, query, COUNT, filter=red, without=with_it[0]) == with_it[1:]


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


def test_a_generation_with_more_items_than_a_page_holds(backend: AnyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cirray.index.reader._PAGE", 4)
    reader = backend.open(fill(backend, items(11), rows(11)).name)
    assert set(reader.digests()) == {one.id for one in items(11)}
    reader.close()


def test_names_sort_by_time() -> None:
    made = [new_name() for _ in range(500)]
    moments = [name.split("-")[0] for name in made]
    assert moments == sorted(moments)
    assert len(set(made)) == len(made)


def test_what_must_be_the_same_for_items_to_be_taken_over() -> None:
    base = plan(attributes=KNOWN, indexed=["price"])
    assert same_build(base, plan(attributes=list(reversed(KNOWN)), indexed=["price"], count=9))
    assert same_build(base, plan(attributes=KNOWN, indexed=["price"], settings=Indexing(batch=3, keep=9)))
    texts = [Attribute(name="price", kind="keyword")]
    for other in (
        plan("cd" * 32, attributes=KNOWN, indexed=["price"]),
        plan(attributes=KNOWN, indexed=["price"], dim=9),
        plan(attributes=KNOWN, indexed=["price", "sale"]),
        plan(attributes=texts, indexed=["price"]),
        plan(attributes=KNOWN, indexed=["price"], settings=Indexing(quantization="int8")),
        plan(attributes=KNOWN, indexed=["price"], settings=Indexing(hnsw=Hnsw(m=17))),
    ):
        assert not same_build(base, other)


def test_a_bundle_that_did_not_make_the_index_is_refused() -> None:
    check_fingerprint(plan(), PRINT, "bundle", "here")
    with pytest.raises(SearchIndexError, match=r"bundle B does not fit the index at here: .* cdcdcdcdcdcd, .* abab"):
        check_fingerprint(plan(), "cd" * 32, "B", "here")


# Edge alone


@pytest.fixture
def edge_home(tmp_path: Path) -> EdgeBackend:
    return EdgeBackend(tmp_path / "index")


def test_edge_begins_with_a_copy_of_the_published_generation(edge_home: EdgeBackend) -> None:
    features = rows(6)
    old = fill(edge_home, items(4), features[:4], attributes=KNOWN, indexed=["price"])
    writer = edge_home.create(plan(attributes=KNOWN, indexed=["price"]))
    assert writer.state() == {}  # complete, but not published
    writer.close()
    edge_home.publish(old.name)
    writer = edge_home.create(plan(attributes=KNOWN, indexed=["price"]))
    assert writer.state() == {one.id: one.digest() for one in items(4)}
    writer.remove(["item0"])
    writer.upload([item(1, price=3), *items(6)[4:]], features[[1, 4, 5]])
    new = writer.finish({})
    writer.close()
    assert new.count == 5
    readers = [edge_home.open(generation.name) for generation in (old, new)]
    assert [set(reader.digests()) for reader in readers] == [
        {f"item{number}" for number in range(4)},
        {f"item{number}" for number in range(1, 6)},
    ]
    assert [reader.count(Filter({"price": 3})) for reader in readers] == [0, 1]
    for number in range(1, 6):
        assert found(readers[1], features[number])[0] == f"item{number}"
    for reader in readers:
        reader.close()


def test_edge_begins_with_nothing_for_another_fingerprint(edge_home: EdgeBackend) -> None:
    edge_home.publish(fill(edge_home, items(4), rows(4)).name)
    writer = edge_home.create(plan(image_fingerprint="cd" * 32))
    assert writer.state() == {}
    writer.close()


def test_edge_has_one_writer_at_a_time(edge_home: EdgeBackend) -> None:
    writer = edge_home.create(plan())
    writer.upload(items(2), rows(2))
    holder = (edge_home.root / "writer.lock").read_text()
    with pytest.raises(SearchIndexError, match=f"another job is writing to the index {edge_home.root}: wait for it"):
        edge_home.create(plan())
    assert (edge_home.root / "writer.lock").read_text() == holder == f"{os.getpid()}\n"
    assert set(writer.state()) == {"item0", "item1"}  # the refused one has deleted nothing
    writer.finish({})
    with pytest.raises(SearchIndexError, match="another job"):
        edge_home.create(plan())
    writer.close()
    writer.close()
    edge_home.create(plan()).close()


def test_edge_forgets_what_was_given_up(edge_home: EdgeBackend) -> None:
    writer = edge_home.create(plan())
    writer.upload(items(2), rows(2))
    writer.close()
    with pytest.raises(SearchIndexError, match="not initialized"):
        writer.state()
    writer = edge_home.create(plan())
    assert writer.state() == {}
    folders = [path.name for path in (edge_home.root / "generations").iterdir()]
    assert folders == [writer.generation.name]
    writer.close()


def test_edge_copies_no_temporary_files_of_readers(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    edge_home.publish(done.name)
    (edge_home.root / "generations" / done.name / "shard" / ".atomicwriteXYZ").mkdir()
    new = fill(edge_home, items(2), rows(2))
    assert not list((edge_home.root / "generations" / new.name).rglob(".atomicwrite*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_index_backends import EdgeBackend, items, plan, rows
writer = EdgeBackend(Path(sys.argv[1])).create(plan(name="20000101t000000000-killed"))
writer.upload(items(4)[2:], rows(4)[2:])
os.kill(os.getpid(), signal.SIGKILL)
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_edge_after_a_writer_was_killed(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    edge_home.publish(done.name)
    killed = python(KILLED, str(edge_home.root))
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    left = edge_home.root / "generations" / "20000101t000000000-killed"
    assert left.is_dir()
    assert edge_home.generations() == [done]
    writer = edge_home.create(plan())
    assert not left.exists()
    assert set(writer.state()) == {"item0", "item1"}
    writer.upload(items(4)[2:], rows(4)[2:])
    new = writer.finish({})
    writer.close()
    edge_home.publish(new.name)
    reader = edge_home.open(new.name)
    assert reader.count() == 4
    reader.close()


READER = """
import json, sys
from pathlib import Path
import numpy as np
from cirray.index.edge import EdgeBackend
backend = EdgeBackend(Path(sys.argv[1]))
reader = backend.open(backend.published())
print("ready", flush=True)
queries = np.array(json.loads(sys.stdin.readline()))
answers = [reader.search(query, 5)[0] for _ in range(20) for query in queries]
print(json.dumps([[hit.item.id for hit in hits] for hits in answers]), flush=True)
sys.stdin.readline()
reader.close()
"""


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_edge_is_read_by_several_processes_at_once(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(30), rows(30))
    edge_home.publish(done.name)
    before = contents(edge_home.root)
    readers = [python(READER, str(edge_home.root)) for _ in range(2)]
    own = edge_home.open(done.name)
    queries = rows(4, seed=9)
    expected = [found(own, query, 5) for _ in range(20) for query in queries]
    for step in ("ready", "answers"):
        for process in readers:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n" if step == "ready" else json.loads(line) == expected
            process.stdin.write(f"{json.dumps(queries.tolist())}\n")
            process.stdin.flush()
    for process in readers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    own.close()
    assert contents(edge_home.root) == before


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_edge_with_a_graph(quantization: str, edge_home: EdgeBackend) -> None:
    count, features = 400, rows(400)
    build = Indexing(hnsw=Hnsw(threshold_kb=1), quantization=quantization)
    done = fill(edge_home, [item(n, half=n % 2) for n in range(count)], features, settings=build)
    files = {path.name for path in edge_home.root.rglob("*") if path.is_file()}
    assert any("graph" in name for name in files)
    assert any("quantized" in name for name in files) == (quantization != "none")
    reader = edge_home.open(done.name)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    queries = rows(20, seed=5)
    right = 0
    for query, hits in zip(queries, reader.search(queries, 10), strict=True):
        scores = unit @ (query / np.linalg.norm(query))
        right += len({hit.item.id for hit in hits} & {f"item{number}" for number in np.argsort(-scores)[:10]})
        for hit in hits:
            assert hit.score == pytest.approx(scores[int(hit.item.id.removeprefix("item"))], abs=1e-5)
    assert right >= 0.97 * 10 * len(queries)
    assert all(int(name.removeprefix("item")) % 2 for name in found(reader, queries[0], 50, filter=Filter({"half": 1})))
    np.testing.assert_allclose(reader.features(["item7"])["item7"], features[7], rtol=1e-5, atol=1e-5)
    reader.close()


def test_edge_after_most_items_were_replaced(edge_home: EdgeBackend) -> None:
    build = Indexing(hnsw=Hnsw(threshold_kb=1))
    edge_home.publish(fill(edge_home, items(300), rows(300), settings=build).name)
    writer = edge_home.create(plan(settings=build))
    writer.remove([one.id for one in items(300)[:200]])
    writer.upload(items(350)[250:], rows(100, seed=4))
    done = writer.finish({})
    writer.close()
    assert done.count == 150
    reader = edge_home.open(done.name)
    assert set(reader.digests()) == {one.id for one in items(350)[200:]}
    kept, changed = rows(300)[200:250], rows(100, seed=4)
    for hits, number in zip(reader.search(np.concatenate([kept, changed]), 1), range(200, 350), strict=True):
        assert [hit.item.id for hit in hits] == [f"item{number}"]
    reader.close()


def test_edge_answers_no_more_once_closed(edge_home: EdgeBackend) -> None:
    reader = edge_home.open(fill(edge_home, items(2), rows(2)).name)
    reader.close()
    reader.close()
    for call in (reader.count, reader.digests, lambda: reader.search(rows(1), 1), lambda: reader.browse(1)):
        with pytest.raises(SearchIndexError, match=r"index generation .*: .*not initialized"):
            call()


def test_edge_with_a_damaged_manifest(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    path = edge_home.root / "generations" / done.name / "generation.json"
    for content in (path.read_text()[:50], "{}", path.read_text().replace('"format": 1', '"format": 2')):
        path.write_text(content)
        with pytest.raises(
            SearchIndexError, match=r"(?s)generation\.json is damaged .*: delete its folder and index again"
        ):
            edge_home.open(done.name)


def test_edge_with_a_damaged_pointer(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    edge_home.publish(done.name)
    pointer = edge_home.root / "published.json"
    for content in ("", "[]", "{}"):
        pointer.write_text(content)
        with pytest.raises(SearchIndexError, match=r"published\.json is damaged .*: delete it and index again"):
            edge_home.published()
    pointer.unlink()
    assert edge_home.published() is None


def test_edge_with_files_that_are_gone(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    edge_home.publish(done.name)
    folder = edge_home.root / "generations" / done.name
    (folder / "shard").rename(folder / "elsewhere")
    with pytest.raises(SearchIndexError, match=f"index generation {folder}: "):
        edge_home.open(done.name)


def test_edge_goes_on_after_the_published_generation_was_deleted_by_hand(edge_home: EdgeBackend) -> None:
    done = fill(edge_home, items(2), rows(2))
    edge_home.publish(done.name)
    folder = edge_home.root / "generations" / done.name
    folder.rename(edge_home.root / "moved away")
    (edge_home.root / "generations" / "a file").write_text("no generation")
    assert edge_home.published() is None
    new = fill(edge_home, items(3), rows(3))
    edge_home.publish(new.name)
    assert edge_home.published() == new.name
    assert edge_home.generations() == [new]


def test_edge_is_no_live_home(edge_home: EdgeBackend) -> None:
    assert not isinstance(edge_home, WritableBackend)


# The server's backend alone


@pytest.fixture(params=["memory", "server"])
def server_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerBackend]:
    with home_of(request.param, tmp_path, request) as opened:
        assert isinstance(opened, ServerBackend)
        yield opened


def collections(backend: ServerBackend) -> list[str]:
    return sorted(entry.name for entry in backend._rest.client.get_collections().collections)


def test_a_server_goes_on_with_what_a_killed_job_left(server_home: ServerBackend) -> None:
    old = fill(server_home, items(1), rows(1))
    server_home.publish(old.name)
    killed = server_home.create(plan(attributes=KNOWN, indexed=["price"]))
    killed.upload(items(3), rows(3))
    news = [*KNOWN, Attribute(name="size", kind="keyword")]
    writer = server_home.create(plan(attributes=news, indexed=["price"]))
    assert writer.generation.name == killed.generation.name
    assert writer.generation.attributes == news  # of today's catalog, not of the killed run's
    assert writer.state() == {one.id: one.digest() for one in items(3)}
    writer.remove(["item0"])
    writer.upload(items(5)[3:], rows(5)[3:])
    done = writer.finish({})
    assert (done.count, done.attributes) == (4, news)
    assert server_home.generations() == [old, done]
    assert server_home.published() == old.name


def test_a_server_throws_away_what_does_not_fit(server_home: ServerBackend) -> None:
    done = fill(server_home, items(1), rows(1))
    left = server_home.create(plan(image_fingerprint="cd" * 32))
    left.upload(items(3), rows(3))
    writer = server_home.create(plan())
    assert writer.state() == {}
    assert collections(server_home) == [
        f"{server_home.collection}--{name}" for name in (done.name, writer.generation.name)
    ]


def test_a_server_creates_payload_indexes_that_a_killed_job_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_home() as backend:
        client, made = backend._rest.client, []
        monkeypatch.setattr(client, "create_payload_index", lambda *arguments: made.append(arguments[1:]))
        backend.create(plan(attributes=KNOWN, indexed=["price", "sale"]))
        made.clear()
        backend.create(plan(attributes=KNOWN, indexed=["price", "sale"]))
        assert made == [
            ("attributes.price", models.PayloadSchemaType.FLOAT),
            ("attributes.sale", models.PayloadSchemaType.BOOL),
        ]


def test_a_server_leaves_alone_what_it_cannot_read() -> None:
    with memory_home() as backend:
        client = backend._rest.client
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        later = {**plan().model_dump(mode="json"), "format": 2}
        client.create_collection("test--of another version", size, metadata={"manifest": later, "complete": True})
        client.create_collection("test--foreign", size)
        client.create_collection("other--x", size)
        done = fill(backend, items(1), rows(1))
        backend.publish(done.name)
        assert backend.generations() == [done]
        assert backend.collect(1) == []
        assert set(collections(backend)) == {
            "test--of another version", "test--foreign", "other--x", f"test--{done.name}"
        }  # fmt: skip


def test_homes_of_one_server_do_not_meet() -> None:
    client = QdrantClient(":memory:")
    one, other = (ServerBackend(client, client, name, "memory") for name in ("shop", "shop.two"))
    first, second = fill(one, items(1), rows(1)), fill(other, items(2), rows(2))
    one.publish(first.name)
    other.publish(second.name)
    assert (one.published(), other.published()) == (first.name, second.name)
    assert (one.generations(), other.generations()) == ([first], [second])
    client.close()


def test_a_collection_made_twice_because_an_answer_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_home() as backend:
        client = backend._rest.client
        create = client.create_collection

        def lose_the_answer(name: str, **settings: Any) -> None:
            create(name, **settings)
            raise UnexpectedResponse(409, "Conflict", b"already exists", httpx.Headers())

        monkeypatch.setattr(client, "create_collection", lose_the_answer)
        done = fill(backend, items(2), rows(2))
        assert backend.generations() == [done]
        with pytest.raises(SearchIndexError, match="already exists"):  # the name was taken before
            backend.create(done)
        assert backend.generations() == [done]


def test_a_collection_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UnexpectedResponse(400, "Bad Request", b"disk full", httpx.Headers())

    with memory_home() as backend:
        monkeypatch.setattr(backend._rest.client, "create_collection", refuse)
        with pytest.raises(SearchIndexError, match=r"create_collection: .*400"):
            backend.create(plan())


def test_finishing_waits_for_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GREEN_EVERY_S", 0.001)
    with memory_home() as backend:
        client = backend._rest.client
        ask, change, changes = client.get_collection, client.update_collection, []
        status = iter([models.CollectionStatus.YELLOW, models.CollectionStatus.GREY, models.CollectionStatus.YELLOW])
        writer = backend.create(plan())
        writer.upload(items(2), rows(2))

        def answer(name: str) -> Any:
            info = ask(name)
            return info.model_copy(update={"status": next(status, models.CollectionStatus.GREEN)})

        def note(name: str, **what: Any) -> Any:
            changes.append(set(what))
            return change(name, **what)

        monkeypatch.setattr(client, "get_collection", answer)
        monkeypatch.setattr(client, "update_collection", note)
        writer.finish({})
        assert next(status, None) is None
        assert changes == [{"optimizers_config"}, {"metadata"}]


def test_a_collection_that_failed_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_home() as backend:
        client = backend._rest.client
        writer = backend.create(plan())
        red = client.get_collection(f"test--{writer.generation.name}").model_copy(
            update={"status": models.CollectionStatus.RED}
        )
        monkeypatch.setattr(client, "get_collection", lambda _: red)
        with pytest.raises(SearchIndexError, match=f"collection test--{writer.generation.name} failed"):
            writer.finish({})


def test_a_server_is_changed_item_by_item(server_home: ServerBackend) -> None:
    assert isinstance(server_home, WritableBackend)
    for change in (lambda: server_home.put("none", items(1), rows(1)), lambda: server_home.delete("none", ["item0"])):
        with pytest.raises(SearchIndexError, match="none is not published any more, None is"):
            change()
    done = fill(server_home, items(2), rows(2))
    server_home.publish(done.name)
    reader = server_home.open(done.name)
    server_home.put(done.name, [item(1, colour="red"), item(5)], rows(2, seed=5))
    server_home.delete(done.name, ["item0", "nobody"])
    assert reader.items(["item0", "item1", "item5"]) == {"item1": item(1, colour="red"), "item5": item(5)}
    with pytest.raises(SearchIndexError, match="do not fit"):
        server_home.put(done.name, items(1), np.ones((1, DIM + 1), np.float32))
    reader.close()


def test_a_server_keeps_two_jobs_apart(server_home: ServerBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BEAT_S", 0.0)
    first = server_home.create(plan())
    first.upload(items(2), rows(2))
    monkeypatch.setattr(server.time, "sleep", lambda _: first.upload(items(2), rows(2)))  # it works on meanwhile
    with pytest.raises(SearchIndexError, match="another job is writing test--"):
        server_home.create(plan())
    monkeypatch.setattr(server.time, "sleep", lambda _: None)  # it was killed
    assert len(server_home.create(plan()).state()) == 2


# Which backend


def test_without_a_server_the_home_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    backend = open_backend(Indexing(path=str(tmp_path / "here")))
    assert isinstance(backend, EdgeBackend)
    assert backend.where == str(tmp_path / "here")
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path))
    monkeypatch.setenv("QDRANT_URL", "")
    assert open_backend(Indexing()).where == str(tmp_path / "index")


def test_a_server_that_cannot_be_reached_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    with pytest.raises(IndexUnavailableError, match="check that Qdrant runs there and that QDRANT_URL is right"):
        open_backend(Indexing(path=str(tmp_path / "here"), timeout_s=1.0))
    assert not (tmp_path / "here").exists()
    gc.collect()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::1", "ftp://127.0.0.1:6333"])
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", url)
    with pytest.raises(SearchIndexError, match=r"QDRANT_URL is .*set it like http://localhost:6333"):
        open_backend(Indexing())
