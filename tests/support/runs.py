"""Runs jobs/train.py in its own process, and kills its driver or workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
BACKBONE = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def small_settings(data: Path, folder: Path) -> dict[str, str]:
    """Returns settings with which each stage takes some seconds on two cores."""
    backbone = folder / "backbone.json"
    backbone.write_text(json.dumps(BACKBONE), encoding="utf-8")
    return {
        "recipe": "tiny",
        "data.root": str(data),
        "backbone.model": str(backbone),
        "store": str(folder / "store"),
        "stage0.optimisation.epochs": "12",
        "stage0.optimisation.batch_size": "20",
        "stage0.optimisation.validate_every": "2",
        "stage1.optimisation.epochs": "8",
        "stage1.optimisation.batch_size": "32",
        "stage2.optimisation.epochs": "16",
        "stage2.optimisation.batch_size": "32",
        "stage2.optimisation.lr": "5e-4",
        "stage2.combining.projection": "32",
        "stage2.combining.hidden": "64",
        "ablation": "false",
    }


def options(settings: Mapping[str, str]) -> list[str]:
    """Returns settings as a command line has them."""
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


@contextmanager
def job(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a job in its own process, which is killed when the block ends."""
    with log.open("ab") as sink, subprocess.Popen(command, env=environment, stdout=sink, stderr=sink) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def training(settings: Mapping[str, str], output: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a training with its own local Ray."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, str(REPOSITORY / "jobs" / "train.py"), *options(settings), "--output", str(output)]
    with job(command, log, environment) as process:
        yield process


def train(settings: Mapping[str, str], output: Path, log: Path) -> None:
    """Trains to the end."""
    with training(settings, output, log) as process:
        finish(process, log)


def finish(process: subprocess.Popen[bytes], log: Path, timeout: float = 600) -> None:
    """Waits until a training succeeds; fails with the end of its log otherwise."""
    code = process.wait(timeout)
    assert code == 0, log.read_text(encoding="utf-8")[-4000:]


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 400) -> None:
    """Waits until `condition` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.05)


def rows(output: Path, stage: str) -> list[dict[str, Any]]:
    """Returns the complete metrics rows of one stage so far."""
    path = output / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [row for row in map(json.loads, lines) if row["stage"] == stage]


def train_workers(driver: int) -> list[psutil.Process]:
    """Returns the Ray Train workers of a driver, recognized by Ray's process title."""
    workers = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if process.cmdline()[:1] and "RayTrainWorker" in process.cmdline()[0]:
                workers.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return workers


def kill_worker(driver: int) -> None:
    """Kills one training worker with SIGKILL."""
    wait_for(lambda: len(train_workers(driver)) > 0, "a training worker")
    train_workers(driver)[-1].send_signal(signal.SIGKILL)


def kill_driver(process: subprocess.Popen[bytes]) -> None:
    """Kills the driver with SIGKILL and waits until its local Ray has ended."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    psutil.wait_procs(family, timeout=30)


def comparable(output: Path) -> dict[str, Any]:
    """Returns the results that must be equal in two runs: the report, and all metrics except times."""
    timed = ("seconds", "triplets_per_s", "pairs_per_s")
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines]
    return {"metrics": metrics, "report": json.loads((output / "report.json").read_text(encoding="utf-8"))}
