"""One trial: the very loop of the stage, on shared features, reporting each validation to Ray Tune."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from cirray.config import Config, overridden
from cirray.metrics import MetricsLog
from cirray.progress import Poster
from cirray.recall import evaluate
from cirray.training.combine import Combine
from cirray.training.loop import Loop
from cirray.training.stages import optimisation_of
from cirray.training.task import Task, Validation
from cirray.workers import Worker
from tuning.prepare import Start, as_frozen, shared_tensor, with_config

SEED = "seed"
METRIC = "selection"


class Scored(Combine):
    """Stage 2 that also remembers how the best epoch so far ranks the val split, which chooses nothing."""

    def __init__(self, start: Start, config: Config, worker: Worker) -> None:
        super().__init__(with_config(start, config), worker, as_frozen(start.frozen))
        assert start.reported is not None
        self._table = start.reported.table
        self._captions = shared_tensor(start.reported.captions).to(worker.device)
        self._best = float("-inf")
        self.reported: dict[str, float] = {}

    def validate(self, epoch: int) -> Validation:
        found = super().validate(epoch)
        if found.selection >= self._best:
            self._best = found.selection
            self.reported = self._val()
        return found

    def _val(self) -> dict[str, float]:
        images = self.frozen.images
        queries = self.combining(images[self._table.reference], self._captions[self._table.query])
        average = evaluate(self._table, self.inputs.protocol, self.frozen.gallery, queries)[-1]
        return {f"val R@{k}": value for k, value in average.recall.items()}


def search_trial(params: Mapping[str, Any], start: Start) -> None:
    """Trains one candidate and reports after each validation; Ray Tune may stop it early."""
    run(params, start, scored=False)


def final_trial(params: Mapping[str, Any], start: Start) -> None:
    """Trains one candidate to its end and reports its recall on the val split too."""
    run({**params["candidate"], SEED: params[SEED]}, start, scored=True)


def run(params: Mapping[str, Any], start: Start, scored: bool) -> None:
    """Trains one candidate in this process, or on Ray Train workers of its own."""
    config = overridden(start.inputs.config, dict(params))
    if config.tune.workers_per_trial > 1:
        from tuning.group import run_group

        run_group(config, start, scored)
        return
    gpu = bool(ray.get_gpu_ids())
    worker = Worker.trial(config.compute, torch.device("cuda" if gpu else "cpu"))
    task = build_task(config, start, worker, scored)
    train(task, config, worker, Path(tune.get_context().get_trial_dir()), tune.report)


def build_task(config: Config, start: Start, worker: Worker, scored: bool) -> Task:
    """Builds the searched stage."""
    if config.tune.stage == "stage1":
        from cirray.training.finetune import FineTune

        return FineTune(with_config(start, config), worker)
    if scored:
        return Scored(start, config, worker)
    return Combine(with_config(start, config), worker, as_frozen(start.frozen))


def train(task: Task, config: Config, worker: Worker, folder: Path, report: Any) -> None:
    """Runs the loop to its end; each validation becomes a report."""
    best, began = float("-inf"), time.monotonic()

    def send(metrics: dict[str, Any]) -> None:
        nonlocal best
        if "diverged" in metrics:
            metrics = {METRIC: 0.0, "epoch": metrics["diverged"], "loss": float("inf"), "diverged": True}
        best = max(best, metrics[METRIC])
        seen = {"best": best, "seconds": time.monotonic() - began, **getattr(task, "reported", {})}
        report({**metrics, **seen})

    worker.send = send
    settings = optimisation_of(config, config.tune.stage)
    log = MetricsLog(folder / "metrics.jsonl", config.tune.stage)
    Loop(task, settings, config.compute, config.seed, worker, log, Poster(None)).run()
