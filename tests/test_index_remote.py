"""The embedded index at a URI: what other machines see, and never see. The contract is in test_index_homes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cirray.config.schema import Indexing
from cirray.errors import PlaceError, SearchIndexError
from cirray.index import open_home, remote
from cirray.index.backend import Generation
from cirray.index.remote import RemoteEdgeHome
from cirray.storage.location import Remote
from tests.test_index_homes import fill, found, item, items, plan, rows


class Machines:
    """Homes of one index as machines with mirrors of their own open it."""

    def __init__(self, bucket: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.uri = f"{bucket}/index"
        self._folder = folder
        self._patch = patch

    def home(self, machine: str) -> RemoteEdgeHome:
        self._patch.setenv("CIRRAY_HOME", str(self._folder / machine))
        return RemoteEdgeHome(self.uri)

    def names(self) -> list[str]:
        return sorted(Remote(self.uri).names())


@pytest.fixture
def machines(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(bucket, tmp_path, monkeypatch)


def publish(home: RemoteEdgeHome, count: int) -> Generation:
    done = fill(home, items(count), rows(count))
    home.publish(done.name)
    return done


def mirrored(home: RemoteEdgeHome) -> list[str]:
    return sorted(path.name for path in home.root.glob("generations/*"))


def test_another_machine_fetches_a_generation_whole_and_searches(machines: Machines) -> None:
    done = publish(machines.home("writer"), 30)
    below = f"generations/{done.name}"
    assert machines.names() == [f"{below}/generation.json", f"{below}/shard.tar.zst", "published.json"]
    home = machines.home("reader")
    assert (home.published(), home.generations()) == (done.name, [done])
    assert mirrored(home) == [], "asking what is published fetches nothing"
    reader = home.open(done.name)
    assert found(reader, rows(30)[7])[0] == "item7"
    assert reader.digests() == {one.id: one.digest() for one in items(30)}
    reader.close()
    assert [path.name for path in home.root.iterdir()] == ["generations"], "nothing of the fetching is left"


def test_what_was_fetched_is_opened_again_without_the_object(machines: Machines) -> None:
    done = publish(machines.home("writer"), 3)
    home = machines.home("reader")
    home.open(done.name).close()
    Remote(machines.uri).delete(f"generations/{done.name}/shard.tar.zst")
    reader = home.open(done.name)
    assert reader.count() == 3
    reader.close()
    with pytest.raises(PlaceError, match=rf"{machines.uri}/generations/{done.name}/shard\.tar\.zst"):
        machines.home("third").open(done.name)


def test_another_machine_begins_with_a_copy_of_the_published_generation(machines: Machines) -> None:
    publish(machines.home("first"), 4)
    home = machines.home("second")
    writer = home.create(plan())
    assert writer.state() == {one.id: one.digest() for one in items(4)}
    writer.upload([item(9)], rows(1))
    done = writer.finish({})
    writer.close()
    home.publish(done.name)
    reader = machines.home("first").open(done.name)
    assert reader.count() == 5
    reader.close()


def test_a_generation_is_there_with_its_manifest(machines: Machines) -> None:
    home = machines.home("writer")
    before = publish(home, 2)
    done = fill(home, items(3), rows(3))
    Remote(machines.uri).delete(f"generations/{done.name}/generation.json")  # as a kill before it leaves it
    for one in (home, machines.home("reader")):
        assert one.generations() == [before]
        with pytest.raises(SearchIndexError, match=rf"{machines.uri} has no complete generation {done.name}"):
            one.open(done.name)
        with pytest.raises(SearchIndexError, match="no complete generation"):
            one.publish(done.name)
    assert home.published() == before.name


def test_nobody_sees_a_generation_that_is_being_sent(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, seen = remote.pack, []

    def watched(*arguments: Any) -> None:
        pack(*arguments)
        seen.append(RemoteEdgeHome(machines.uri).generations())

    monkeypatch.setattr(remote, "pack", watched)
    home = machines.home("writer")
    done = fill(home, items(2), rows(2))
    assert seen == [[]]
    assert home.generations() == [done]


def test_what_a_killed_job_left_is_thrown_away_when_it_is_old(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machines.home("writer")
    old, young = "20000101t000000000000-killed", fill(home, items(2), rows(2)).name
    for name in (old, young):
        Remote(machines.uri).write(f"generations/{name}/shard.tar.zst", b"half of it")
    Remote(machines.uri).delete(f"generations/{young}/generation.json")
    done = publish(home, 1)
    left = {name.split("/")[1] for name in machines.names() if "/" in name}
    assert left == {young, done.name}, "another machine may still be at work on a young one"
    assert mirrored(home) == [done.name]


def test_who_was_overtaken_publishes_nothing(machines: Machines) -> None:
    ours = machines.home("ours")
    publish(ours, 1)
    with ours.alone():
        done = fill(ours, items(2), rows(2))
        theirs = publish(machines.home("theirs"), 3)
        with pytest.raises(
            SearchIndexError, match=f"another job has published {theirs.name} meanwhile, and {done.name} was not"
        ):
            ours.publish(done.name)
        assert ours.published() == theirs.name
    with ours.alone():
        ours.publish(done.name)
        ours.publish(theirs.name)  # our own change is no surprise
    assert ours.published() == theirs.name


def test_jobs_of_one_machine_are_kept_apart(machines: Machines) -> None:
    home = machines.home("writer")
    with (
        home.alone(),
        pytest.raises(SearchIndexError, match=f"another job is writing to the index {machines.uri}: wait for it"),
    ):
        machines.home("writer").create(plan())


def test_a_discarded_generation_is_gone_and_is_forgotten_by_other_machines(machines: Machines) -> None:
    writer, reader = machines.home("writer"), machines.home("reader")
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
    done = publish(machines.home("writer"), 1)
    home = machines.home("reader")
    for name, age in ((".old", 90_000), (".young", 80_000)):
        (home.root / name / "shard").mkdir(parents=True)
        os.utime(home.root / name, (time.time() - age, time.time() - age))
    home.open(done.name).close()
    assert sorted(path.name for path in home.root.iterdir()) == [".young", "generations"]


@pytest.mark.parametrize("damage", ["cut", "garbage", "no archive"])
def test_a_damaged_object_leaves_nothing_half_fetched(machines: Machines, damage: str) -> None:
    done = publish(machines.home("writer"), 5)
    place, name = Remote(machines.uri), f"generations/{done.name}/shard.tar.zst"
    whole = place.read(name) or b""
    place.write(name, {"cut": whole[: len(whole) // 2], "garbage": b"garbage" * 99, "no archive": b""}[damage])
    home = machines.home("reader")
    for _ in range(2):
        with pytest.raises((SearchIndexError, PlaceError), match=done.name):
            home.open(done.name)
        assert [path for path in home.root.rglob("*") if path.is_file()] == []
    place.write(name, whole)
    reader = home.open(done.name)
    assert reader.count() == 5
    reader.close()


def test_two_readers_of_one_machine_fetch_at_the_same_time(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    done = publish(machines.home("writer"), 5)
    home, other = machines.home("reader"), machines.home("reader")
    unpack = remote.unpack

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(remote, "unpack", unpack)
        other.open(done.name).close()
        unpack(*arguments)

    monkeypatch.setattr(remote, "unpack", overtaken)
    reader = home.open(done.name)
    assert reader.count() == 5
    reader.close()
    assert [path.name for path in home.root.iterdir()] == ["generations"]


def test_a_uri_is_opened_as_it_is_configured(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    home = open_home(Indexing(path=f"{bucket}/index/"))
    assert isinstance(home, RemoteEdgeHome)
    assert home.where == f"{bucket}/index"
    assert home.published() is None
