"""Runs the training loop of the searched stage in a trial, on shared features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.schema import Config
from cirray.evaluation.metrics import evaluate
from cirray.storage.metrics_log import MetricsLog
from cirray.training.launch import optimisation_of
from cirray.training.loop import Loop
from cirray.training.stages.combine import CombiningTask
from cirray.training.task import Task, Validation
from tuning.prepare import Start, as_frozen, shared_tensor, with_config

METRIC = "selection"


class CombiningTaskWithVal(CombiningTask):
    """Stage 2 that also reports the recall of the best epoch on the val split, which selects nothing."""

    def __init__(self, start: Start, config: Config, worker: Worker) -> None:
        super().__init__(with_config(start, config), worker, as_frozen(start.frozen))
        assert start.reported is not None
        self._table = start.reported.table
        self._captions = shared_tensor(start.reported.captions).to(worker.device)
        self._best = float("-inf")
        self.reported: dict[str, float] = {}

    def validate(self, epoch: int) -> Validation:
        validation = super().validate(epoch)
        if validation.selection >= self._best:
            self._best = validation.selection
            self.reported = self._val()
        return validation

    def _val(self) -> dict[str, float]:
        images = self.frozen.images
        queries = self.combining(images[self._table.reference], self._captions[self._table.query])
        average = evaluate(self._table, self.inputs.protocol, self.frozen.gallery, queries)[-1]
        return {f"val R@{k}": value for k, value in average.recall.items()}


def build_task(config: Config, start: Start, worker: Worker, scored: bool) -> Task:
    """Builds the task of the searched stage; `scored` adds the recall on val (stage 2 only)."""
    if config.tune.stage == "stage1":
        from cirray.training.stages.finetune import FineTuneTask

        return FineTuneTask(with_config(start, config), worker)
    if scored:
        return CombiningTaskWithVal(start, config, worker)
    return CombiningTask(with_config(start, config), worker, as_frozen(start.frozen))


def train(task: Task, config: Config, worker: Worker, folder: Path, report: Any) -> None:
    """Runs the training loop; calls `report` after each validation."""
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
