"""kill -9 of a worker, then of the driver, in each stage: the finished run equals an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import (
    comparable,
    kill_driver,
    kill_worker,
    rows,
    small_settings,
    train,
    training,
    wait_for,
)
from tests.support.small_catalog import write_small_catalog

STAGES = ("stage0", "stage1", "stage2")


@pytest.mark.cluster
@pytest.mark.slow
def test_killed_workers_and_drivers_change_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    settings = {**small_settings(write_small_catalog(tmp_path / "data"), tmp_path), "ablation": "true"}
    output, log = tmp_path / "run", tmp_path / "log.txt"
    for stage in STAGES:
        with training(settings, output, log) as process:
            wait_for(lambda stage=stage: len(rows(output, stage)) >= 1, f"the first validation of {stage}")  # type: ignore[misc]
            kill_worker(process.pid)
            wait_for(lambda stage=stage: len(rows(output, stage)) >= 3, f"{stage} to go on after a worker's death")  # type: ignore[misc]
            kill_driver(process)
    train(settings, output, log)
    trained: Path = request.getfixturevalue("trained")  # last: another process of pytest may have made it meanwhile
    assert comparable(output) == comparable(trained / "run")
