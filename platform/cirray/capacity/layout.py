"""Layout of the index on the smallest sufficient cluster: shards, copies and nodes."""

from __future__ import annotations

import math
from collections.abc import Callable

from cirray.capacity.formulas import quantized_bytes, vector_bytes
from cirray.capacity.inputs import PlanInputs
from cirray.capacity.model import Model
from cirray.config.section import Section
from cirray.errors import ConfigError

GB = 1e9


class Layout(Section):
    """Layout of the index on a cluster.

    Attributes:
        groups: nodes that one copy of the index needs.
        shards: shards of the collection.
        shard_items: items of one shard.
        shard_memory: bytes that one copy of one shard needs in memory, for all generations.
        cores: busy cores of all searches.
        nodes: nodes of the cluster.
        bound: the requirement that determines `nodes`: "copies", "CPU" or "memory".
        copies: copies of each shard that fit on the nodes.
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
    """Returns the smallest cluster that meets the requirements on memory, CPU and copies.

    Every search queries all shards, so more shards cost CPU: memory determines their number (times shards_per_node if
    there are several nodes). Additional nodes required by CPU hold further copies.

    Args:
        scale: factor on the bytes of the model, for the ends of the error bar.

    Raises:
        ConfigError: no shard fits into the memory of a node.
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
                f"fraction --ram-share {inputs.ram_share:g} of it: give larger nodes"
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
    """Returns the bytes that a copy of a shard needs in memory for all generations: vectors (quantized if there is
    quantization, else float) + graph + payload index + rest."""
    vectors = vector_bytes(items, inputs.dim)
    if inputs.chosen != "none":
        vectors = quantized_bytes(items, inputs.dim, inputs.chosen)
    graph = model.graph(items, inputs)
    rest = model.index(items, inputs.indexed) + model.memory_rest(items)
    return inputs.generations * (vectors + graph + rest)


def _least(fits: Callable[[int], bool], most: int) -> int:
    """Returns the smallest count from 1 to `most` for which `fits` holds; it holds for `most`."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
