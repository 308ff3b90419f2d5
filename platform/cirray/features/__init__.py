"""Frozen features, computed once: the feature store, and the Ray actors that fill it."""
