"""What a trial trains: the very loop of the stage, on shared features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.schema import Config
from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import evaluate
from cirray.storage.metrics_log import MetricsLog
from cirray.training.launch import optimisation_of
from cirray.training.loop import Loop
from cirray.training.stages.combine import CombiningTask
from cirray.training.task import Task, Validation
from tuning.prepare import Start, as_frozen, shared_tensor, with_config
from tuning.reported import on_val

METRIC = "selection"


class Scored(CombiningTask):
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
        average = evaluate(CosineRetriever(self._table, self.frozen.gallery, queries), self.inputs.protocol)[-1]
        return on_val(average.metrics)


def build_task(config: Config, start: Start, worker: Worker, scored: bool) -> Task:
    """Builds the searched stage."""
    if config.tune.stage == "stage1":
        from cirray.training.stages.finetune import FineTuneTask

        return FineTuneTask(with_config(start, config), worker)
    if scored:
        return Scored(start, config, worker)
    return CombiningTask(with_config(start, config), worker, as_frozen(start.frozen))


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
