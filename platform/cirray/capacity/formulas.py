"""Closed formulas; measured coefficients are arguments. Sizes in bytes."""

from __future__ import annotations

import math

from cirray.capacity.inputs import Quantization

BITS_ID = 32
# Qdrant's payload storage uses blocks of 128 bytes, and a pointer of 16 bytes per item.
BLOCK, POINTER = 128, 16
VENDOR_MARGIN = 1.5


def vector_bytes(items: int, dim: int) -> float:
    """Returns the bytes of float vectors: items x dim x 4. Exact."""
    return 4.0 * items * dim


def quantized_bytes(items: int, dim: int, quantization: Quantization) -> float:
    """Returns the bytes of quantized vectors.

    int8: items x (dim + 4), one byte per number and one float per item; confirmed by a file of Edge 0.9 (20,000 x 256).
    binary: items x 16 x ceil(dim / 128), one bit per number in words of 128 bits; not confirmed.
    """
    if quantization == "int8":
        return float(items * (dim + 4))
    return float(items * 16 * math.ceil(dim / 128)) if quantization == "binary" else 0.0


def has_graph(items: int, dim: int, threshold_kb: int) -> bool:
    """Whether the vectors get an HNSW graph: they take more than threshold_kb x 1,024 bytes."""
    return vector_bytes(items, dim) > 1024 * threshold_kb


def links(m: int) -> float:
    """Returns the maximum number of links of an average item: 2 m at layer 0, and m at each of the 1 / (m - 1) upper
    layers that an item is in on average (each layer keeps one item in m)."""
    return 2 * m + m / (m - 1)


def graph_bound(items: int, m: int) -> float:
    """Returns the bytes of a graph with all links in use, unpacked: items x links(m) x 4, the textbook formula."""
    return items * links(m) * BITS_ID / 8


def graph_bytes(items: int, m: int, fill: float, linked: int = 0) -> float:
    """Returns the bytes of Qdrant's packed links: items x links(m) x (1 + linked) x fill x ceil(log2 items) bits.

    `fill` is measured: the fraction of links that the heuristic uses, times the saving of packing. Qdrant adds links
    for each of the `linked` indexed attributes whose values have large groups of items; that each adds the size of one
    graph is inferred from two sizes.
    """
    return items * links(m) * (1 + linked) * fill * math.ceil(math.log2(max(items, 2))) / 8


def payload_disk_bytes(items: int, payload_bytes: int) -> float:
    """Returns the bytes of stored payloads: items x (128 x ceil(payload / 128) + 16)."""
    return float(items * (BLOCK * math.ceil(payload_bytes / BLOCK) + POINTER))


def vendor_bytes(items: int, dim: int) -> float:
    """Returns Qdrant's rule of thumb for memory: items x dim x 4 x 1.5."""
    return vector_bytes(items, dim) * VENDOR_MARGIN


def wait_p95_s(rate: float, utilisation: float) -> float:
    """Returns the 95th percentile of the time in an M/M/1 queue in seconds: ln(20) / (rate x (1 - utilisation))."""
    return math.log(20) / (rate * (1 - utilisation))
