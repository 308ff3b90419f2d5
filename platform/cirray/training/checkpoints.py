"""Checkpoints of a stage: weights, optimizer state and progress in separate files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cirray.training.average import WeightAverage

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.pt"
PROGRESS = "progress.json"


@dataclass(slots=True)
class Progress:
    """The progress of a stage.

    Attributes:
        epoch: number of finished epochs.
        best: best selection value so far; None before the first validation.
        best_epoch: epoch of the best value.
        stale: validations since the last improvement.
        seconds: total training time, including the runs before a resume.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    seconds: float = 0.0

    def record(self, epoch: int, selection: float) -> None:
        """Records a validation. On equal values the later epoch is the best, as in Ray's ordering of checkpoints."""
        self.epoch = epoch
        if self.best is None or selection >= self.best:
            self.stale = 0 if self.best is None or selection > self.best else self.stale + 1
            self.best, self.best_epoch = selection, epoch
        else:
            self.stale += 1


def write_checkpoint(
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
    average: WeightAverage,
) -> Path:
    """Writes a checkpoint to a new temporary folder; returns the folder. Call it while `average` is applied."""
    folder = Path(tempfile.mkdtemp(prefix="cirray-checkpoint-"))
    save_file({name: parameter.detach().cpu().contiguous() for name, parameter in trained.items()}, folder / WEIGHTS)
    state = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(), "average": average.state()}
    torch.save(state, folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
    return folder


def read_checkpoint(
    folder: Path,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: WeightAverage,
) -> Progress:
    """Restores parameters, optimizer, scaler and average from a checkpoint; returns its progress."""
    with torch.no_grad():
        for name, tensor in read_weights(folder).items():
            trained[name].copy_(tensor)
    state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    average.restore(state["average"])
    return Progress(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Returns the trained tensors of a checkpoint folder, by name."""
    tensors: dict[str, Tensor] = load_file(folder / WEIGHTS)
    return tensors
