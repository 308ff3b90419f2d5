"""The cost model of the engine, fitted to measured points: bytes and core seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cirray.capacity.formulas import graph_bytes, has_graph, payload_disk_bytes, quantized_bytes, vector_bytes
from cirray.capacity.inputs import PlanInputs
from cirray.capacity.points import Point
from cirray.config.section import Section


class Model(Section):
    """Coefficients of the engine's cost.

    Attributes:
        fill: see `graph_bytes`.
        index_item: bytes of the payload index per item and indexed attribute.
        memory_fixed, memory_item: remaining bytes of memory per shard, and per item.
        disk_fixed, disk_item: the same on disk.
        search: (a, b): core seconds per query = log2(items) x (a + b dim).
        build: (a, b): core seconds per item = (1 + linked) x log2(items) x (a + b dim).
        scan: core seconds per query, item and dimension, without a graph.
        upload: (a, b): seconds per item = a + b dim.
        ef: the ef_search of the measured points.
        tail95, tail99: 95th and 99th percentile of the query time / mean core time of a query.
    """

    fill: float
    index_item: float
    memory_fixed: float
    memory_item: float
    disk_fixed: float
    disk_item: float
    search: tuple[float, float]
    build: tuple[float, float]
    scan: float
    upload: tuple[float, float]
    ef: int
    tail95: float
    tail99: float

    def graph(self, items: int, inputs: PlanInputs) -> float:
        """Returns the bytes of the graph of one shard."""
        if not has_graph(items, inputs.dim, inputs.threshold_kb):
            return 0.0
        return graph_bytes(items, inputs.m, self.fill, inputs.links_of_attributes)

    def index(self, items: int, indexed: int) -> float:
        """Returns the bytes of the payload index."""
        return self.index_item * items * indexed

    def memory_rest(self, items: int, shards: int = 1) -> float:
        """Returns the remaining bytes of memory: ids, versions, bookkeeping and mapped pages."""
        return self.memory_fixed * shards + self.memory_item * items

    def disk_rest(self, items: int, shards: int = 1) -> float:
        """Returns the remaining bytes on disk: ids, versions and bookkeeping."""
        return self.disk_fixed * shards + self.disk_item * items

    def search_core_s(self, items: int, dim: int, ef: int, threshold_kb: int) -> float:
        """Returns the core seconds of a query in one shard.

        log2(items) x (a + b dim) x ef / measured ef; without a graph items x dim x scan.
        """
        if not has_graph(items, dim, threshold_kb):
            return self.scan * items * dim
        return math.log2(items) * (self.search[0] + self.search[1] * dim) * ef / self.ef

    def build_core_s(self, items: int, dim: int, threshold_kb: int, linked: int) -> float:
        """Returns the core seconds to build one shard's graph: items x (1 + linked) x log2(items) x (a + b dim)."""
        if not has_graph(items, dim, threshold_kb):
            return 0.0
        return items * (1 + linked) * math.log2(items) * (self.build[0] + self.build[1] * dim)

    def point_memory(self, point: Point) -> float:
        """Returns the predicted memory of a measured point, whose process maps float and quantized vectors."""
        return self.memory_rest(point.items) + _known_memory(point, self.fill, self.index_item)

    def point_disk(self, point: Point) -> float:
        """Returns the predicted bytes on disk of a measured point."""
        payload = payload_disk_bytes(point.items, point.payload_bytes)
        return self.disk_rest(point.items) + payload + _known_memory(point, self.fill, self.index_item)


def fit_model(points: Sequence[Point]) -> Model:
    """Fits the model by least squares of relative errors, to the points without quantization."""
    plain = [point for point in points if point.quantization == "none"]
    graphs = [point for point in plain if point.has_graph]
    scans = [point for point in plain if not point.has_graph] or graphs
    largest = max(plain, key=lambda point: point.items)
    fill = _mean(point.disk["graph"] / graph_bytes(point.items, point.m, 1.0, point.linked) for point in graphs)
    index_item = largest.disk["payload_index"] / (largest.items * largest.indexed)

    def rest(point: Point, total: int, payload: float) -> float:
        return total - payload - _known_memory(point, fill, index_item)

    memory = fit_two([(1.0, p.items, rest(p, p.memory_bytes, 0.0), p.memory_bytes) for p in plain])
    stored = [(p, payload_disk_bytes(p.items, p.payload_bytes)) for p in plain]
    disk = fit_two([(1.0, p.items, rest(p, p.disk_bytes, payload), p.disk_bytes) for p, payload in stored])
    logs = [(p, math.log2(p.items)) for p in graphs]
    query = [(log, log * p.dim, p.query_core_ms / 1000, p.query_core_ms / 1000) for p, log in logs]
    works = [(p, p.items * log * (1 + p.linked)) for p, log in logs]
    built = [(work, work * p.dim, p.build_core_s, p.build_core_s) for p, work in works]
    upload = [(p.items, p.items * p.dim, p.upload_s, p.upload_s) for p in plain]
    return Model(
        fill=fill,
        index_item=index_item,
        memory_fixed=memory[0],
        memory_item=memory[1],
        disk_fixed=disk[0],
        disk_item=disk[1],
        search=fit_two(query),
        build=fit_two(built),
        scan=_mean(point.query_core_ms / 1000 / (point.items * point.dim) for point in scans),
        upload=fit_two(upload),
        ef=largest.ef_search,
        tail95=max(point.query_p95_ms / point.query_core_ms for point in graphs),
        tail99=max(point.query_p99_ms / point.query_core_ms for point in graphs),
    )


def fit_two(rows: Sequence[tuple[float, float, float, float]]) -> tuple[float, float]:
    """Returns a, b >= 0 that minimise sum(((a x + b y - z) / weight)^2) over rows (x, y, z, weight).

    If x and y are collinear, a is 0.
    """
    scaled = [(x / w, y / w, z / w) for x, y, z, w in rows]
    xx, xy, yy = (sum(row[i] * row[j] for row in scaled) for i, j in ((0, 0), (0, 1), (1, 1)))
    xz, yz = (sum(row[i] * row[2] for row in scaled) for i in (0, 1))
    determinant = xx * yy - xy * xy
    if determinant > 1e-9 * xx * yy:
        a, b = (yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant
        if a >= 0 and b >= 0:
            return a, b
        if b < 0:
            return max(0.0, xz / xx), 0.0
    return 0.0, max(0.0, yz / yy)


def _known_memory(point: Point, fill: float, index_item: float) -> float:
    graph = graph_bytes(point.items, point.m, fill, point.linked) if point.has_graph else 0.0
    vectors = vector_bytes(point.items, point.dim) + quantized_bytes(point.items, point.dim, point.quantization)
    return vectors + graph + index_item * point.items * point.indexed


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
