"""The training loop of all stages: epochs, optimizer, schedule, validation, early stopping, checkpoints, progress."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.compute import Compute
from cirray.config.training import Optimisation
from cirray.storage.metrics_log import Log
from cirray.training.average import WeightAverage
from cirray.training.checkpoints import Progress, read_checkpoint, write_checkpoint
from cirray.training.sampling import Sampler, seed_epoch
from cirray.training.task import Task, Validation


class Loop:
    """Trains one task to the end, from the start or from its latest checkpoint.

    Args:
        task: the stage to train.
        settings: its optimisation.
        compute: the precision.
        seed: determines, with the epoch, batches, drawn captions and dropout.
        worker: this process's worker.
        log: sink for worker 0's metrics.
        poster: sink for worker 0's progress.
    """

    def __init__(
        self,
        task: Task,
        settings: Optimisation,
        compute: Compute,
        seed: int,
        worker: Worker,
        log: Log,
        poster: Poster,
    ) -> None:
        self.task = task
        self.settings = settings
        self.seed = seed
        self.worker = worker
        self.log = log
        self.poster = poster
        self.trained = task.trained()
        self.optimizer = build_optimizer(self.trained, settings)
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=compute.precision == "fp16")
        self.sampler = Sampler(task.examples, settings.batch_size, settings.drop_last, seed)
        self.average = WeightAverage(self.trained, settings.ema)
        self.progress = Progress()

    def run(self) -> None:
        """Runs the remaining epochs. A loss that is not finite ends training; the epoch is reported as `diverged`."""
        self._resume()
        while self.progress.epoch < self.settings.epochs and not self._is_stale():
            started = time.monotonic()
            epoch = self.progress.epoch
            loss = self._epoch(epoch)
            elapsed = time.monotonic() - started
            self.progress.seconds += elapsed
            self.progress.epoch = epoch + 1
            if not math.isfinite(loss):
                self.worker.report({"diverged": epoch + 1}, None)
                return
            if (epoch + 1) % self.settings.validate_every == 0 or epoch + 1 == self.settings.epochs:
                with self.average.applied():
                    self._validate(loss, self.task.examples / elapsed)

    def _resume(self) -> None:
        folder = self.worker.checkpoint()
        if folder is not None:
            self.progress = read_checkpoint(folder, self.trained, self.optimizer, self.scaler, self.average)
        if self.worker.rank == 0:
            self.log.rewind(self.progress.epoch)

    def _is_stale(self) -> bool:
        return self.settings.patience is not None and self.progress.stale >= self.settings.patience

    def _epoch(self, epoch: int) -> float:
        """Trains one epoch; returns its mean loss over all workers."""
        seed_epoch(self.seed, epoch, self.worker.rank)
        self.task.begin()
        total, steps = torch.zeros((), device=self.worker.device), self.sampler.steps()
        started = time.monotonic()
        for step, batch in enumerate(self.sampler.epoch(epoch)):
            self._set_learning_rate(epoch * steps + step)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.task.backward(batch, self.scaler.scale)
            self._update()
            total += loss
            self._post(epoch, step + 1, loss, time.monotonic() - started)
        return float(self.worker.sum(total)) / max(1, steps)

    def _update(self) -> None:
        self.worker.sum_gradients(self.trained.values())
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()

    def _set_learning_rate(self, step: int) -> None:
        factor = learning_rate_factor(step, self.settings.epochs * self.sampler.steps(), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor

    def _validate(self, loss: float, rate: float) -> None:
        """Validates, logs the metrics, and reports a checkpoint. All workers use worker 0's metrics.

        Args:
            loss: mean training loss of the epoch.
            rate: examples per second.
        """
        with torch.inference_mode():
            validation: Validation = self.worker.broadcast(self.task.validate(self.progress.epoch))
        self.progress.record(self.progress.epoch, validation.selection)
        row = {
            "epoch": self.progress.epoch,
            "loss": loss,
            "selection": validation.selection,
            **validation.metrics,
            f"{self.task.unit}_per_s": round(rate, 1),
            "seconds": round(self.progress.seconds, 2),
        }
        folder: Path | None = None
        if self.worker.rank == 0:
            self.log.append(row)
            if self.worker.keeps_checkpoints:
                folder = write_checkpoint(self.trained, self.optimizer, self.scaler, self.progress, self.average)
        self.worker.report({"selection": validation.selection, "epoch": self.progress.epoch, "loss": loss}, folder)

    def _post(self, epoch: int, step: int, loss: torch.Tensor, elapsed: float) -> None:
        if self.worker.rank or not self.poster.due():
            return
        steps, epochs = self.sampler.steps(), self.settings.epochs
        remaining = (epochs - epoch) * steps - step
        state: dict[str, Any] = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "step": epoch * steps + step,
            "steps": epochs * steps,
            "loss": float(loss) * self.worker.world,
            "best": self.progress.best,
            "rate": step * self.settings.batch_size / max(elapsed, 1e-9),
            "unit": self.task.unit,
            "eta_s": remaining * elapsed / step,
        }
        self.poster.post(state)


def build_optimizer(trained: dict[str, torch.nn.Parameter], settings: Optimisation) -> torch.optim.Optimizer:
    """Builds Adam or AdamW. Weight decay excludes scalars, such as a learned temperature."""
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    plain = [parameter for parameter in trained.values() if parameter.dim() > 0]
    scalars = [parameter for parameter in trained.values() if parameter.dim() == 0]
    groups = [
        {"params": plain, "weight_decay": settings.weight_decay},
        {"params": scalars, "weight_decay": 0.0},
    ]
    return kinds[settings.optimizer](
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,  # one pass over memory; otherwise updating the token embedding dominates a step
    )


def learning_rate_factor(step: int, total: int, settings: Optimisation) -> float:
    """Returns the learning rate at `step` of `total`, as a factor of `lr`: linear warm-up, then constant or cosine."""
    warmup = int(settings.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
