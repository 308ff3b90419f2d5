"""A distributed training worker: rank, device, collective operations, checkpoints and reports.

This is the only module that uses Ray Train inside a worker; model code and losses depend neither on Ray nor on ranks.
Outside a Ray Train worker, `Worker.single()` offers the same interface to a single process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.compute import Compute


class Worker:
    """A member of a group of workers that train one model.

    Attributes:
        rank, world: this worker's rank and the number of workers.
        device: device of its tensors.
        keeps_checkpoints: whether `report` passes metrics and checkpoints to Ray Train.
        send: receives the metrics of `report` if `keeps_checkpoints` is false; None discards them.
    """

    def __init__(
        self,
        rank: int,
        world: int,
        device: torch.device,
        compute: Compute,
        keeps_checkpoints: bool = False,
    ) -> None:
        self.rank = rank
        self.world = world
        self.device = device
        self._precision = compute.precision
        self.send: Callable[[dict[str, Any]], None] | None = None
        self.keeps_checkpoints = keeps_checkpoints

    @classmethod
    def current(cls, compute: Compute, keeps_checkpoints: bool = True) -> Worker:
        """Returns the worker of this process, which Ray Train has started."""
        from ray import train
        from ray.train.torch import get_device

        context, device = train.get_context(), get_device()
        cores = (os.cpu_count() or 1) // context.get_local_world_size()  # the node's workers share its cores
        torch.set_num_threads(compute.threads or max(1, cores))
        if device.type == "cuda":
            torch.cuda.set_device(device)  # NCCL broadcasts objects through the current device
        return cls(
            context.get_world_rank(), context.get_world_size(), device, compute, keeps_checkpoints=keeps_checkpoints
        )

    @classmethod
    def single(cls) -> Worker:
        """Returns the only worker of a group of one on the CPU, without Ray. Its reports are discarded."""
        return cls(0, 1, torch.device("cpu"), Compute())

    @classmethod
    def trial(cls, compute: Compute, device: torch.device) -> Worker:
        """Returns the only worker of a trial, with one CPU thread by default, because trials run in parallel.

        It keeps no checkpoints.
        """
        torch.set_num_threads(compute.threads or 1)
        return cls(0, 1, device, compute)

    def share(self, count: int) -> slice:
        """Returns this worker's slice of the `count` examples of a global batch; the last workers may get fewer."""
        start, stop = self._bounds(self.rank, count)
        return slice(start, stop)

    def shares(self, count: int) -> list[int]:
        """Returns the number of examples of each worker, by rank, in a global batch of `count`."""
        return [stop - start for start, stop in (self._bounds(rank, count) for rank in range(self.world))]

    def _bounds(self, rank: int, count: int) -> tuple[int, int]:
        each = -(-count // self.world)
        return min(rank * each, count), min((rank + 1) * each, count)

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Concatenates the rows [counts[rank], d] of all workers in rank order.

        Gradients flow back to the worker that contributed the rows.

        Returns:
            [sum(counts), d], on every worker.
        """
        if self.world == 1:
            return rows
        padded = F.pad(rows, (0, 0, 0, max(counts) - rows.shape[0]))
        parts = torch.distributed.nn.functional.all_gather(padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sums the gradients of all workers, in one all-reduce of a flat tensor.

        Each worker's loss is its part of the global mean, so the sum is the gradient of the whole batch.
        """
        if self.world == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, value: Tensor) -> Tensor:
        """Returns the sum of a tensor over all workers, in the same shape and without gradient."""
        value = value.detach().clone()
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def broadcast(self, value: Any) -> Any:
        """Returns worker 0's value on every worker, so that all make the same decisions."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the autocast context of `compute.precision`."""
        if self._precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self._precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def checkpoint(self) -> Path | None:
        """Returns a local folder with the latest checkpoint to resume from; None if there is none."""
        if not self.keeps_checkpoints:
            return None
        from ray import train

        latest = train.get_checkpoint()
        return Path(latest.to_directory(tempfile.mkdtemp(prefix="cirray-resume-"))) if latest else None

    def report(self, metrics: dict[str, Any], folder: Path | None) -> None:
        """Reports metrics, and worker 0's checkpoint in `folder`, which is uploaded while training continues."""
        if not self.keeps_checkpoints:
            if self.send is not None:
                self.send(metrics)
            return
        from ray import train
        from ray.train import CheckpointUploadMode

        train.report(
            metrics,
            checkpoint=train.Checkpoint.from_directory(folder) if folder else None,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )
