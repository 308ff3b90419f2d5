"""Several nodes: training goes on after one of them is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.cluster import cluster
from tests.support.runs import REPOSITORY, finish, options, rows, small_settings, wait_for
from tests.support.small_catalog import write_small_catalog

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_training_survives_the_loss_of_a_node(tmp_path: Path) -> None:
    data = write_small_catalog(tmp_path / "data")
    settings = {
        **small_settings(data, tmp_path),
        "stage0.enabled": "false",
        "stage1.enabled": "false",
        "stage2.optimisation.epochs": "40",
        "stage2.optimisation.validate_every": "5",
        "stage2.combining.hidden": "2048",
        "stage2.combining.projection": "1024",
        "output": str(tmp_path / "out"),
        "workers": "2",
    }
    command = [sys.executable, str(REPOSITORY / "jobs" / "train.py"), *options(settings)]
    log = tmp_path / "log"
    with cluster(tmp_path) as nodes:
        _, second = nodes.add(1, 1)
        process = nodes.head.start(command, nodes.environment, log)

        def has_validated() -> bool:
            assert process.poll() is None, log.read_text()[-3000:]
            return bool(rows(tmp_path / "out", "stage2"))

        wait_for(has_validated, "a validation of stage 2")
        second.kill()
        reached = max(row["epoch"] for row in rows(tmp_path / "out", "stage2"))
        assert reached < 40
        nodes.add(1)
        finish(process, log)
    epochs = [row["epoch"] for row in rows(tmp_path / "out", "stage2")]
    assert epochs == list(range(5, 41, 5)), "each validation is there once, across the loss"
    assert (tmp_path / "out" / "bundle" / "model.json").is_file()
