"""What only a server's backend does: collections that others see, jobs side by side, changes item by item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from cirray.data.attributes import Attribute
from cirray.errors import SearchIndexError
from cirray.index import server
from cirray.index.backend import WritableBackend
from cirray.index.server import ServerBackend
from tests.support.index_backends import (
    DIM,
    KNOWN,
    QDRANT_WARNINGS,
    fill,
    item,
    items,
    memory_backend,
    plan,
    real_server,
    rows,
)

pytestmark = QDRANT_WARNINGS


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for the heartbeat of an unfinished generation."""
    monkeypatch.setattr(server, "ALIVE_S", 0.0)


@pytest.fixture(params=["memory", "server"])
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[ServerBackend, QdrantClient]]:
    with memory_backend() if request.param == "memory" else real_server() as found:
        yield found


@pytest.fixture
def backend(opened: tuple[ServerBackend, QdrantClient]) -> ServerBackend:
    return opened[0]


def collections(client: QdrantClient) -> list[str]:
    return sorted(entry.name for entry in client.get_collections().collections)


def test_a_server_goes_on_with_what_a_killed_job_left(backend: ServerBackend) -> None:
    old = fill(backend, items(1), rows(1))
    backend.publish(old.name)
    killed = backend.create(plan(attributes=KNOWN, indexed=["price"]))
    killed.upload(items(3), rows(3))
    news = [*KNOWN, Attribute(name="size", kind="keyword")]
    writer = backend.create(plan(attributes=news, indexed=["price"]))
    assert writer.generation.name == killed.generation.name
    assert writer.generation.attributes == news  # of today's catalog, not of the killed run's
    assert writer.state() == {one.id: one.digest() for one in items(3)}
    writer.remove(["item0"])
    writer.upload(items(5)[3:], rows(5)[3:])
    done = writer.finish({})
    assert (done.count, done.attributes) == (4, news)
    assert backend.generations() == [old, done]
    assert backend.published() == old.name


def test_a_server_throws_away_what_does_not_fit(opened: tuple[ServerBackend, QdrantClient]) -> None:
    backend, client = opened
    done = fill(backend, items(1), rows(1))
    left = backend.create(plan(image_fingerprint="cd" * 32))
    left.upload(items(3), rows(3))
    writer = backend.create(plan())
    assert writer.state() == {}
    assert collections(client) == [f"{backend.collection}--{name}" for name in (done.name, writer.generation.name)]


def test_a_server_creates_payload_indexes_that_a_killed_job_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_backend() as (backend, client):
        made: list[tuple[Any, ...]] = []
        monkeypatch.setattr(client, "create_payload_index", lambda *arguments: made.append(arguments[1:]))
        backend.create(plan(attributes=KNOWN, indexed=["price", "sale"]))
        made.clear()
        backend.create(plan(attributes=KNOWN, indexed=["price", "sale"]))
        assert made == [
            ("attributes.price", models.PayloadSchemaType.FLOAT),
            ("attributes.sale", models.PayloadSchemaType.BOOL),
        ]


def test_a_server_leaves_alone_what_it_cannot_read() -> None:
    with memory_backend() as (backend, client):
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        later = {**plan().model_dump(mode="json"), "format": 2}
        client.create_collection("test--of another version", size, metadata={"manifest": later, "complete": True})
        client.create_collection("test--foreign", size)
        client.create_collection("other--x", size)
        done = fill(backend, items(1), rows(1))
        backend.publish(done.name)
        assert backend.generations() == [done]
        assert backend.collect(1) == []
        assert set(collections(client)) == {
            "test--of another version", "test--foreign", "other--x", f"test--{done.name}"
        }  # fmt: skip


def test_backends_of_one_server_do_not_meet() -> None:
    client = QdrantClient(":memory:")
    one, other = (ServerBackend(client, client, name, "memory") for name in ("shop", "shop.two"))
    first, second = fill(one, items(1), rows(1)), fill(other, items(2), rows(2))
    one.publish(first.name)
    other.publish(second.name)
    assert (one.published(), other.published()) == (first.name, second.name)
    assert (one.generations(), other.generations()) == ([first], [second])
    client.close()


def test_a_collection_made_twice_because_an_answer_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_backend() as (backend, client):
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

    with memory_backend() as (backend, client):
        monkeypatch.setattr(client, "create_collection", refuse)
        with pytest.raises(SearchIndexError, match=r"create_collection: .*400"):
            backend.create(plan())


def test_finishing_waits_for_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GREEN_EVERY_S", 0.001)
    with memory_backend() as (backend, client):
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
    with memory_backend() as (backend, client):
        writer = backend.create(plan())
        red = client.get_collection(f"test--{writer.generation.name}").model_copy(
            update={"status": models.CollectionStatus.RED}
        )
        monkeypatch.setattr(client, "get_collection", lambda _: red)
        with pytest.raises(SearchIndexError, match=f"collection test--{writer.generation.name} failed"):
            writer.finish({})


def test_a_server_is_changed_item_by_item(backend: ServerBackend) -> None:
    assert isinstance(backend, WritableBackend)
    for change in (lambda: backend.put("none", items(1), rows(1)), lambda: backend.delete("none", ["item0"])):
        with pytest.raises(SearchIndexError, match="none is not published any more, None is"):
            change()
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    reader = backend.open(done.name)
    backend.put(done.name, [item(1, colour="red"), item(5)], rows(2, seed=5))
    backend.delete(done.name, ["item0", "nobody"])
    assert reader.items(["item0", "item1", "item5"]) == {"item1": item(1, colour="red"), "item5": item(5)}
    with pytest.raises(SearchIndexError, match="do not fit"):
        backend.put(done.name, items(1), np.ones((1, DIM + 1), np.float32))
    reader.close()


def test_a_server_keeps_two_jobs_apart(backend: ServerBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BEAT_S", 0.0)
    first = backend.create(plan())
    first.upload(items(2), rows(2))
    monkeypatch.setattr(server.time, "sleep", lambda _: first.upload(items(2), rows(2)))  # it works on meanwhile
    with pytest.raises(SearchIndexError, match="another job is writing test--"):
        backend.create(plan())
    monkeypatch.setattr(server.time, "sleep", lambda _: None)  # it was killed
    assert len(backend.create(plan()).state()) == 2
