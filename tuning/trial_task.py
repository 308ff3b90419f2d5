"""Runs the training loop of the searched stage in a trial, on shared features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.tuning import TrialsConfig
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import evaluate
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.launch import optimisation_of
from cirray.training.loop import Loop
from cirray.training.run_dir import METRICS
from cirray.training.stages.combine import CombiningTask
from cirray.training.task import Task, Validation
from tuning.prepare import REPORTED, Start, with_config
from tuning.reported import on_val

METRIC = "selection"


class CombiningTaskWithVal(CombiningTask):
    """Stage 2 that also reports the metrics of the best epoch on the val split, which selects nothing."""

    def __init__(self, start: Start, config: TrialsConfig, worker: Worker) -> None:
        super().__init__(with_config(start, config), worker, start.features)
        assert start.reported is not None
        self._table = start.reported
        self._best = float("-inf")
        self.reported: dict[str, float] = {}

    def validate(self, epoch: int) -> Validation:
        validation = super().validate(epoch)
        if validation.selection >= self._best:
            self._best = validation.selection
            self.reported = self._val()
        return validation

    def _val(self) -> dict[str, float]:
        queries = self.combining(*self.frozen.query_inputs(REPORTED, self._table))
        retriever = CosineRetriever(self._table, self.frozen.unit_images, queries)
        return on_val(evaluate(retriever, self.inputs.protocol)[-1].metrics)


def build_task(config: TrialsConfig, start: Start, worker: Worker, scored: bool) -> Task:
    """Builds the task of the searched stage; `scored` adds the recall on val (stage 2 only)."""
    if config.trial_stage == "stage1":
        from cirray.training.stages.finetune import FineTuneTask

        return FineTuneTask(with_config(start, config), worker)
    if scored:
        return CombiningTaskWithVal(start, config, worker)
    return CombiningTask(with_config(start, config), worker, start.features)


def train(task: Task, config: TrialsConfig, worker: Worker, folder: Path, report: Any) -> None:
    """Runs the training loop; calls `report` after each validation. A task with nothing to train is validated once."""
    settings = optimisation_of(config, config.trial_stage)
    parameters = sum(parameter.numel() for parameter in task.trained().values())
    best, loop = float("-inf"), None

    def send(metrics: dict[str, Any]) -> None:
        nonlocal best
        if "diverged" in metrics:
            metrics = {METRIC: 0.0, "epoch": metrics["diverged"], "loss": float("inf"), "diverged": True}
        best = max(best, metrics[METRIC])
        seconds = loop.progress.seconds if loop else 0.0
        report({**metrics, "best": best, "parameters": parameters, "seconds": seconds, **getattr(task, "reported", {})})

    worker.send = send
    if not parameters:  # such as the sum
        with torch.inference_mode():
            worker.report({METRIC: task.validate(0).selection, "epoch": settings.epochs}, None)
        return
    log = MetricsLog(Location.parse(folder) / METRICS, config.trial_stage)
    loop = Loop(task, settings, config.compute, config.seed, worker, log, Poster(None))
    loop.run()
