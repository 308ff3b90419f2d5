"""One contract for all backends: Qdrant Edge, here and at a URI; the client's memory; a real server where there is one.

What they answer is in test_index_readers; what only one of them does in test_index_edge and test_index_server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cirray.errors import SearchIndexError
from cirray.index import server
from cirray.index.items import Item
from tests.support.index_backends import (
    DIM,
    KINDS,
    QDRANT_WARNINGS,
    AnyBackend,
    backend_of,
    browsed,
    fill,
    found,
    item,
    items,
    names,
    plan,
    rows,
)

pytestmark = QDRANT_WARNINGS


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for the heartbeat of an unfinished generation."""
    monkeypatch.setattr(server, "ALIVE_S", 0.0)


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBackend]:
    with backend_of(request.param, tmp_path, request) as opened:
        yield opened


def test_the_life_of_a_generation(backend: AnyBackend) -> None:
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


def test_an_unfinished_generation_is_not_there(backend: AnyBackend) -> None:
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


def test_an_open_reader_outlives_its_publication(backend: AnyBackend) -> None:
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


def test_rolling_back(backend: AnyBackend) -> None:
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


def test_collecting_keeps_the_published_and_the_newest_others(backend: AnyBackend) -> None:
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


def test_collecting_where_nothing_is_published(backend: AnyBackend) -> None:
    made = [fill(backend, items(2), rows(2)).name for _ in range(3)]
    assert backend.collect(1) == made[:2]
    assert names(backend) == made[2:]


def test_an_item_is_there_once_and_as_it_was_last(backend: AnyBackend) -> None:
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


def test_removing_what_is_not_there_and_nothing_at_all(backend: AnyBackend) -> None:
    writer = backend.create(plan())
    writer.upload(items(2), rows(2))
    writer.remove(["item7", "item1", "item1"])
    writer.remove([])
    writer.upload([], rows(0))
    assert set(writer.state()) == {"item0"}
    writer.close()


def test_an_empty_generation(backend: AnyBackend) -> None:
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
def test_broken_features_are_refused(broken: list[float], message: str, backend: AnyBackend) -> None:
    writer, features = backend.create(plan()), rows(3)
    features[1] = broken
    with pytest.raises(SearchIndexError, match=message):
        writer.upload(items(3), features)
    assert writer.state() == {}
    writer.close()


@pytest.mark.parametrize("shape", [(3, DIM - 1), (3, DIM + 1), (2, DIM), (4, DIM), (DIM,), (3, 1, DIM)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...], backend: AnyBackend) -> None:
    writer = backend.create(plan())
    with pytest.raises(SearchIndexError, match=r"do not fit 3 items of 8 numbers each \(item0, item1, item2\)"):
        writer.upload(items(3), np.ones(shape, np.float32))
    writer.close()


def test_odd_ids(backend: AnyBackend) -> None:
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
        assert name not in found(reader, features[row], len(odd), without=[name])
    assert sorted(one.id for one in browsed(reader, 3)) == sorted(odd)
    reader.close()


def test_attributes_come_back_as_they_were(backend: AnyBackend) -> None:
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


def test_pages_fit_together_where_items_share_a_picture(backend: AnyBackend) -> None:
    """Catalogs have the same picture for several sizes; Qdrant alone would show some twice and others never."""
    copies, count = 16, 80
    reader = backend.open(fill(backend, items(count), np.repeat(rows(count // copies), copies, axis=0)).name)
    query = rows(1, seed=3)
    whole = found(reader, query, count)
    for limit in (1, 5, 12):
        paged = [name for offset in range(0, count, limit) for name in found(reader, query, limit, offset=offset)]
        assert paged == whole
    reader.close()


def test_a_generation_with_more_items_than_a_page_holds(backend: AnyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cirray.index.reader.PAGE", 4)
    reader = backend.open(fill(backend, items(11), rows(11)).name)
    assert set(reader.digests()) == {one.id for one in items(11)}
    reader.close()
