"""A trial on several Ray Train workers, with global negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray import train, tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from cirray.cluster.worker import Worker
from cirray.config.tuning import TrialsConfig
from tuning.prepare import Start
from tuning.trial_task import build_task
from tuning.trial_task import train as train_task


def run_group(config: TrialsConfig, start: Start, scored: bool) -> None:
    """Trains one candidate on `tune.workers_per_trial` Ray Train workers; worker 0 reports to Ray Tune."""
    gpu = bool(ray.cluster_resources().get("GPU", 0) >= config.tune.workers_per_trial)
    folder = Path(tune.get_context().get_trial_dir())
    job = {"config": config, "start": ray.put(start), "scored": scored, "folder": str(folder)}
    TorchTrainer(
        _worker_loop,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=config.tune.workers_per_trial, use_gpu=gpu),
        run_config=RunConfig(name="group", storage_path=str(folder), callbacks=[TuneReportCallback()]),
    ).fit()


def _worker_loop(job: dict[str, Any]) -> None:
    config: TrialsConfig = job["config"]
    worker = Worker.current(config.compute, keeps_checkpoints=False)
    task = build_task(config, ray.get(job["start"]), worker, job["scored"])
    train_task(task, config, worker, Path(job["folder"]), train.report)
