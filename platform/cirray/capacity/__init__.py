"""Capacity planning: from a number of items and a query rate to memory, disk, nodes, replicas and hours.

Every figure carries its formula and its basis. What the engine takes (bytes, core seconds) is fitted to points measured
with `benchmarks/bench_edge.py`; what cannot be measured here is a vendor's word, or given by whoever asks. Sizes are in
bytes, 1 GB = 10^9 bytes; times in seconds; rates per second. Pure functions, no plots, no network.
"""
