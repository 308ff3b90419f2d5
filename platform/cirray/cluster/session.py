"""Connects to Ray: the cluster that RAY_ADDRESS names (a submitted job has it set), or a local one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import ray

import cirray
from cirray.console.log import log


def connect(workers: int, *packages: Path) -> None:
    """Joins or starts Ray, so that cirray can be imported on every node. Does nothing when already connected.

    Args:
        workers: CPUs that a local Ray has at least.
        packages: folders of further packages that workers import.

    Workers' own output stays in Ray's log folder: what a person needs to know, the driver says. A local Ray gets at
    least as many CPUs as there are workers: more workers than cores is slow, not stuck.
    """
    if ray.is_initialized():
        return
    shared = (Path(cirray.__file__).parent, *packages)
    if os.environ.get("RAY_ADDRESS"):
        log(f"joining the Ray cluster at {os.environ['RAY_ADDRESS']}")
        ray.init(
            runtime_env={"py_modules": [str(package) for package in shared]},
            logging_level=logging.WARNING,
            log_to_driver=False,
        )
        return
    for package in shared:
        _share_import_path(package.parent)
    cores = max(os.cpu_count() or 1, workers)
    log(f"starting Ray on this machine with {cores} CPUs")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody reclaims this machine under us
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # reports wait for it, and small epochs are short
    # "local": never another Ray that happens to run here; a cluster is joined by RAY_ADDRESS only.
    ray.init("local", num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


def _share_import_path(folder: Path) -> None:
    """Local workers inherit the environment: they find cirray where this process found it."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *paths])
