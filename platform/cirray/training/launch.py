"""Runs one stage on Ray Train: N workers, restarted after failures, and resumed after a killed driver."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ray
from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError
from torch import Tensor

from cirray.cluster.board import BoardLog, Poster, new_board, read_board
from cirray.cluster.device import use_gpu
from cirray.cluster.worker import Worker
from cirray.config.training import Optimisation, TrainConfig
from cirray.console.progress import live_progress
from cirray.errors import RunError
from cirray.storage.files import read_json, replacing, write_json
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.checkpoints import PROGRESS, WEIGHTS, read_weights
from cirray.training.loop import Loop
from cirray.training.run_dir import CHECKPOINTS, METRICS
from cirray.training.task import StageInputs, Task

StageName = Literal["stage0", "stage1", "stage2", "stage3"]
DONE = "done.json"


def _task(stage: StageName) -> Callable[[StageInputs, Worker], Task]:
    """Returns the task class of a stage. Imports only that stage: stages 2 and 3 do without open_clip's slow import."""
    match stage:
        case "stage0":
            from cirray.training.stages.pretrain import PretrainTask

            return PretrainTask
        case "stage1":
            from cirray.training.stages.finetune import FineTuneTask

            return FineTuneTask
        case "stage2":
            from cirray.training.stages.combine import CombiningTask

            return CombiningTask
        case "stage3":
            from cirray.training.stages.rerank import RerankTask

            return RerankTask


def optimisation_of(config: TrainConfig, stage: StageName) -> Optimisation:
    """Returns the optimisation settings of a stage."""
    settings: Optimisation = getattr(config, stage).optimisation
    return settings


def worker_loop(job: dict[str, Any]) -> None:
    """The training function of each Ray Train worker: builds its task and trains it to the end."""
    inputs: StageInputs = ray.get(job["inputs"])
    config = inputs.config
    stage: StageName = job["stage"]
    worker = Worker.current(config.compute)
    task = _task(stage)(inputs, worker)
    settings = optimisation_of(config, stage)
    board = job["board"]
    Loop(task, settings, config.compute, config.seed, worker, BoardLog(board), Poster(board)).run()


def run_stage(stage: StageName, label: str, inputs: StageInputs, run: Location) -> dict[str, Tensor]:
    """Trains a stage to the end; resumes from the latest checkpoint of the same run.

    Args:
        stage: the stage.
        label: name of this training in metrics, progress and the output folder; an ablation trains stage 2 twice.
        inputs: the inputs of the stage.
        run: output of the run. Its folder `label` contains the checkpoints, and afterwards the best weights.

    Returns:
        The trained tensors of the best epoch, by name.

    Raises:
        RunError: the loss diverged, or workers failed more often than `compute.max_failures` allows.
    """
    step = run / label
    if is_done(step.local):
        return read_weights(step.local)
    board = new_board(MetricsLog(run / METRICS, label))
    job = {"inputs": ray.put(inputs), "stage": stage, "board": board}
    gpu = use_gpu(inputs.config.compute, inputs.config.workers)
    trainer = TorchTrainer(
        worker_loop,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=inputs.config.workers, use_gpu=gpu),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=str(step),
            failure_config=FailureConfig(max_failures=inputs.config.compute.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="selection"),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        with live_progress(partial(read_board, board), label):
            result = trainer.fit()
    except TrainingFailedError as error:
        raise RunError(f"{label} failed: {_cause(error)}. Run the same command again to resume") from error
    if result.metrics and result.metrics.get("diverged"):
        raise RunError(
            f"{label}: the loss is not finite in epoch {result.metrics['diverged']}: lower "
            f"{stage}.optimisation.lr, set {stage}.optimisation.clip_norm, or use compute.precision fp32"
        )
    return _keep_best(result, step)


def is_done(folder: Path) -> bool:
    """Whether a stage's folder contains its final weights."""
    return (folder / DONE).is_file()


def _keep_best(result: Any, step: Location) -> dict[str, Tensor]:
    """Keeps the best epoch's weights, marks the stage as done, and deletes the checkpoints."""
    folder = step.local
    folder.mkdir(parents=True, exist_ok=True)
    best, _ = max(result.best_checkpoints, key=lambda pair: (pair[1]["selection"], pair[1]["epoch"]))
    with best.as_directory() as checkpoint:
        for name in (WEIGHTS, PROGRESS):
            with replacing(folder / name) as temporary:
                shutil.copyfile(Path(checkpoint) / name, temporary)
    progress = read_json(folder / PROGRESS)
    write_json(folder / DONE, {"best": progress["best"], "epoch": progress["best_epoch"]})
    step.push(DONE)
    (step / CHECKPOINTS).drop()
    return read_weights(folder)


def _cause(error: TrainingFailedError) -> str:
    """Returns the last line of Ray's message, after its traceback: the original error."""
    return str(error).strip().splitlines()[-1].strip().removesuffix(".")
