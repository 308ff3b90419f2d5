"""Figures of Ray Serve, search latency and recall."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cirray.capacity.figures import Basis, Figure, Sheet
from cirray.capacity.formulas import wait_p95_s
from cirray.capacity.inputs import PlanInputs
from cirray.capacity.layout import Layout
from cirray.capacity.model import Model
from cirray.capacity.points import Point
from cirray.config.serving import Serving

HOURS_A_MONTH = 730.0
# Recall@10 at 100,000 items, used without a measured point; int8 without rescoring, so a lower bound.
RECALL = {"int8": 0.97, "binary": 0.90}


def serving_figures(inputs: PlanInputs, model: Model, layout: Layout) -> list[Figure]:
    """Returns the figures of replicas, latency, and hours per month."""
    sheet = Sheet("Ray Serve")
    given = inputs.model_fields_set
    rate, busy = inputs.ingress_rate, inputs.utilisation
    ingress = math.ceil(inputs.qps / (rate * busy))
    basis: Basis = "given" if "ingress_rate" in given else "measured"
    written = f"qps / ({rate:g} a second x {busy:g})"
    if basis == "measured":
        written += "; measured on a bare ingress with one encoder call, so an upper bound"
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
    written = "the sum, an upper bound: rarely are all parts slow at once"
    sheet.add("p95_ms", "p95 of a search, at most", waits + coding + searching, "ms", written, "formula")
    sheet.section = f"a month of {HOURS_A_MONTH:g} hours"
    sheet.add("node_hours", "Qdrant", layout.nodes * HOURS_A_MONTH, "node-hours", "nodes x 730", "formula")
    hours = cpus * HOURS_A_MONTH
    sheet.add("serve_cpu_hours", "Ray Serve", hours, "CPU-hours", "CPUs they reserve x 730", "formula")
    hours = encoder * HOURS_A_MONTH
    sheet.add("encoder_hours", "of these, encoders", hours, "replica-hours", "encoder replicas x 730", "formula")
    return sheet.figures


def recall_figure(inputs: PlanInputs, points: Sequence[Point]) -> Figure:
    """Returns the recall@10 measured at the nearest size."""
    same = [point for point in points if point.quantization == inputs.chosen and point.has_graph]
    if same:
        nearest = min(same, key=lambda point: (abs(math.log(point.items / inputs.items)), abs(point.dim - inputs.dim)))
        value, formula = nearest.recall_at_10, f"measured at {nearest.name}, ef {nearest.ef_search}, random features"
    else:
        value, formula = RECALL[inputs.chosen], "measured at 100,000 items; grows with oversampling, falls with items"
    return Figure(
        section="quality",
        name="recall@10 against exact search",
        key="recall",
        value=value,
        unit="",
        formula=formula,
        basis="measured",
    )
