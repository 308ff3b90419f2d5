"""Device choice for workers."""

from __future__ import annotations

import ray

from cirray.config.compute import Device


def use_gpu(compute: Device, workers: int) -> bool:
    """Whether each of `workers` workers gets a GPU. With device `auto`, they do if the cluster has enough GPUs."""
    if compute.device == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= workers)
    return compute.device == "cuda"
