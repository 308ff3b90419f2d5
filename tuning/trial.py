"""The Ray Tune trainables: train one candidate and report each validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from cirray.cluster.worker import Worker
from cirray.config.recipe import overridden
from tuning.group import run_group
from tuning.prepare import Start
from tuning.trial_task import build_task, train

SEED = "seed"


def search_trial(params: Mapping[str, Any], start: Start) -> None:
    """Trains one candidate; Ray Tune may stop it early."""
    run(params, start, scored=False)


def final_trial(params: Mapping[str, Any], start: Start) -> None:
    """Trains one candidate fully; also reports its metrics on the val split."""
    run({**params["candidate"], SEED: params[SEED]}, start, scored=True)


def run(params: Mapping[str, Any], start: Start, scored: bool) -> None:
    """Trains one candidate in this process, or on `tune.workers_per_trial` Ray Train workers."""
    config = overridden(start.config, dict(params))
    if config.tune.workers_per_trial > 1:
        run_group(config, start, scored)
        return
    gpu = bool(ray.get_gpu_ids())
    worker = Worker.trial(config.compute, torch.device("cuda" if gpu else "cpu"))
    task = build_task(config, start, worker, scored)
    train(task, config, worker, Path(tune.get_context().get_trial_dir()), tune.report)
