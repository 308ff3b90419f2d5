"""Figures of memory and disk."""

from __future__ import annotations

import math

from cirray.capacity.figures import Figure, Sheet
from cirray.capacity.formulas import graph_bound, payload_disk_bytes, quantized_bytes, vector_bytes, vendor_bytes
from cirray.capacity.inputs import PlanInputs, Quantization
from cirray.capacity.layout import Layout
from cirray.capacity.model import Model


def memory_figures(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    """Returns the memory of one copy of one generation, then of the cluster."""
    items, dim, m = inputs.items, inputs.dim, inputs.m
    shards, each = layout.shards, layout.shard_items
    graph = shards * model.graph(each, inputs)
    index = model.index(items, inputs.indexed)
    rest = model.memory_rest(items, shards)
    shared = graph + index + rest
    bits = math.ceil(math.log2(max(each, 2)))
    drawn = (
        f"items x links({m}) x (1 + {inputs.links_of_attributes} linked) x {model.fill:.3f} x {bits} bits; "
        f"links(m) = 2 m + m / (m - 1)"
    )
    kinds: tuple[Quantization, ...] = ("none", "int8", "binary")
    vectors = {kind: quantized_bytes(items, dim, kind) or vector_bytes(items, dim) for kind in kinds}
    cluster_memory = layout.shard_memory * shards * inputs.replicas
    sheet = Sheet("memory, one copy of one generation")
    sheet.add("float_vectors", "vectors, float32", vectors["none"], "bytes", "items x dim x 4", "formula")
    sheet.add("int8_vectors", "vectors, int8", vectors["int8"], "bytes", "items x (dim + 4)", "formula")
    sheet.add(
        "binary_vectors", "vectors, binary", vectors["binary"], "bytes", "items x 16 x ceil(dim / 128)", "formula"
    )
    drawn = drawn if graph else f"none: a shard has at most {inputs.threshold_kb:,} kB of vectors"
    sheet.add("graph", "HNSW graph, packed links", graph, "bytes", drawn, "measured")
    sheet.add(
        "graph_bound",
        "(unpacked, without attribute links)",
        graph_bound(items, m),
        "bytes",
        "items x links(m) x 4",
        "formula",
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
    sheet.add("memory_needed", "needed in the cluster", cluster_memory, "bytes", written, "measured")
    mapped = 0.0 if inputs.chosen == "none" else vectors["none"]
    written = "float vectors, read for rescoring; in memory only as far as the page cache allows"
    sheet.add("on_disk_vectors", "of one copy, on disk only", mapped, "bytes", written, "formula")
    return sheet.figures


def disk_figures(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    """Returns the disk space of one copy of one generation, of a snapshot, then of the cluster."""
    items, dim, shards = inputs.items, inputs.dim, layout.shards
    parts = {
        "vectors, float32": (vector_bytes(items, dim), "items x dim x 4", "formula"),
        f"vectors, {inputs.chosen}": (quantized_bytes(items, dim, inputs.chosen), "as in memory", "formula"),
        "graph": (
            shards * model.graph(layout.shard_items, inputs),
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
    sheet = Sheet("disk")
    for number, (name, (value, formula, basis)) in enumerate(parts.items()):
        if name != "vectors, none":
            sheet.add(f"disk_part_{number}", name, value, "bytes", formula, basis)
    one = sum(value for value, _, _ in parts.values())
    sheet.add("disk_generation", "one copy of one generation", one, "bytes", "the sum of these", "measured")
    sheet.add(
        "snapshot", "one snapshot of all shards", one, "bytes", "one copy of one generation, uncompressed", "measured"
    )
    times = inputs.generations + 1
    total = one * layout.copies * times + one
    written = f"one copy x {layout.copies} copies x ({inputs.generations} generations + 1 for segments being rebuilt) "
    sheet.add("disk_total", "needed in the cluster", total, "bytes", f"{written}+ one snapshot", "measured")
    sheet.add("disk_node", "needed on each node", total / layout.nodes, "bytes", "the same / nodes", "measured")
    return sheet.figures
