"""The feature store: what is written is read, whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cirray.errors import StoreError
from cirray.features.store import FeatureStore
from cirray.storage.location import Location

PRINT = "ab" * 32


def store_in(root: Path) -> FeatureStore:
    return FeatureStore(Location.parse(root), "image", PRINT)


def row(key: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(key).normal(size=width).astype(np.float32)


def rows(keys: range | list[int]) -> np.ndarray:
    return np.stack([row(key) for key in keys])


def names(keys: range | list[int]) -> list[str]:
    return [f"key{key}" for key in keys]


def assert_right(store: FeatureStore, keys: list[int]) -> None:
    np.testing.assert_array_equal(store.read(names(keys)).numpy(), rows(keys))


def test_rows_come_back_in_any_order_and_as_often_as_asked(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(names(range(5)), rows(range(5)))
    store.write(names([7, 5]), rows([7, 5]))
    for reader in (store, store_in(tmp_path)):
        assert_right(reader, [3, 7, 0, 3, 5, 5, 4])
        assert reader.read(["key0"]).dtype == torch.float32


def test_pixels_stay_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4), dtype=np.uint8)
    FeatureStore(Location.parse(tmp_path), "pixels", PRINT).write(["a", "b", "c"], pixels)
    found = FeatureStore(Location.parse(tmp_path), "pixels", PRINT).read(["c", "a"])
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), pixels[[2, 0]])


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(names([1, 2]), rows([1, 2]))
    store.read(names([1, 2])).zero_()
    assert_right(store, [1, 2])
    assert_right(store_in(tmp_path), [1, 2])


def test_missing_names_each_key_once_in_order(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.missing(["b", "a", "b"]) == ["b", "a"]
    assert not store.folder.exists()  # asking writes nothing
    store.write(["a", "c"], rows([1, 2]))
    assert store.missing(["b", "a", "d", "c", "b"]) == ["b", "d"]
    assert store.missing([]) == []


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(names([1]), rows([1]))
    with pytest.raises(StoreError, match="lacks 2 of 3 rows, such as key8"):
        store.read(names([8, 1, 9]))
    with pytest.raises(StoreError, match="no keys"):
        store.read([])


def test_kinds_and_fingerprints_do_not_mix(tmp_path: Path) -> None:
    store_in(tmp_path).write(names([1]), rows([1]))
    assert FeatureStore(Location.parse(tmp_path), "text", PRINT).missing(["key1"]) == ["key1"]
    assert FeatureStore(Location.parse(tmp_path), "image", "cd" * 32).missing(["key1"]) == ["key1"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(bad: float, tmp_path: Path) -> None:
    store, broken = store_in(tmp_path), rows([1, 2])
    broken[1, 2] = bad
    with pytest.raises(StoreError, match="NaN or infinity"):
        store.write(names([1, 2]), broken)
    assert store.missing(names([1, 2])) == names([1, 2])


def test_as_many_keys_as_rows(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="3 keys were given for 2 rows"):
        store_in(tmp_path).write(names([1, 2, 3]), rows([1, 2]))


def test_unfinished_files_are_no_shards(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    shard = store.write(names([1]), rows([1]))
    (store.folder / ".0123.tmp").write_bytes(shard.read_bytes()[:40])
    assert store_in(tmp_path).missing(names([1, 2])) == ["key2"]
    assert [path.name for path in store.folder.glob("*.safetensors")] == [shard.name]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_shard_is_named(share: float, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(names([1]), rows([1]))
    shard = store.write(names(range(2, 60)), rows(range(2, 60)))
    shard.write_bytes(shard.read_bytes()[: int(share * shard.stat().st_size)])
    with pytest.raises(StoreError, match=rf"{shard} is damaged .* delete it"):
        store_in(tmp_path).missing(["key1"])
    shard.unlink()
    assert store_in(tmp_path).missing(names([1, 2])) == ["key2"]


def test_a_shard_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    other = FeatureStore(Location.parse(tmp_path), "image", "cd" * 32)
    shard = other.write(names([1]), rows([1]))
    store.folder.mkdir()
    shard.rename(store.folder / shard.name)
    with pytest.raises(StoreError, match=f"{shard.name} has fingerprint {'cd' * 32}"):
        store.read(["key1"])


def test_a_safetensors_file_that_is_no_shard_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.folder.mkdir(parents=True)
    save_file({"rows": rows([1])}, store.folder / "x.safetensors")
    with pytest.raises(StoreError, match=r"x\.safetensors has fingerprint None"):
        store.missing(["key1"])


def test_a_reader_sees_what_is_written_after_it_was_opened(tmp_path: Path) -> None:
    reader, writer = store_in(tmp_path), store_in(tmp_path)
    writer.write(names([1]), rows([1]))
    assert_right(reader, [1])
    writer.write(names([2, 3]), rows([2, 3]))
    assert reader.missing(names([1, 2, 3, 4])) == ["key4"]
    writer.write(names([4]), rows([4]))
    assert_right(reader, [4, 1, 3])


def test_all_readers_prefer_the_same_copy_of_a_row(tmp_path: Path) -> None:
    """Two machines may round a feature differently; then every worker must still train on the same one."""
    for number in range(8):
        store_in(tmp_path).write(["key"], np.full((1, 4), number, dtype=np.float32))
    found = [store_in(tmp_path).read(["key"]) for _ in range(5)]
    assert all(torch.equal(copy, found[0]) for copy in found)
    first = min(store_in(tmp_path).folder.glob("*.safetensors"))
    header = json.loads(first.read_bytes()[8:].split(b"}}")[0].decode() + "}}")
    assert header["__metadata__"]["fingerprint"] == PRINT
    assert torch.equal(found[0][0], torch.frombuffer(bytearray(first.read_bytes()[-16:]), dtype=torch.float32))


WRITER = """
import sys
from pathlib import Path
from tests.test_store import names, rows, store_in
store = store_in(Path(sys.argv[1]))
start, stop = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for first in range(start, stop, 10):
    keys = range(first, min(first + 10, stop))
    store.write(names(keys), rows(keys))
    print(keys[-1], flush=True)
"""


def start_writer(root: Path, start: int, stop: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(start), str(stop)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def wait_until_ready(writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"


@pytest.mark.slow
def test_two_writers_at_once_and_one_that_is_killed(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, 0, 400), start_writer(tmp_path, 200, 600), start_writer(tmp_path, 1000, 10**6)]
    for writer in writers:
        wait_until_ready(writer)
    for writer in writers:
        go(writer)
    first, second, killed = writers
    assert killed.stdout is not None
    written = -1
    while written < 1050:  # in the middle of its work
        written = int(killed.stdout.readline())
    time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    for writer in (first, second):
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    reader = store_in(tmp_path)
    assert reader.missing(names(range(600))) == []
    assert_right(reader, list(range(600)))
    assert_right(reader, list(range(1000, written + 1)))  # what the killed one had finished is there
    asked = names(range(1000, 10**5))
    missing = reader.missing(asked)
    lost = set(missing)
    held = [int(name.removeprefix("key")) for name in asked if name not in lost]
    assert 0 < len(held) < len(asked)
    assert held == list(range(1000, 1000 + len(held)))  # shard by shard, no holes
    assert len(held) % 10 == 0
    assert_right(reader, held)
    again = missing[:20]  # and whoever comes next writes the rest
    reader.write(again, rows([int(name.removeprefix("key")) for name in again]))
    assert store_in(tmp_path).missing(again) == []
