"""The embedded index at a URI: what other machines see, and never see. The contract is in test_index_backends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cirray.config.indexing import IndexAccess
from cirray.errors import LocationError, SearchIndexError
from cirray.index import open_backend, remote
from cirray.index.backend import Generation
from cirray.index.remote import RemoteEdgeBackend
from cirray.storage.location import Location
from cirray.storage.remote import Remote
from tests.support.index_backends import fill, found, item, items, plan, rows


class Machines:
    """Homes of one index as machines with mirrors of their own open it."""

    def __init__(self, bucket: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.uri = f"{bucket}/index"
        self._folder = folder
        self._patch = patch

    def backend(self, machine: str) -> RemoteEdgeBackend:
        self._patch.setenv("CIRRAY_HOME", str(self._folder / machine))
        return RemoteEdgeBackend(Location.parse(self.uri))

    def names(self) -> list[str]:
        return sorted(Remote(self.uri).names())


@pytest.fixture
def machines(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(bucket, tmp_path, monkeypatch)


def publish(backend: RemoteEdgeBackend, count: int) -> Generation:
    done = fill(backend, items(count), rows(count))
    backend.publish(done.name)
    return done


def mirrored(backend: RemoteEdgeBackend) -> list[str]:
    return sorted(path.name for path in backend.root.glob("generations/*"))


def test_another_machine_fetches_a_generation_whole_and_searches(machines: Machines) -> None:
    done = publish(machines.backend("writer"), 30)
    below = f"generations/{done.name}"
    assert machines.names() == [f"{below}/generation.json", f"{below}/shard.tar.zst", "published.json"]
    backend = machines.backend("reader")
    assert (backend.published(), backend.generations()) == (done.name, [done])
    assert mirrored(backend) == [], "asking what is published fetches nothing"
    reader = backend.open(done.name)
    assert found(reader, rows(30)[7])[0] == "item7"
    assert reader.digests() == {one.id: one.digest() for one in items(30)}
    reader.close()
    assert [path.name for path in backend.root.iterdir()] == ["generations"], "nothing of the fetching is left"


def test_what_was_fetched_is_opened_again_without_the_object(machines: Machines) -> None:
    done = publish(machines.backend("writer"), 3)
    backend = machines.backend("reader")
    backend.open(done.name).close()
    Remote(machines.uri).delete(f"generations/{done.name}/shard.tar.zst")
    reader = backend.open(done.name)
    assert reader.count() == 3
    reader.close()
    with pytest.raises(LocationError, match=rf"{machines.uri}/generations/{done.name}/shard\.tar\.zst"):
        machines.backend("third").open(done.name)


def test_another_machine_begins_with_a_copy_of_the_published_generation(machines: Machines) -> None:
    publish(machines.backend("first"), 4)
    backend = machines.backend("second")
    writer = backend.create(plan())
    assert writer.state() == {one.id: one.digest() for one in items(4)}
    writer.upload([item(9)], rows(1))
    done = writer.finish({})
    writer.close()
    backend.publish(done.name)
    reader = machines.backend("first").open(done.name)
    assert reader.count() == 5
    reader.close()


def test_a_generation_is_there_with_its_manifest(machines: Machines) -> None:
    backend = machines.backend("writer")
    before = publish(backend, 2)
    done = fill(backend, items(3), rows(3))
    Remote(machines.uri).delete(f"generations/{done.name}/generation.json")  # as a kill before it leaves it
    for one in (backend, machines.backend("reader")):
        assert one.generations() == [before]
        with pytest.raises(SearchIndexError, match=rf"{machines.uri} has no complete generation {done.name}"):
            one.open(done.name)
        with pytest.raises(SearchIndexError, match="no complete generation"):
            one.publish(done.name)
    assert backend.published() == before.name


def test_nobody_sees_a_generation_that_is_being_sent(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, seen = remote.pack, []

    def watched(*arguments: Any) -> None:
        pack(*arguments)
        seen.append(RemoteEdgeBackend(Location.parse(machines.uri)).generations())

    monkeypatch.setattr(remote, "pack", watched)
    backend = machines.backend("writer")
    done = fill(backend, items(2), rows(2))
    assert seen == [[]]
    assert backend.generations() == [done]


def test_what_a_killed_job_left_is_thrown_away_when_it_is_old(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = machines.backend("writer")
    old, young = "20000101t000000000000-killed", fill(backend, items(2), rows(2)).name
    for name in (old, young):
        Remote(machines.uri).write(f"generations/{name}/shard.tar.zst", b"half of it")
    Remote(machines.uri).delete(f"generations/{young}/generation.json")
    done = publish(backend, 1)
    left = {name.split("/")[1] for name in machines.names() if "/" in name}
    assert left == {young, done.name}, "another machine may still be at work on a young one"
    assert mirrored(backend) == [done.name]


def test_who_was_overtaken_publishes_nothing(machines: Machines) -> None:
    ours = machines.backend("ours")
    publish(ours, 1)
    with ours.lock():
        done = fill(ours, items(2), rows(2))
        theirs = publish(machines.backend("theirs"), 3)
        with pytest.raises(
            SearchIndexError, match=f"another job published {theirs.name} while this one ran; {done.name} was not"
        ):
            ours.publish(done.name)
        assert ours.published() == theirs.name
    with ours.lock():
        ours.publish(done.name)
        ours.publish(theirs.name)  # our own change is no surprise
    assert ours.published() == theirs.name


def test_jobs_of_one_machine_are_kept_apart(machines: Machines) -> None:
    backend = machines.backend("writer")
    with (
        backend.lock(),
        pytest.raises(SearchIndexError, match=f"another job is writing to the index {machines.uri}: wait for it"),
    ):
        machines.backend("writer").create(plan())


def test_a_discarded_generation_is_gone_and_is_forgotten_by_other_machines(machines: Machines) -> None:
    writer, reader = machines.backend("writer"), machines.backend("reader")
    first = publish(writer, 2)
    held = reader.open(first.name)
    second = publish(writer, 3)
    assert writer.collect(1) == [first.name]
    assert {name.split("/")[1] for name in machines.names() if "/" in name} == {second.name}
    assert mirrored(writer) == [second.name]
    assert mirrored(reader) == [first.name]
    assert held.count() == 2, "who still reads it is not disturbed"
    reader.open(second.name).close()
    assert mirrored(reader) == [second.name]
    assert found(held, rows(2)[1])[0] == "item1"
    held.close()


def test_what_a_killed_reader_left_is_thrown_away_when_it_is_old(machines: Machines) -> None:
    done = publish(machines.backend("writer"), 1)
    backend = machines.backend("reader")
    for name, age in ((".old", 90_000), (".young", 80_000)):
        (backend.root / name / "shard").mkdir(parents=True)
        os.utime(backend.root / name, (time.time() - age, time.time() - age))
    backend.open(done.name).close()
    assert sorted(path.name for path in backend.root.iterdir()) == [".young", "generations"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "no archive"])
def test_a_damaged_object_leaves_nothing_half_fetched(machines: Machines, damage: str) -> None:
    done = publish(machines.backend("writer"), 5)
    remote, name = Remote(machines.uri), f"generations/{done.name}/shard.tar.zst"
    whole = remote.read(name) or b""
    remote.write(name, {"cut": whole[: len(whole) // 2], "garbage": b"garbage" * 99, "no archive": b""}[damage])
    backend = machines.backend("reader")
    for _ in range(2):
        with pytest.raises((SearchIndexError, LocationError), match=done.name):
            backend.open(done.name)
        assert [path for path in backend.root.rglob("*") if path.is_file()] == []
    remote.write(name, whole)
    reader = backend.open(done.name)
    assert reader.count() == 5
    reader.close()


def test_two_readers_of_one_machine_fetch_at_the_same_time(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    done = publish(machines.backend("writer"), 5)
    backend, other = machines.backend("reader"), machines.backend("reader")
    unpack = remote.unpack

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(remote, "unpack", unpack)
        other.open(done.name).close()
        unpack(*arguments)

    monkeypatch.setattr(remote, "unpack", overtaken)
    reader = backend.open(done.name)
    assert reader.count() == 5
    reader.close()
    assert [path.name for path in backend.root.iterdir()] == ["generations"]


def test_a_uri_is_opened_as_it_is_configured(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    backend = open_backend(IndexAccess(path=f"{bucket}/index/"))
    assert isinstance(backend, RemoteEdgeBackend)
    assert backend.where == f"{bucket}/index"
    assert backend.published() is None
