"""The plan: all figures with the error bar, and notes on their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cirray.capacity.accuracy import Check, ErrorBar, check_points, error_bar, held_out_error
from cirray.capacity.cluster import building_figures, cluster_figures
from cirray.capacity.figures import Figure
from cirray.capacity.formulas import has_graph
from cirray.capacity.inputs import PlanInputs, Quantization
from cirray.capacity.layout import Layout, lay_out
from cirray.capacity.model import Model, fit_model
from cirray.capacity.points import Point, Points
from cirray.capacity.serving import recall_figure, serving_figures
from cirray.capacity.sizes import disk_figures, memory_figures
from cirray.config.section import Section

# Qdrant's published benchmark: 1M x 1536, int8 and rescoring, 8 CPUs, ef 64: 1,235 requests/s from 100 threads.
ANCHOR_ITEMS, ANCHOR_DIM, ANCHOR_EF, ANCHOR_CORE_S = 1_000_000, 1536, 64, 8 / 1235
SOURCES = {
    "measured": "on two shared cores, times accurate to a factor of about 2: benchmarks/bench_edge.py, and a bare Ray "
    "Serve application for the ingress rate",
    "vendor": "Qdrant's documentation and published benchmark; not verified here",
    "formula": "computed by its formula from the numbers above it",
    "assumed": "a default that was not measured: replace it by your own number",
    "given": "from the command line",
}


class Plan(Section):
    """A complete plan."""

    inputs: PlanInputs
    quantization: Quantization
    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    error_bar: ErrorBar
    notes: tuple[str, ...]
    measured: Points
    sources: dict[str, str] = SOURCES

    def value(self, key: str) -> float:
        """Returns the value of the figure `key`."""
        return next(figure.value for figure in self.figures if figure.key == key)


def make_plan(inputs: PlanInputs, measured: Points) -> Plan:
    """Computes the plan.

    Raises:
        ConfigError: no shard fits into the memory of a node.
    """
    points = measured.points
    model = fit_model(points)
    checks = check_points(model, points)
    worst = max(max(abs(check.memory), abs(check.disk)) for check in checks)
    bar = error_bar(worst, held_out_error(points), _factor(inputs, points))
    layout = lay_out(inputs, model)
    memory = memory_figures(inputs, model, layout)
    disk = disk_figures(inputs, model, layout)
    cluster = cluster_figures(inputs, model, layout, bar)
    building = building_figures(inputs, model, layout)
    serving = serving_figures(inputs, model, layout)
    figures = (*_with_bar(memory + disk, bar), *cluster, *building, *serving, recall_figure(inputs, points))
    plan = Plan(
        inputs=inputs,
        quantization=inputs.chosen,
        figures=figures,
        checks=tuple(checks),
        error_bar=bar,
        notes=(),
        measured=measured,
    )
    return plan.model_copy(update={"notes": tuple(_notes(plan, model, layout))})


def _factor(inputs: PlanInputs, points: Sequence[Point]) -> float:
    """Returns the extrapolation factor of the plan: that of the items x that of the width."""
    items = inputs.items / max(point.items for point in points)
    widths = [point.dim for point in points]
    return max(1.0, items) * max(1.0, inputs.dim / max(widths), min(widths) / inputs.dim)


def _with_bar(figures: Iterable[Figure], bar: ErrorBar) -> list[Figure]:
    """Adds the error bar to the estimated bytes."""
    low, high = max(0.0, 1 - bar.relative), 1 + bar.relative
    return [
        figure.model_copy(update={"low": figure.value * low, "high": figure.value * high})
        if figure.basis == "measured" and figure.unit == "bytes"
        else figure
        for figure in figures
    ]


def _notes(plan: Plan, model: Model, layout: Layout) -> list[str]:
    """Returns the notes on the figures; unmet requirements come first."""
    inputs, value = plan.inputs, plan.value
    notes = []
    if value("recall") < inputs.recall:
        notes.append(
            f"RECALL: {value('recall'):.2f} was measured with {plan.quantization}, but {inputs.recall:g} is required: "
            f"raise --ef-search (index.hnsw.ef_search) or use a more precise --quantization, and measure on your "
            f"own features"
        )
    if value("p95_ms") > inputs.p95_ms:
        parts = {name: value(f"{name}_p95_ms") for name in ("ingress", "encoder", "search")}
        slowest = max(parts, key=lambda name: parts[name])
        advice = {
            "ingress": "lower --utilisation, for more replicas",
            "encoder": "faster encoders (--encoder-rate: a GPU, a smaller tower), or a lower --utilisation",
            "search": "fewer shards (larger nodes), a lower --ef-search, or quantization",
        }
        notes.append(
            f"P95: up to {value('p95_ms'):,.0f} ms, but {inputs.p95_ms:g} ms are required; most of it, "
            f"{parts[slowest]:,.0f} ms, in the {slowest}: {advice[slowest]}"
        )
    if inputs.generations > 1:
        nodes_in_place = lay_out(inputs.model_copy(update={"generations": 1}), model).nodes
        notes.append(
            f"jobs/index.py builds a new generation while the published one serves, so {inputs.generations} "
            f"generations are in memory at its end; with --generations 1 (items only added and deleted in place) "
            f"{nodes_in_place:,} nodes suffice instead of {layout.nodes:,}"
        )
    if inputs.linked is None and inputs.indexed and has_graph(layout.shard_items, inputs.dim, inputs.threshold_kb):
        nodes_without_links = lay_out(inputs.model_copy(update={"linked": 0}), model).nodes
        notes.append(
            f"all {inputs.indexed} indexed attributes are assumed to get additional links, the upper bound: "
            f"{nodes_without_links:,} nodes if none does (--linked 0)"
        )
    if plan.quantization != "none":
        notes.append(
            f"build with --index.quantization {plan.quantization}; its searches are assumed to cost as much as those "
            f"of floats"
        )
    measured = max(point.items for point in plan.measured.points)
    if layout.shard_items > measured:
        notes.append(
            f"a shard has {layout.shard_items / measured:,.1f} times the items of the largest measured index; a "
            f"cluster was not measured"
        )
    if any(point.m != inputs.m for point in plan.measured.points):
        notes.append(
            f"measured with m {plan.measured.points[0].m}, planned with m {inputs.m}: CPU and latency will differ"
        )
    if layout.nodes < 3:
        notes.append(
            f"{layout.nodes} node(s) suffice, or one machine with the embedded index; Qdrant recommends three nodes or "
            f"more for fault tolerance (vendor)"
        )
    predicted = model.search_core_s(ANCHOR_ITEMS, ANCHOR_DIM, ANCHOR_EF, 0)
    notes.append(
        f"against the vendor's benchmark (1M x 1536, int8, ef 64, 8 CPUs: {1000 * ANCHOR_CORE_S:.1f} core-ms a query), "
        f"the CPU formula predicts {1000 * predicted:.1f}"
    )
    return notes
