"""Capacity planning: from a number of items and a query rate to memory, disk, nodes, replicas and hours.

Every figure carries its formula and its basis. What the engine takes (bytes, core seconds) is fitted to points measured
with `benchmarks/bench_edge.py`; what cannot be measured here is a vendor's word, or given by whoever asks. Sizes are in
bytes, 1 GB = 10^9 bytes; times in seconds; rates per second. Pure functions, no plots, no network.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from cirray.config import Hnsw, Indexing, Section, Serving
from cirray.errors import ConfigError
from cirray.files import read_json

Basis = Literal["measured", "vendor", "formula", "assumed", "given"]
Quantization = Literal["none", "int8", "binary"]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]

GB = 1e9
HOURS_A_MONTH = 730.0
INT8_FROM = 1_000_000
BITS_ID = 32
# Qdrant's payload storage keeps values in blocks of 128 bytes, and 16 bytes of pointer an item.
BLOCK, POINTER = 128, 16
VENDOR_MARGIN = 1.5
# The published anchor: 1M x 1536, int8 and rescoring, 8 CPUs, ef 64: 1,235 requests/s from 100 threads.
ANCHOR_ITEMS, ANCHOR_DIM, ANCHOR_EF, ANCHOR_CORE_S = 1_000_000, 1536, 64, 8 / 1235
# Recall@10 at 100,000 items where no point of ours says it; int8 before rescoring, so a lower bound.
RECALL = {"int8": 0.97, "binary": 0.90}
# A search for 10 hits asks a shard for 16 more (cirray.index.items.TIES), and rescores oversampling times as many.
HITS = 26
SOURCES = {
    "measured": "on this project's machine, two busy cores, times good to about 2x: benchmarks/bench_edge.py, and a "
    "bare Ray Serve application for the ingress rate",
    "vendor": "Qdrant's documentation and published benchmark; not checked here",
    "formula": "follows from its formula and the numbers above it",
    "assumed": "a default of ours that nobody measured: replace it by a number of your own",
    "given": "from the command line",
}


class Point(Section):
    """One measured size of the embedded index; see `benchmarks/bench_edge.py` for how each number is taken."""

    items: Positive
    dim: Positive
    quantization: Quantization
    m: int = Field(ge=2)
    ef_construct: Positive
    ef_search: Positive
    threshold_kb: Positive
    payload_bytes: Positive
    indexed: Positive
    disk_bytes: Positive
    disk: dict[str, int]
    upload_s: float
    build_s: float
    build_core_s: float
    open_s: float
    memory_bytes: Positive
    pss_bytes: int
    private_bytes: int
    query_p50_ms: float
    query_p95_ms: float
    query_p99_ms: float
    query_core_ms: float
    batch_ms: float
    batch_core_ms: float
    recall_at_10: float

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.items:,} x {self.dim}" + ("" if self.quantization == "none" else f" {self.quantization}")

    @property
    def has_graph(self) -> bool:
        """Whether it was large enough for a graph."""
        return has_graph(self.items, self.dim, self.threshold_kb)


class Points(Section):
    """A file of measured points."""

    engine: str
    machine: str
    measured: str
    command: str
    points: tuple[Point, ...]

    @model_validator(mode="after")
    def _are_enough(self) -> Points:
        plain = [point for point in self.points if point.quantization == "none"]
        if sum(point.has_graph for point in plain) < 2 or len(plain) < 3:
            raise ValueError("needs three sizes without quantization, two of them large enough for a graph")
        return self


class PlanInputs(Section):
    """What a plan starts from."""

    items: int = Field(ge=1, le=10**12, description="items in the catalogue")
    dim: int = Field(ge=1, le=65_535, description="numbers a vector: the width of the image features")
    qps: Rate = Field(description="searches a second at the busiest time")
    replicas: int = Field(2, ge=1, le=100, description="copies of every shard, on different nodes")
    quantization: Literal["auto", "none", "int8", "binary"] = Field(
        "auto", description="auto = int8 from a million items on, else none"
    )
    recall: float = Field(0.95, gt=0.0, le=1.0, description="recall@10 against exact search that is wanted")
    p95_ms: Rate = Field(50.0, description="longest wait of 95 in 100 searches that is wanted")
    embed_rate: Rate = Field(400.0, description="pictures a second that one GPU embeds")
    gpus: Positive = Field(1, description="GPUs that embed at the same time")
    payload_bytes: Positive = Field(400, description="JSON bytes of one item: id, image, title, attributes, hashes")
    indexed: int = Field(4, ge=0, description="attributes with a payload index")
    m: int = Field(Hnsw().m, ge=2, description="as index.hnsw.m")
    ef_search: Positive = Field(Hnsw().ef_search, description="as index.hnsw.ef_search")
    threshold_kb: Positive = Field(Hnsw().threshold_kb, description="as index.hnsw.threshold_kb")
    oversampling: float = Field(Indexing().oversampling, ge=1.0, description="as index.oversampling")
    generations: Positive = Field(
        Indexing().keep + 1,
        description="collections held at a time: index.keep, and the one being built; 1 = items are only put and "
        "deleted in place",
    )
    node_ram_gb: Rate = Field(64.0, description="memory of a Qdrant node, in GB")
    node_cpus: Positive = Field(16, description="CPUs of a Qdrant node")
    ram_share: Share = Field(0.75, description="share of that memory to plan with; the rest is for the page cache")
    utilisation: Share = Field(0.6, description="share of CPUs and replicas that is busy at the busiest time")
    shards_per_node: Positive = Field(2, description="shards a node, once there are several nodes, to grow into")
    ingress_rate: Rate = Field(490.0, description="searches a second of one ingress replica")
    encoder_rate: Rate = Field(100.0, description="sentences or pictures a second of one encoder replica")
    encoder_share: float = Field(1.0, ge=0.0, le=1.0, description="share of searches that need an encoder")
    uploaders: Positive = Field(1, description="processes that upload at the same time")

    @property
    def chosen(self) -> Quantization:
        """The quantization, decided."""
        if self.quantization != "auto":
            return self.quantization
        return "int8" if self.items >= INT8_FROM else "none"


class Figure(Section):
    """One number of a plan. `low` and `high` are what the error bar leaves open; None where there is none."""

    section: str
    name: str
    key: str
    value: float
    unit: str
    formula: str
    basis: Basis
    low: float | None = None
    high: float | None = None


class Check(Section):
    """A measured point against the formulas: predicted / measured - 1. None: the formula does not speak of it."""

    point: str
    memory: float
    disk: float
    search: float | None
    build: float | None


class ErrorBar(Section):
    """How far off bytes may be.

    Attributes:
        worst: the largest relative error of memory or disk at a measured point.
        held_out: the same for the largest point, predicted from the others alone: an extrapolation that was tried.
        factor: how many times the largest measured size the plan is.
        relative: the bar.
    """

    worst: float
    held_out: float
    factor: float
    relative: float
    rule: str = "max(worst, held_out) x max(1, log10(factor)): as it is up to a factor of 10, one more for each further"


class Plan(Section):
    """A complete answer."""

    inputs: PlanInputs
    quantization: Quantization
    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    error_bar: ErrorBar
    notes: tuple[str, ...]
    measured: Points
    sources: dict[str, str] = SOURCES

    def value(self, key: str) -> float:
        """Returns the number of a figure."""
        return next(figure.value for figure in self.figures if figure.key == key)


# Formulas: bytes.


def vector_bytes(items: int, dim: int) -> float:
    """Returns the bytes of float vectors: items x dim x 4. Exact."""
    return 4.0 * items * dim


def quantized_bytes(items: int, dim: int, quantization: Quantization) -> float:
    """Returns the bytes of quantized vectors: int8 items x (dim + 4), one byte a number and one float an item;
    binary items x 16 x ceil(dim / 128), one bit a number in words of 128. Checked against files of Edge 0.9."""
    if quantization == "int8":
        return float(items * (dim + 4))
    return float(items * 16 * math.ceil(dim / 128)) if quantization == "binary" else 0.0


def has_graph(items: int, dim: int, threshold_kb: int) -> bool:
    """Whether so many vectors get an HNSW graph: more than threshold_kb x 1,024 bytes."""
    return vector_bytes(items, dim) > 1024 * threshold_kb


def links(m: int) -> float:
    """Returns the most links an item has on average: 2 m at layer 0, and m at each of the 1 / (m - 1) upper layers that
    an item is in on average (a layer keeps one in m)."""
    return 2 * m + m / (m - 1)


def graph_bound(items: int, m: int) -> float:
    """Returns the bytes of a graph of plain links, all of them taken: items x links(m) x 4. The textbook's formula."""
    return items * links(m) * BITS_ID / 8


def graph_bytes(items: int, m: int, fill: float) -> float:
    """Returns the bytes of Qdrant's packed links: items x links(m) x fill x ceil(log2 items) bits. `fill` is measured:
    links left out by the heuristic, and the smaller differences that are stored in place of some ids."""
    return items * links(m) * fill * math.ceil(math.log2(max(items, 2))) / 8


def payload_disk_bytes(items: int, payload_bytes: int) -> float:
    """Returns the bytes of stored payloads: items x (128 x ceil(payload / 128) + 16)."""
    return float(items * (BLOCK * math.ceil(payload_bytes / BLOCK) + POINTER))


def vendor_bytes(items: int, dim: int) -> float:
    """Returns Qdrant's rule of thumb for memory: items x dim x 4 x 1.5."""
    return vector_bytes(items, dim) * VENDOR_MARGIN


def error_bar(worst: float, held_out: float, factor: float) -> ErrorBar:
    """Returns the error bar; see `ErrorBar`."""
    relative = max(worst, held_out) * max(1.0, math.log10(max(factor, 1.0)))
    return ErrorBar(worst=worst, held_out=held_out, factor=factor, relative=relative)


def wait_p95_s(rate: float, utilisation: float) -> float:
    """Returns the 95th percentile of the time in an M/M/1 queue in seconds: ln(20) / (rate x (1 - utilisation))."""
    return math.log(20) / (rate * (1 - utilisation))


# The model fitted to measured points.


class Model(Section):
    """What the points say of the engine.

    Attributes:
        fill: see `graph_bytes`.
        index_item: payload-index bytes an item and indexed attribute.
        memory_fixed, memory_item: bytes a shard, and bytes an item, that no other term speaks of.
        disk_fixed, disk_item: the same on disk.
        search, build: (a, b): core seconds = log2(items) x (a + b dim), a query and an item.
        scan: core seconds a query, item and dimension, where there is no graph.
        upload: (a, b): seconds an item = a + b dim.
        ef: the ef_search that the points were measured with.
        tail95, tail99: 95th and 99th percentile of a query's time over its mean core time.
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

    def graph(self, items: int, dim: int, m: int, threshold_kb: int) -> float:
        """Returns the bytes of the graph."""
        return graph_bytes(items, m, self.fill) if has_graph(items, dim, threshold_kb) else 0.0

    def index(self, items: int, indexed: int) -> float:
        """Returns the bytes of the payload index."""
        return self.index_item * items * indexed

    def memory_rest(self, items: int, shards: int = 1) -> float:
        """Returns the bytes of memory of ids, versions, bookkeeping and mapped pages."""
        return self.memory_fixed * shards + self.memory_item * items

    def disk_rest(self, items: int, shards: int = 1) -> float:
        """Returns the same on disk."""
        return self.disk_fixed * shards + self.disk_item * items

    def search_core_s(self, items: int, dim: int, ef: int, threshold_kb: int) -> float:
        """Returns core seconds a query in one shard: log2(items) x (a + b dim) x ef / measured ef; without a graph
        items x dim x c."""
        if not has_graph(items, dim, threshold_kb):
            return self.scan * items * dim
        return math.log2(items) * (self.search[0] + self.search[1] * dim) * ef / self.ef

    def build_core_s(self, items: int, dim: int, threshold_kb: int) -> float:
        """Returns core seconds to build one shard's graph: items x log2(items) x (a + b dim)."""
        if not has_graph(items, dim, threshold_kb):
            return 0.0
        return items * math.log2(items) * (self.build[0] + self.build[1] * dim)

    def point_memory(self, point: Point) -> float:
        """Returns the memory predicted for a measured point, whose process maps floats and quantized vectors."""
        return self.memory_rest(point.items) + _known_memory(point, self.fill, self.index_item)

    def point_disk(self, point: Point) -> float:
        """Returns the bytes on disk predicted for a measured point."""
        payload = payload_disk_bytes(point.items, point.payload_bytes)
        return self.disk_rest(point.items) + payload + _known_memory(point, self.fill, self.index_item)


def fit_model(points: Sequence[Point]) -> Model:
    """Fits the model to points, by least squares of relative errors; bytes to those without quantization."""
    plain = [point for point in points if point.quantization == "none"]
    graphs = [point for point in plain if point.has_graph]
    scans = [point for point in plain if not point.has_graph] or graphs
    largest = max(plain, key=lambda point: point.items)
    fill = _mean(point.disk["graph"] / graph_bytes(point.items, point.m, 1.0) for point in graphs)
    index_item = largest.disk["payload_index"] / (largest.items * largest.indexed)

    def rest(point: Point, total: int, payload: float) -> float:
        return total - payload - _known_memory(point, fill, index_item)

    memory = fit_two([(1.0, p.items, rest(p, p.memory_bytes, 0.0), p.memory_bytes) for p in plain])
    stored = [(p, payload_disk_bytes(p.items, p.payload_bytes)) for p in plain]
    disk = fit_two([(1.0, p.items, rest(p, p.disk_bytes, payload), p.disk_bytes) for p, payload in stored])
    logs = [(p, math.log2(p.items)) for p in graphs]
    query = [(log, log * p.dim, p.query_core_ms / 1000, p.query_core_ms / 1000) for p, log in logs]
    built = [(p.items * log, p.items * log * p.dim, p.build_core_s, p.build_core_s) for p, log in logs]
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
    """Returns a, b >= 0 that make sum(((a x + b y - z) / weight)^2) least, for rows (x, y, z, weight). Where the rows
    do not tell a from b, b alone carries it."""
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


def check_points(model: Model, points: Sequence[Point]) -> list[Check]:
    """Returns the error of the formulas at every measured point."""
    return [
        Check(
            point=point.name,
            memory=model.point_memory(point) / point.memory_bytes - 1,
            disk=model.point_disk(point) / point.disk_bytes - 1,
            search=_search_error(model, point),
            build=_build_error(model, point),
        )
        for point in points
    ]


def held_out_error(points: Sequence[Point]) -> float:
    """Returns the larger relative error of memory and disk at the point with most items, fitted without it."""
    largest = max((point for point in points if point.quantization == "none"), key=lambda point: point.items)
    others = [point for point in points if point is not largest]
    check = check_points(fit_model(others), [largest])[0]
    return max(abs(check.memory), abs(check.disk))


def read_points(path: Path | None = None) -> Points:
    """Reads measured points: ours, or another file of `benchmarks/bench_edge.py --write`.

    Raises:
        ConfigError: it cannot be read, or holds too few.
    """
    try:
        if path is not None:
            return Points.model_validate(read_json(path))
        text = resources.files("cirray").joinpath("capacity_points.json").read_text(encoding="utf-8")
        return Points.model_validate_json(text)
    except FileNotFoundError:
        raise ConfigError(f"--points {path} does not exist: see docs/capacity.md for how to measure") from None
    except (ValidationError, ValueError) as error:
        raise ConfigError(f"--points {path} holds no measured points: {error}") from None


def _known_memory(point: Point, fill: float, index_item: float) -> float:
    graph = graph_bytes(point.items, point.m, fill) if point.has_graph else 0.0
    vectors = vector_bytes(point.items, point.dim) + quantized_bytes(point.items, point.dim, point.quantization)
    return vectors + graph + index_item * point.items * point.indexed


def _search_error(model: Model, point: Point) -> float | None:
    if point.quantization != "none":
        return None
    predicted = model.search_core_s(point.items, point.dim, point.ef_search, point.threshold_kb)
    return 1000 * predicted / point.query_core_ms - 1


def _build_error(model: Model, point: Point) -> float | None:
    if point.quantization != "none" or not point.has_graph:
        return None
    return model.build_core_s(point.items, point.dim, point.threshold_kb) / point.build_core_s - 1


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


# The plan.


class Layout(Section):
    """Where the index lies.

    Attributes:
        groups: nodes that one copy needs.
        shards: of the collection.
        shard_items: of one shard.
        shard_memory: bytes one copy of one shard needs in memory, all generations.
        cores: busy cores of all searches.
        nodes: in all.
        bound: what decides how many.
        copies: of each shard that fit on the nodes.
    """

    groups: int
    shards: int
    shard_items: int
    shard_memory: float
    cores: float
    nodes: int
    bound: str
    copies: int


def lay_out(inputs: PlanInputs, model: Model, scale: float = 1.0) -> Layout:
    """Returns the smallest cluster: shards by memory, nodes by memory, by CPU, and one a copy.

    Every search asks all shards, so more shards cost CPU: there are only as many as memory asks for (times
    shards_per_node, once there are several nodes). Nodes that CPU asks for beyond that hold further copies.

    Args:
        scale: bytes are so many times what the model says; for the ends of the error bar.

    Raises:
        ConfigError: no shard fits into a node.
    """
    usable = inputs.node_ram_gb * GB * inputs.ram_share

    def shards_of(groups: int) -> int:
        return 1 if groups == 1 else groups * inputs.shards_per_node

    def on_node(groups: int) -> float:
        shards = shards_of(groups)
        return scale * shard_memory(inputs, model, math.ceil(inputs.items / shards)) * shards / groups

    most = 1
    while on_node(most) > usable:
        if shards_of(most) > inputs.items:
            raise ConfigError(
                f"--node-ram-gb {inputs.node_ram_gb:g}: not even an empty shard fits into {usable / GB:,.3f} GB, the "
                f"share of it that --ram-share {inputs.ram_share:g} plans with: give larger nodes"
            )
        most *= 2
    groups = _least(lambda count: on_node(count) <= usable, most)
    shards = shards_of(groups)
    shard_items = math.ceil(inputs.items / shards)
    search = model.search_core_s(shard_items, inputs.dim, inputs.ef_search, inputs.threshold_kb)
    cores = inputs.qps * shards * search
    needs = {
        "copies": inputs.replicas,
        "CPU": math.ceil(cores / inputs.utilisation / inputs.node_cpus),
        "memory": groups * inputs.replicas,
    }
    nodes = max(needs.values())
    return Layout(
        groups=groups,
        shards=shards,
        shard_items=shard_items,
        shard_memory=scale * shard_memory(inputs, model, shard_items),
        cores=cores,
        nodes=nodes,
        bound=next(name for name, count in needs.items() if count == nodes),
        copies=nodes // groups,
    )


def shard_memory(inputs: PlanInputs, model: Model, items: int) -> float:
    """Returns the bytes that a copy of a shard needs in memory, in all generations: (float vectors, or in their place
    the quantized ones) + graph + payload index + rest."""
    vectors = vector_bytes(items, inputs.dim)
    if inputs.chosen != "none":
        vectors = quantized_bytes(items, inputs.dim, inputs.chosen)
    graph = model.graph(items, inputs.dim, inputs.m, inputs.threshold_kb)
    rest = model.index(items, inputs.indexed) + model.memory_rest(items)
    return inputs.generations * (vectors + graph + rest)


def _least(fits: Callable[[int], bool], most: int) -> int:
    """Returns the least count from 1 to `most` that fits; `most` does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def make_plan(inputs: PlanInputs, measured: Points) -> Plan:
    """Returns the plan.

    Raises:
        ConfigError: no shard fits into a node.
    """
    points = measured.points
    model = fit_model(points)
    checks = check_points(model, points)
    worst = max(max(abs(check.memory), abs(check.disk)) for check in checks)
    bar = error_bar(worst, held_out_error(points), _factor(inputs, points))
    layout = lay_out(inputs, model)
    memory = _memory(inputs, model, layout)
    disk = _disk(inputs, model, layout)
    cluster = _cluster(inputs, model, layout, bar)
    building = _building(inputs, model, layout)
    serving = _serving(inputs, model, layout)
    found = (*_with_bar(memory + disk, bar), *cluster, *building, *serving, _recall(inputs, points))
    plan = Plan(
        inputs=inputs,
        quantization=inputs.chosen,
        figures=found,
        checks=tuple(checks),
        error_bar=bar,
        notes=(),
        measured=measured,
    )
    return plan.model_copy(update={"notes": tuple(_notes(plan, model, layout))})


def _factor(inputs: PlanInputs, points: Sequence[Point]) -> float:
    """Returns how many times outside of what was measured the plan is: in items, times in width."""
    items = inputs.items / max(point.items for point in points)
    widths = [point.dim for point in points]
    return max(1.0, items) * max(1.0, inputs.dim / max(widths), min(widths) / inputs.dim)


def _with_bar(figures: Iterable[Figure], bar: ErrorBar) -> list[Figure]:
    """Adds the error bar to bytes that were estimated."""
    low, high = max(0.0, 1 - bar.relative), 1 + bar.relative
    return [
        figure.model_copy(update={"low": figure.value * low, "high": figure.value * high})
        if figure.basis == "measured" and figure.unit == "bytes"
        else figure
        for figure in figures
    ]


def _memory(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    """Returns the figures of one copy of one generation, then of all."""
    items, dim, m = inputs.items, inputs.dim, inputs.m
    shards, each = layout.shards, layout.shard_items
    graph = shards * model.graph(each, dim, m, inputs.threshold_kb)
    index = model.index(items, inputs.indexed)
    rest = model.memory_rest(items, shards)
    shared = graph + index + rest
    bits = math.ceil(math.log2(max(each, 2)))
    drawn = f"items x links({m}) x {model.fill:.3f} x {bits} bits; links(m) = 2 m + m / (m - 1)"
    kinds: tuple[Quantization, ...] = ("none", "int8", "binary")
    vectors = {kind: quantized_bytes(items, dim, kind) or vector_bytes(items, dim) for kind in kinds}
    all_of_it = layout.shard_memory * shards * inputs.replicas
    sheet = _Sheet("memory, one copy of one generation")
    sheet.add("float_vectors", "vectors, float32", vectors["none"], "bytes", "items x dim x 4", "formula")
    sheet.add("int8_vectors", "vectors, int8", vectors["int8"], "bytes", "items x (dim + 4)", "formula")
    sheet.add(
        "binary_vectors", "vectors, binary", vectors["binary"], "bytes", "items x 16 x ceil(dim / 128)", "formula"
    )
    drawn = drawn if graph else f"none: a shard has at most {inputs.threshold_kb:,} kB of vectors"
    sheet.add("graph", "HNSW graph, packed links", graph, "bytes", drawn, "measured")
    sheet.add(
        "graph_bound", "(the same, plain links)", graph_bound(items, m), "bytes", "items x links(m) x 4", "formula"
    )
    written = f"items x {inputs.indexed} attributes x {model.index_item:.1f}"
    sheet.add("payload_index", "payload index", index, "bytes", written, "measured")
    written = f"{shards:,} shards x {model.memory_fixed / 1e6:.1f} MB + items x {model.memory_item:.1f}"
    sheet.add("memory_overhead", "ids, versions, mapped pages", rest, "bytes", written, "measured")
    for kind in kinds:
        name = "total without quantization" if kind == "none" else f"total with {kind}"
        written = "vectors + graph + payload index + overhead"
        sheet.add(f"memory_{kind}", name, vectors[kind] + shared, "bytes", written, "measured")
    written = "items x dim x 4 x 1.5 (vectors, indexes, temporary segments)"
    sheet.add("memory_vendor", "(Qdrant's rule of thumb)", vendor_bytes(items, dim), "bytes", written, "vendor")
    written = f"total, {inputs.chosen} x {inputs.generations} generations x {inputs.replicas} copies"
    sheet.add("memory_needed", "needed in the cluster", all_of_it, "bytes", written, "measured")
    mapped = 0.0 if inputs.chosen == "none" else vectors["none"]
    written = "float vectors, read for rescoring; in memory only as far as the page cache goes"
    sheet.add("on_disk_vectors", "of one copy, on disk only", mapped, "bytes", written, "formula")
    return sheet.figures


def _disk(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    items, dim, shards = inputs.items, inputs.dim, layout.shards
    parts = {
        "vectors, float32": (vector_bytes(items, dim), "items x dim x 4", "formula"),
        f"vectors, {inputs.chosen}": (quantized_bytes(items, dim, inputs.chosen), "as in memory", "formula"),
        "graph": (
            shards * model.graph(layout.shard_items, dim, inputs.m, inputs.threshold_kb),
            "as in memory",
            "measured",
        ),
        "payload": (
            payload_disk_bytes(items, inputs.payload_bytes),
            f"items x (128 x ceil({inputs.payload_bytes} / 128) + 16)",
            "measured",
        ),
        "payload index": (model.index(items, inputs.indexed), "as in memory", "measured"),
        "ids, versions, bookkeeping": (
            model.disk_rest(items, shards),
            f"{shards:,} shards x {model.disk_fixed / 1e6:.2f} MB + items x {model.disk_item:.1f}",
            "measured",
        ),
    }
    sheet = _Sheet("disk")
    for number, (name, (value, formula, basis)) in enumerate(parts.items()):
        if name != "vectors, none":
            sheet.add(f"disk_part_{number}", name, value, "bytes", formula, basis)
    one = sum(value for value, _, _ in parts.values())
    sheet.add("disk_generation", "one copy of one generation", one, "bytes", "the sum of these", "measured")
    sheet.add(
        "snapshot", "one snapshot of all shards", one, "bytes", "one copy of one generation, not packed", "measured"
    )
    times = inputs.generations + 1
    total = one * layout.copies * times + one
    written = (
        f"one copy x {layout.copies} copies x ({inputs.generations} generations + 1 for segments that are rebuilt) "
    )
    sheet.add("disk_total", "needed in the cluster", total, "bytes", f"{written}+ one snapshot", "measured")
    sheet.add("disk_node", "needed on each node", total / layout.nodes, "bytes", "the same / nodes", "measured")
    return sheet.figures


def _cluster(inputs: PlanInputs, model: Model, layout: Layout, bar: ErrorBar) -> list[Figure]:
    sheet = _Sheet("Qdrant cluster")
    usable = inputs.node_ram_gb * inputs.ram_share
    each = model.search_core_s(layout.shard_items, inputs.dim, inputs.ef_search, inputs.threshold_kb)
    written = (
        f"least g with memory of a copy / g <= {inputs.node_ram_gb:g} GB x {inputs.ram_share:g} = {usable:,.1f} GB"
    )
    sheet.add("nodes_a_copy", "nodes that one copy needs (g)", layout.groups, "nodes", written, "formula")
    written = f"g x {inputs.shards_per_node}" if layout.groups > 1 else "one: it fits on one node"
    sheet.add("shards", "shards", layout.shards, "shards", written, "formula")
    sheet.add("shard_items", "items a shard", layout.shard_items, "items", "items / shards", "formula")
    terms = f"({model.search[0]:.2e} + {model.search[1]:.2e} dim) x ef {inputs.ef_search} / {model.ef}"
    if has_graph(layout.shard_items, inputs.dim, inputs.threshold_kb):
        written = f"log2(items a shard) x {terms}"
    else:
        written = f"items x dim x {model.scan:.2e}: exact, no graph"
    sheet.add("search_core_ms", "CPU of a query in one shard", 1000 * each, "ms", written, "measured")
    sheet.add("search_cores", "busy cores of all searches", layout.cores, "cores", "qps x shards x that", "measured")
    written = (
        f"max(g x {inputs.replicas} copies, cores / {inputs.utilisation:g} / {inputs.node_cpus} CPUs, "
        f"{inputs.replicas} copies): {layout.bound} decides"
    )
    low, high = (lay_out(inputs, model, max(scale, 1e-9)).nodes for scale in (1 - bar.relative, 1 + bar.relative))
    sheet.add("nodes", "nodes", layout.nodes, "nodes", written, "formula", low, high)
    sheet.add("copies", "copies of a shard", layout.copies, "copies", "nodes / g", "formula")
    node = layout.shard_memory * layout.shards * layout.copies / layout.nodes
    sheet.add("node_memory", "memory in use a node", node, "bytes", "memory of a copy x copies / nodes", "formula")
    reads = 0.0
    if inputs.chosen != "none":
        reads = inputs.qps * layout.shards * inputs.oversampling * HITS / layout.nodes
    written = f"qps x shards x oversampling x {HITS} hits / nodes, if no float vector is cached"
    sheet.add("node_reads", "random reads for rescoring a node", reads, "a second", written, "formula")
    return sheet.figures


def _building(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    items = inputs.items
    sheet = _Sheet("building the first generation")
    gpu = items / inputs.embed_rate / 3600
    basis: Basis = "given" if "embed_rate" in inputs.model_fields_set else "assumed"
    sheet.add("gpu_hours", "embedding", gpu, "GPU-hours", f"items / {inputs.embed_rate:g} a second / 3,600", basis)
    written = f"GPU-hours / {inputs.gpus} GPUs (--gpus)"
    sheet.add("embed_hours", "embedding, waiting", gpu / inputs.gpus, "hours", written, "formula")
    second = model.upload[0] + model.upload[1] * inputs.dim
    written = f"items x ({model.upload[0]:.2e} + {model.upload[1]:.2e} dim) s / {inputs.uploaders} uploaders, into Edge"
    hours = items * second / inputs.uploaders / 3600
    sheet.add("upload_hours", "upload", hours, "hours", written, "measured")
    cores = layout.shards * layout.copies * model.build_core_s(layout.shard_items, inputs.dim, inputs.threshold_kb)
    written = f"copies x items x log2(items a shard) x ({model.build[0]:.2e} + {model.build[1]:.2e} dim) s"
    sheet.add("graph_core_hours", "graph", cores / 3600, "core-hours", written, "measured")
    wall = cores / 3600 / (layout.nodes * inputs.node_cpus)
    sheet.add(
        "graph_hours", "graph, waiting", wall, "hours", "core-hours / (nodes x CPUs), all of them busy", "formula"
    )
    return sheet.figures


def _serving(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    sheet = _Sheet("Ray Serve")
    given = inputs.model_fields_set
    rate, busy = inputs.ingress_rate, inputs.utilisation
    ingress = math.ceil(inputs.qps / (rate * busy))
    basis: Basis = "given" if "ingress_rate" in given else "measured"
    written = f"qps / ({rate:g} a second x {busy:g})"
    if basis == "measured":
        written += "; a bare ingress with one call of an encoder did that, so it is an upper end"
    sheet.add("ingress_replicas", "ingress replicas", ingress, "replicas", written, basis)
    asked = inputs.qps * inputs.encoder_share
    encoder = math.ceil(asked / (inputs.encoder_rate * busy))
    basis = "given" if "encoder_rate" in given else "assumed"
    written = f"qps x {inputs.encoder_share:g} / ({inputs.encoder_rate:g} a second x {busy:g})"
    sheet.add("encoder_replicas", "encoder replicas", encoder, "replicas", written, basis)
    cpus = (ingress + encoder) * Serving().cpus
    sheet.add("serve_cpus", "CPUs they reserve", cpus, "CPUs", f"replicas x {Serving().cpus:g} (serve.cpus)", "formula")
    queue = "ln 20 / (rate x (1 - its use)), an M/M/1 queue"
    waits = 1000 * wait_p95_s(rate, inputs.qps / ingress / rate)
    sheet.add("ingress_p95_ms", "p95 in the ingress", waits, "ms", queue, "formula")
    coding = 0.0
    if encoder:
        coding = 1000 * (
            wait_p95_s(inputs.encoder_rate, asked / encoder / inputs.encoder_rate) + Serving().batch_wait_s
        )
    sheet.add("encoder_p95_ms", "p95 in the encoder", coding, "ms", f"{queue}, + serve.batch_wait_s", "formula")
    tail, name = (model.tail99, "p99") if layout.shards > 1 else (model.tail95, "p95")
    each = model.search_core_s(layout.shard_items, inputs.dim, inputs.ef_search, inputs.threshold_kb)
    searching = 1000 * each * tail / (1 - layout.cores / (layout.nodes * inputs.node_cpus))
    written = f"CPU of a query x {tail:.2f} (measured {name} / mean) / (1 - use of the cores)"
    sheet.add("search_p95_ms", "p95 in the index", searching, "ms", written, "measured")
    written = "the sum: more than the p95 of the whole, as not all are slow at once"
    sheet.add("p95_ms", "p95 of a search, at most", waits + coding + searching, "ms", written, "formula")
    sheet.section = f"a month of {HOURS_A_MONTH:g} hours"
    sheet.add("node_hours", "Qdrant", layout.nodes * HOURS_A_MONTH, "node-hours", "nodes x 730", "formula")
    hours = cpus * HOURS_A_MONTH
    sheet.add("serve_cpu_hours", "Ray Serve", hours, "CPU-hours", "CPUs they reserve x 730", "formula")
    hours = encoder * HOURS_A_MONTH
    sheet.add("encoder_hours", "of these, encoders", hours, "replica-hours", "encoder replicas x 730", "formula")
    return sheet.figures


def _recall(inputs: PlanInputs, points: Sequence[Point]) -> Figure:
    """Returns the recall@10 that was seen at the measured size that is nearest."""
    same = [point for point in points if point.quantization == inputs.chosen and point.has_graph]
    if same:
        nearest = min(same, key=lambda point: (abs(math.log(point.items / inputs.items)), abs(point.dim - inputs.dim)))
        value, formula = nearest.recall_at_10, f"seen at {nearest.name}, ef {nearest.ef_search}, random features"
    else:
        value, formula = RECALL[inputs.chosen], "seen at 100,000 items; grows with oversampling, falls with items"
    return Figure(
        section="quality",
        name="recall@10 against exact search",
        key="recall",
        value=value,
        unit="",
        formula=formula,
        basis="measured",
    )


class _Sheet:
    """Collects the figures of a section."""

    def __init__(self, section: str) -> None:
        self.section = section
        self.figures: list[Figure] = []

    def add(
        self,
        key: str,
        name: str,
        value: float,
        unit: str,
        formula: str,
        basis: str,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Adds one."""
        fields = {"key": key, "name": name, "value": value, "unit": unit, "formula": formula, "basis": basis}
        self.figures.append(Figure.model_validate({"section": self.section, **fields, "low": low, "high": high}))


def _notes(plan: Plan, model: Model, layout: Layout) -> list[str]:
    """Returns what somebody must know who reads the figures: wishes that are not met, first."""
    inputs, value = plan.inputs, plan.value
    notes = []
    if value("recall") < inputs.recall:
        notes.append(
            f"RECALL: {value('recall'):.2f} was seen with {plan.quantization}, and {inputs.recall:g} is wanted: raise "
            f"--ef-search (index.hnsw.ef_search) or take a milder --quantization, and measure on your own features"
        )
    if value("p95_ms") > inputs.p95_ms:
        parts = {name: value(f"{name}_p95_ms") for name in ("ingress", "encoder", "search")}
        slowest = max(parts, key=lambda name: parts[name])
        advice = {
            "ingress": "lower --utilisation, for more replicas",
            "encoder": "encoders that are faster (--encoder-rate: a GPU, a smaller tower), or a lower --utilisation",
            "search": "fewer shards (larger nodes), a lower --ef-search, or quantization",
        }
        notes.append(
            f"P95: up to {value('p95_ms'):,.0f} ms, and {inputs.p95_ms:g} ms are wanted; most of it, "
            f"{parts[slowest]:,.0f} ms, in the {slowest}: {advice[slowest]}"
        )
    if inputs.generations > 1:
        alone = lay_out(inputs.model_copy(update={"generations": 1}), model).nodes
        notes.append(
            f"jobs/index.py builds beside what is published, so {inputs.generations} generations are in memory at its "
            f"end; with --generations 1 (items only put and deleted in place) {alone:,} nodes do in place of "
            f"{layout.nodes:,}"
        )
    if plan.quantization != "none":
        notes.append(
            f"build with --index.quantization {plan.quantization}; searches of it are taken to cost what floats do"
        )
    measured = max(point.items for point in plan.measured.points)
    if layout.shard_items > measured:
        notes.append(
            f"a shard has {layout.shard_items / measured:,.1f} times the items of the largest measured index; a "
            f"cluster was not measured at all"
        )
    if any(point.m != inputs.m for point in plan.measured.points):
        notes.append(
            f"measured with m {plan.measured.points[0].m}, planned with m {inputs.m}: CPU and latency will differ"
        )
    if layout.nodes < 3:
        notes.append(
            f"{layout.nodes} node(s) hold it, or one machine with the embedded index; Qdrant advises three nodes or "
            f"more where a node may fail (vendor)"
        )
    ours = model.search_core_s(ANCHOR_ITEMS, ANCHOR_DIM, ANCHOR_EF, 0)
    notes.append(
        f"against the vendor's benchmark (1M x 1536, int8, ef 64, 8 CPUs: {1000 * ANCHOR_CORE_S:.1f} core-ms a query), "
        f"the formula of CPU says {1000 * ours:.1f}"
    )
    return notes


# What people see.


def arguments() -> list[tuple[str, Any, str]]:
    """Returns (argument, default, meaning) of every field of `PlanInputs`."""
    return [
        (f"--{name.replace('_', '-')}", None if field.is_required() else field.default, field.description or "")
        for name, field in PlanInputs.model_fields.items()
    ]


def check_inputs(values: Mapping[str, Any]) -> PlanInputs:
    """Checks arguments (names without dashes).

    Raises:
        ConfigError: an unknown one, with the nearest name; one that is missing or wrong, by its name.
    """
    known = list(PlanInputs.model_fields)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean --{near[0].replace('_', '-')}?" if near else ""
            raise ConfigError(f"no argument is named --{name.replace('_', '-')}.{hint} See --help")
    try:
        return PlanInputs.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(dict(item)) for item in error.errors())) from None


def _sentence(item: Mapping[str, Any]) -> str:
    name = "--" + ".".join(str(part) for part in item["loc"]).replace("_", "-")
    if item["type"] == "missing":
        return f"{name} is missing: {PlanInputs.model_fields[str(item['loc'][0])].description}"
    return f"{name}: {item['msg'][0].lower()}{item['msg'][1:]} (given: {item['input']!r})"


def as_json(plan: Plan) -> str:
    """Returns all of a plan as JSON."""
    return json.dumps(plan.model_dump(mode="json"), indent=2)


def as_text(plan: Plan) -> str:
    """Returns a plan for people: aligned, with units, each number with its formula and its basis."""
    inputs = plan.inputs
    lines = [
        f"{inputs.items:,} items x {inputs.dim} dimensions, {inputs.qps:,g} searches a second, {inputs.replicas} "
        f"copies, quantization {plan.quantization}"
    ]
    section = ""
    for figure in plan.figures:
        if figure.section != section:
            section = figure.section
            lines += ["", section]
        lines.append(_line(figure))
    lines += ["", f"formulas against measured points ({plan.measured.engine}, {plan.measured.measured})"]
    lines.append(f"  {'point':<20}{'memory':>9}{'disk':>9}{'query CPU':>11}{'graph CPU':>11}")
    for check in plan.checks:
        cells = [f"{_percent(check.memory):>9}", f"{_percent(check.disk):>9}"]
        cells += [f"{_percent(check.search):>11}", f"{_percent(check.build):>11}"]
        lines.append(f"  {check.point:<20}{''.join(cells)}")
    bar = plan.error_bar
    lines += [
        f"  error bar of bytes: +-{bar.relative:.1%} = max({bar.worst:.1%} at a point, {bar.held_out:.1%} at the "
        f"largest when predicted from the others)",
        f"  x max(1, log10({bar.factor:,.0f})): the plan is {bar.factor:,.0f} times what was measured; as it is up to "
        f"10 times, one more for each further factor of 10",
    ]
    lines += ["", "notes", *(f"  - {note}" for note in plan.notes)]
    lines += ["", "basis", *(f"  {name:<10}{text}" for name, text in plan.sources.items())]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    value, unit = _shown(figure.value, figure.unit)
    spread = ""
    if figure.low is not None and figure.high is not None:
        low, high = (_shown(end, figure.unit, figure.value)[0] for end in (figure.low, figure.high))
        spread = f"{low} to {high}"
    return f"  {figure.name:<34}{value:>12} {unit:<14}{spread:<22}{figure.basis:<9} {figure.formula}"


def _shown(value: float, unit: str, like: float | None = None) -> tuple[str, str]:
    """Returns a number and its unit as printed; bytes in the unit that suits `like`."""
    if unit != "bytes":
        whole = unit in ("nodes", "shards", "items", "copies", "replicas")
        return (f"{value:,.0f}" if whole else _digits(value)), unit
    for power, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if (value if like is None else like) >= power or name == "MB":
            return _digits(value / power), name
    raise AssertionError(unit)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 100 else f"{value:,.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"
