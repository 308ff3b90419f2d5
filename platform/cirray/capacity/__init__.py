"""Capacity planning: memory, disk, nodes, replicas and hours for a number of items and a query rate.

Every figure states its formula and its basis. The engine's bytes and core seconds are fitted to points measured with
`benchmarks/bench_edge.py`; other numbers come from vendor documentation or from the command line. Sizes are in bytes
(1 GB = 10^9 bytes), times in seconds, rates per second. Pure functions, without plots or network access.
"""
