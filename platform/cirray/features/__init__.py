"""Frozen features, computed once: the store that keeps them and the Ray actors that fill it."""
