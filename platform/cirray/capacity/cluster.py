"""Figures of the Qdrant cluster, and of building its first generation."""

from __future__ import annotations

from cirray.capacity.accuracy import ErrorBar
from cirray.capacity.figures import Basis, Figure, Sheet
from cirray.capacity.formulas import has_graph
from cirray.capacity.inputs import PlanInputs
from cirray.capacity.layout import Layout, lay_out
from cirray.capacity.model import Model

# A search for up to 63 hits requests 64 from each shard (cirray.index.pages.FIRST); oversampling multiplies the number
# of rescored ones.
HITS = 64


def cluster_figures(inputs: PlanInputs, model: Model, layout: Layout, bar: ErrorBar) -> list[Figure]:
    """Returns the figures of shards, nodes, and the cost of searches."""
    sheet = Sheet("Qdrant cluster")
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
    written = f"qps x shards x oversampling x {HITS} hits / nodes, if no float vectors are cached"
    sheet.add("node_reads", "random reads for rescoring a node", reads, "a second", written, "formula")
    return sheet.figures


def building_figures(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    """Returns the figures of embedding, upload and building the graph."""
    items = inputs.items
    sheet = Sheet("building the first generation")
    gpu = items / inputs.embed_rate / 3600
    basis: Basis = "given" if "embed_rate" in inputs.model_fields_set else "assumed"
    sheet.add("gpu_hours", "embedding", gpu, "GPU-hours", f"items / {inputs.embed_rate:g} a second / 3,600", basis)
    written = f"GPU-hours / {inputs.gpus} GPUs (--gpus)"
    sheet.add("embed_hours", "embedding, waiting", gpu / inputs.gpus, "hours", written, "formula")
    second = model.upload[0] + model.upload[1] * inputs.dim
    written = f"items x ({model.upload[0]:.2e} + {model.upload[1]:.2e} dim) s / {inputs.uploaders} uploaders, into Edge"
    hours = items * second / inputs.uploaders / 3600
    sheet.add("upload_hours", "upload", hours, "hours", written, "measured")
    linked = inputs.links_of_attributes
    one = model.build_core_s(layout.shard_items, inputs.dim, inputs.threshold_kb, linked)
    cores = layout.shards * layout.copies * one
    written = (
        f"copies x items x (1 + {linked}) x log2(items a shard) x ({model.build[0]:.2e} + {model.build[1]:.2e} dim) s"
    )
    sheet.add("graph_core_hours", "graph", cores / 3600, "core-hours", written, "measured")
    wall = cores / 3600 / (layout.nodes * inputs.node_cpus)
    sheet.add(
        "graph_hours", "graph, waiting", wall, "hours", "core-hours / (nodes x CPUs), all of them busy", "formula"
    )
    return sheet.figures
