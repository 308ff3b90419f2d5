"""Disk, memory, build time and latency of the embedded index, the measured points of `jobs/plan.py`.

python benchmarks/bench_edge.py [ITEMSxDIM[:int8|:binary] ...] [--write platform/cirray/capacity/capacity_points.json]

Each size is built through EdgeBackend with default settings; a new process then opens and searches it. With --write the
points are added to that file; a repeated size replaces the old point.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from cirray.config.indexing import Indexing
from cirray.data.attributes import Attribute
from cirray.index.backend import Generation, new_name
from cirray.index.edge import EdgeBackend
from cirray.index.items import Item
from cirray.storage.files import read_json, write_json

SIZES = ("10000x128", "50000x128")  # small, for make bench; docs/capacity.md has those of the planner
LATENT, NOISE = 32, 0.1  # image features have a low intrinsic dimension
SINGLE, BATCHES, BATCH, LIMIT = 1000, 20, 32, 10
JUDGED = 100
KINDS = {"category": "keyword", "colour": "keyword", "price": "number", "sale": "bool"}
PARTS = ("vectors", "quantized", "graph", "payload_index", "payload", "ids", "other")


def features(rows: int, dim: int, seed: int) -> Iterator[np.ndarray]:
    """Yields blocks of random features [B, dim] near a LATENT-dimensional subspace."""
    basis = np.random.default_rng(0).standard_normal((LATENT, dim)).astype(np.float32)
    random = np.random.default_rng(seed)
    block = Indexing().batch
    for start in range(0, rows, block):
        count = min(block, rows - start)
        latent = random.standard_normal((count, LATENT), np.float32)
        yield latent @ basis + NOISE * random.standard_normal((count, dim), np.float32)


def item(row: int) -> Item:
    """Returns an item of a synthetic shop."""
    attributes = {
        "category": f"category {row % 50}",
        "colour": f"colour {row * 7 % 12}",
        "price": row % 9973 / 10,
        "sale": row % 5 == 0,
    }
    return Item(f"P{row:09d}", f"/catalog/images/{row:09d}.jpg", f"{row:064x}", f"A garment, number {row}", attributes)


def build(root: Path, items: int, dim: int, quantization: Any) -> dict[str, float]:
    """Builds and publishes a generation; returns the time of its steps in seconds."""
    backend = EdgeBackend(root)
    settings = Indexing(quantization=quantization)
    attributes = [Attribute(name=name, kind=kind) for name, kind in KINDS.items()]
    plan = Generation(
        name=new_name(), image_fingerprint="", dim=dim, settings=settings, attributes=attributes, indexed=list(KINDS)
    )
    writer = backend.create(plan)
    upload, row = 0.0, 0
    for block in features(items, dim, 1):
        batch = [item(row + offset) for offset in range(len(block))]
        started = time.perf_counter()
        writer.upload(batch, block)
        upload += time.perf_counter() - started
        row += len(block)
    started, used = time.perf_counter(), time.process_time()
    writer.finish({})
    taken = {"build_s": time.perf_counter() - started, "build_core_s": time.process_time() - used}
    writer.close()
    backend.publish(plan.name)
    return {"upload_s": upload, **taken}


def linked(items: int, dim: int) -> int:
    """Returns how many attributes of `item` get additional links in the graph.

    Qdrant adds them for groups of items with equal values or nearby numbers if a group has more than threshold_kb of
    vectors and is not so large that it is connected anyway. That upper limit, 1/12 of all items, is inferred. Number
    attributes have groups of all sizes, so they count if any size qualifies.
    """
    least, most = 1024 * Indexing().hnsw.threshold_kb / (4 * dim), items / 12
    groups = {"category": items / 50, "colour": items / 12, "price": most, "sale": items / 5}
    return sum(least < size <= most for size in groups.values())


def disk(root: Path) -> dict[str, int]:
    """Returns the allocated bytes of a generation on disk, by part; holes of sparse files do not count."""
    found = dict.fromkeys(PARTS, 0)
    for path in root.glob("generations/*/shard/**/*"):
        if path.is_file():
            found[_part(path)] += path.stat().st_blocks * 512
    return found


def _part(path: Path) -> str:
    if path.name.startswith("quantized"):
        return "quantized"
    if path.name.startswith("id_tracker"):
        return "ids"
    folders = {
        "vector_storage": "vectors",
        "vector_index": "graph",
        "payload_index": "payload_index",
        "payload_storage": "payload",
    }
    return next((folders[part] for part in path.parts if part in folders), "other")


def exact(queries: np.ndarray, items: int, dim: int) -> list[list[str]]:
    """Returns the ids of the LIMIT nearest items of each query [Q, dim], by exhaustive search."""
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores = np.full((len(unit), 0), 0, np.float32)
    rows = np.full((len(unit), 0), 0)
    start = 0
    for block in features(items, dim, 1):
        found = unit @ (block / np.linalg.norm(block, axis=1, keepdims=True)).T
        scores = np.hstack([scores, found])
        rows = np.hstack([rows, np.broadcast_to(np.arange(start, start + len(block)), found.shape)])
        start += len(block)
        if scores.shape[1] >= 4096 or start == items:
            best = np.argpartition(-scores, LIMIT - 1, axis=1)[:, :LIMIT]
            scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    return [[item(int(row)).id for row in best] for best in rows]


def search(root: Path) -> dict[str, Any]:
    """Opens and searches the published generation; run in a new process, whose memory it reports."""
    queries = np.load(root / "queries.npy")
    wanted = read_json(root / "exact.json")
    process = psutil.Process()
    before = process.memory_full_info()
    backend = EdgeBackend(root)
    name = backend.published()
    assert name is not None
    started = time.perf_counter()
    reader = backend.open(name)
    opened = time.perf_counter() - started
    reader.search(queries[:BATCH], LIMIT)  # warm
    seconds = []
    used = time.process_time()
    for query in queries[:SINGLE]:
        started = time.perf_counter()
        reader.search(query, LIMIT)
        seconds.append(time.perf_counter() - started)
    single = (time.process_time() - used) / SINGLE
    used, started = time.process_time(), time.perf_counter()
    for number in range(BATCHES):
        reader.search(queries[number * BATCH : (number + 1) * BATCH], LIMIT)
    batch, batch_used = time.perf_counter() - started, time.process_time() - used
    found = [{hit.item.id for hit in hits} for hits in reader.search(queries[:JUDGED], LIMIT)]
    after = process.memory_full_info()
    return {
        "open_s": opened,
        "memory_bytes": after.rss - before.rss,
        "pss_bytes": after.pss - before.pss,
        "private_bytes": after.uss - before.uss,
        "query_p50_ms": 1000 * float(np.percentile(seconds, 50)),
        "query_p95_ms": 1000 * float(np.percentile(seconds, 95)),
        "query_p99_ms": 1000 * float(np.percentile(seconds, 99)),
        "query_core_ms": 1000 * single,
        "batch_ms": 1000 * batch / BATCHES,
        "batch_core_ms": 1000 * batch_used / BATCHES,
        "recall_at_10": sum(len(hits.intersection(ids)) for hits, ids in zip(found, wanted, strict=True))
        / (LIMIT * JUDGED),
    }


def measure(size: str) -> dict[str, Any]:
    """Measures one ITEMSxDIM[:QUANTIZATION]."""
    shape, _, quantization = size.partition(":")
    items, dim = (int(number) for number in shape.split("x"))
    with tempfile.TemporaryDirectory(prefix="bench_edge") as folder:
        root = Path(folder)
        taken = build(root, items, dim, quantization or "none")
        queries = np.vstack(list(features(SINGLE, dim, 2)))
        np.save(root / "queries.npy", queries)
        write_json(root / "exact.json", exact(queries[:JUDGED], items, dim))
        command = [sys.executable, __file__, "--search", folder]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        parts = disk(root)
    hnsw = Indexing().hnsw
    return {
        "items": items,
        "dim": dim,
        "quantization": quantization or "none",
        "m": hnsw.m,
        "ef_construct": hnsw.ef_construct,
        "ef_search": hnsw.ef_search,
        "threshold_kb": hnsw.threshold_kb,
        "payload_bytes": len(json.dumps(item(items - 1).payload(1.2345678), separators=(",", ":"))),
        "indexed": len(KINDS),
        "linked": linked(items, dim),
        "disk_bytes": sum(parts.values()),
        "disk": parts,
        **{name: round(value, 4) for name, value in taken.items()},
        **{name: round(value, 4) for name, value in found.items()},
    }


def show(points: Sequence[dict[str, Any]]) -> None:
    """Prints one column per point, each number with its ratio to the first column."""
    names = [name for name in points[0] if isinstance(points[0][name], (int, float))]
    heads = [f"{point['items']:,} x {point['dim']} {point['quantization']}" for point in points]
    print(f"{'':16}" + "".join(f"{head:>30}" for head in heads))
    for name in names:
        base = points[0][name]
        cells = [f"{point[name]:,.6g} ({point[name] / base:,.2f}x)" if base else f"{point[name]}" for point in points]
        print(f"{name:16}" + "".join(f"{cell:>30}" for cell in cells))


def write(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Adds points to a file; replaces points of the same size."""
    old = read_json(path)["points"] if path.exists() else []
    merged = {(point["items"], point["dim"], point["quantization"]): point for point in [*old, *points]}
    content = {
        "engine": f"qdrant-edge-py {version('qdrant-edge-py')}",
        "machine": f"{os.cpu_count()} cores that do other work too, {platform.machine()}",
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": "python benchmarks/bench_edge.py",
        "points": [merged[key] for key in sorted(merged)],
    }
    write_json(path, content)


def main(arguments: Sequence[str]) -> None:
    """Measures the given sizes, and prints or writes the points."""
    sizes = list(arguments)
    if sizes[:1] == ["--search"]:
        print(json.dumps(search(Path(sizes[1]))))
        return
    target = None
    if "--write" in sizes:
        where = sizes.index("--write")
        target = Path(sizes[where + 1])
        del sizes[where : where + 2]
    points = []
    for size in sizes or SIZES:
        points.append(measure(size))
        if target is not None:
            write(target, points)
    show(points)


if __name__ == "__main__":
    main(sys.argv[1:])
