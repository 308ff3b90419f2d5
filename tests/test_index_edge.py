"""What only the embedded backend does: copies of the published generation, one writer, files that many map."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cirray.config.indexing import Hnsw, IndexShape
from cirray.data.filters import Filter
from cirray.errors import SearchIndexError
from cirray.index.backend import WritableBackend
from cirray.index.edge import EdgeBackend
from tests.support.index_backends import KNOWN, fill, found, item, items, plan, rows


@pytest.fixture
def backend(tmp_path: Path) -> EdgeBackend:
    return EdgeBackend(tmp_path / "index")


def test_begins_with_a_copy_of_the_published_generation(backend: EdgeBackend) -> None:
    features = rows(6)
    old = fill(backend, items(4), features[:4], attributes=KNOWN, indexed=["price"])
    writer = backend.create(plan(attributes=KNOWN, indexed=["price"]))
    assert writer.state() == {}  # complete, but not published
    writer.close()
    backend.publish(old.name)
    writer = backend.create(plan(attributes=KNOWN, indexed=["price"]))
    assert writer.state() == {one.id: one.digest() for one in items(4)}
    writer.remove(["item0"])
    writer.upload([item(1, price=3), *items(6)[4:]], features[[1, 4, 5]])
    new = writer.finish({})
    writer.close()
    assert new.count == 5
    readers = [backend.open(generation.name) for generation in (old, new)]
    assert [set(reader.digests()) for reader in readers] == [
        {f"item{number}" for number in range(4)},
        {f"item{number}" for number in range(1, 6)},
    ]
    assert [reader.count(Filter({"price": 3})) for reader in readers] == [0, 1]
    for number in range(1, 6):
        assert found(readers[1], features[number])[0] == f"item{number}"
    for reader in readers:
        reader.close()


def test_begins_with_nothing_for_another_fingerprint(backend: EdgeBackend) -> None:
    backend.publish(fill(backend, items(4), rows(4)).name)
    writer = backend.create(plan(image_fingerprint="cd" * 32))
    assert writer.state() == {}
    writer.close()


def test_has_one_writer_at_a_time(backend: EdgeBackend) -> None:
    writer = backend.create(plan())
    writer.upload(items(2), rows(2))
    holder = (backend.root / "writer.lock").read_text()
    with pytest.raises(SearchIndexError, match=f"another job is writing to the index {backend.root}: wait for it"):
        backend.create(plan())
    assert (backend.root / "writer.lock").read_text() == holder == f"{os.getpid()}\n"
    assert set(writer.state()) == {"item0", "item1"}  # the refused one has deleted nothing
    writer.finish({})
    with pytest.raises(SearchIndexError, match="another job"):
        backend.create(plan())
    writer.close()
    writer.close()
    backend.create(plan()).close()


def test_forgets_what_was_given_up(backend: EdgeBackend) -> None:
    writer = backend.create(plan())
    writer.upload(items(2), rows(2))
    writer.close()
    with pytest.raises(SearchIndexError, match="not initialized"):
        writer.state()
    writer = backend.create(plan())
    assert writer.state() == {}
    folders = [path.name for path in (backend.root / "generations").iterdir()]
    assert folders == [writer.generation.name]
    writer.close()


def test_copies_no_temporary_files_of_readers(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    (backend.root / "generations" / done.name / "shard" / ".atomicwriteXYZ").mkdir()
    new = fill(backend, items(2), rows(2))
    assert not list((backend.root / "generations" / new.name).rglob(".atomicwrite*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from cirray.index.edge import EdgeBackend
from tests.support.index_backends import items, plan, rows
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
def test_after_a_writer_was_killed(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    killed = python(KILLED, str(backend.root))
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    left = backend.root / "generations" / "20000101t000000000-killed"
    assert left.is_dir()
    assert backend.generations() == [done]
    writer = backend.create(plan())
    assert not left.exists()
    assert set(writer.state()) == {"item0", "item1"}
    writer.upload(items(4)[2:], rows(4)[2:])
    new = writer.finish({})
    writer.close()
    backend.publish(new.name)
    reader = backend.open(new.name)
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


def test_is_read_by_several_processes_at_once(backend: EdgeBackend) -> None:
    done = fill(backend, items(30), rows(30))
    backend.publish(done.name)
    before = contents(backend.root)
    readers = [python(READER, str(backend.root)) for _ in range(2)]
    own = backend.open(done.name)
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
    assert contents(backend.root) == before


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_with_a_graph(quantization: str, backend: EdgeBackend) -> None:
    count, features = 400, rows(400)
    build = IndexShape(hnsw=Hnsw(threshold_kb=1), quantization=quantization)
    done = fill(backend, [item(n, half=n % 2) for n in range(count)], features, settings=build)
    files = {path.name for path in backend.root.rglob("*") if path.is_file()}
    assert any("graph" in name for name in files)
    assert any("quantized" in name for name in files) == (quantization != "none")
    reader = backend.open(done.name)
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


def test_after_most_items_were_replaced(backend: EdgeBackend) -> None:
    build = IndexShape(hnsw=Hnsw(threshold_kb=1))
    backend.publish(fill(backend, items(300), rows(300), settings=build).name)
    writer = backend.create(plan(settings=build))
    writer.remove([one.id for one in items(300)[:200]])
    writer.upload(items(350)[250:], rows(100, seed=4))
    done = writer.finish({})
    writer.close()
    assert done.count == 150
    reader = backend.open(done.name)
    assert set(reader.digests()) == {one.id for one in items(350)[200:]}
    kept, changed = rows(300)[200:250], rows(100, seed=4)
    for hits, number in zip(reader.search(np.concatenate([kept, changed]), 1), range(200, 350), strict=True):
        assert [hit.item.id for hit in hits] == [f"item{number}"]
    reader.close()


def test_answers_no_more_once_closed(backend: EdgeBackend) -> None:
    reader = backend.open(fill(backend, items(2), rows(2)).name)
    reader.close()
    reader.close()
    for call in (reader.count, reader.digests, lambda: reader.search(rows(1), 1), lambda: reader.browse(1)):
        with pytest.raises(SearchIndexError, match=r"index generation .*: .*not initialized"):
            call()


def test_with_a_damaged_manifest(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    path = backend.root / "generations" / done.name / "generation.json"
    for content in (path.read_text()[:50], "{}", path.read_text().replace('"format": 1', '"format": 2')):
        path.write_text(content)
        with pytest.raises(
            SearchIndexError, match=r"(?s)generation\.json is damaged .*: delete its folder and index again"
        ):
            backend.open(done.name)


def test_with_a_damaged_pointer(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    pointer = backend.root / "published.json"
    for content in ("", "[]", "{}"):
        pointer.write_text(content)
        with pytest.raises(SearchIndexError, match=r"published\.json is damaged .*: delete it and index again"):
            backend.published()
    pointer.unlink()
    assert backend.published() is None


def test_with_files_that_are_gone(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    folder = backend.root / "generations" / done.name
    (folder / "shard").rename(folder / "elsewhere")
    with pytest.raises(SearchIndexError, match=f"index generation {folder}: "):
        backend.open(done.name)


def test_goes_on_after_the_published_generation_was_deleted_by_hand(backend: EdgeBackend) -> None:
    done = fill(backend, items(2), rows(2))
    backend.publish(done.name)
    folder = backend.root / "generations" / done.name
    folder.rename(backend.root / "moved away")
    (backend.root / "generations" / "a file").write_text("no generation")
    assert backend.published() is None
    new = fill(backend, items(3), rows(3))
    backend.publish(new.name)
    assert backend.published() == new.name
    assert backend.generations() == [new]


def test_is_no_writable_backend(backend: EdgeBackend) -> None:
    assert not isinstance(backend, WritableBackend)
