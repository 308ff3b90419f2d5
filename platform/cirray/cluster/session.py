"""Connects to Ray: to the cluster at RAY_ADDRESS (set in a submitted job), or to a new local instance."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import ray

import cirray
from cirray.console.log import log


def connect(workers: int, *packages: Path) -> None:
    """Connects to a Ray cluster or starts a local Ray, with cirray importable on every node.

    Does nothing if already connected. The workers' output goes to Ray's log folder only.

    Args:
        workers: minimum number of CPUs of a local Ray, so that more workers than cores are slow instead of stuck.
        packages: folders of further packages that workers import.
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
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a local machine is not preemptible
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # each report waits for a check; epochs are short
    # "local" never connects to another Ray on this machine; only RAY_ADDRESS does.
    ray.init("local", num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


def _share_import_path(folder: Path) -> None:
    """Adds a folder to PYTHONPATH, which local workers inherit."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if str(folder) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *paths])
