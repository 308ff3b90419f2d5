"""Several nodes: training goes on after one of them is lost."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import cluster
from tests.integration.runs import REPOSITORY, job, small_settings
from tests.small_catalogue import write_small_catalogue

pytestmark = pytest.mark.slow


def rows(output: Path) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_training_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    data = write_small_catalogue(tmp_path / "data")
    settings = {
        **small_settings(data, tmp_path),
        "stage0.enabled": "false",
        "stage1.enabled": "false",
        "stage2.optimisation.epochs": "60",
        "stage2.optimisation.validate_every": "5",
        "stage2.combining.hidden": "4096",
        "stage2.combining.projection": "1024",
        "output": str(tmp_path / "out"),
        "workers": "2",
    }
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with cluster(tmp_path, cpus=1) as nodes:
        second = nodes.add(cpus=1)
        command = [sys.executable, str(REPOSITORY / "jobs" / "train.py"), *arguments]
        with job(command, tmp_path / "log", nodes.environment) as process:
            end = time.monotonic() + 500
            while not any(row["stage"] == "stage2" for row in rows(tmp_path / "out")):
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                assert time.monotonic() < end, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.1)
            nodes.lose(second)
            reached = max(row["epoch"] for row in rows(tmp_path / "out"))
            assert reached < 60
            nodes.add(cpus=1)
            assert process.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    epochs = [row["epoch"] for row in rows(tmp_path / "out") if row["stage"] == "stage2"]
    assert epochs == list(range(5, 61, 5)), "each validation is there once, across the loss"
    assert (tmp_path / "out" / "bundle" / "model.json").is_file()
