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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """A run that nothing happened to, and its settings."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = small_settings(write_small_catalog(folder / "data"), folder)
    log = folder / "log.txt"
    train(settings, folder / "run", log)
    return settings, folder / "run"


@pytest.mark.slow
def test_killed_workers_and_drivers_change_nothing(undisturbed: tuple[dict[str, str], Path], tmp_path: Path) -> None:
    settings, expected = undisturbed
    settings = {**settings, "store": str(tmp_path / "store")}
    output, log = tmp_path / "run", tmp_path / "log.txt"
    for stage in STAGES:
        with training(settings, output, log) as process:
            wait_for(lambda stage=stage: len(rows(output, stage)) >= 1, f"the first validation of {stage}")  # type: ignore[misc]
            kill_worker(process.pid)
            wait_for(lambda stage=stage: len(rows(output, stage)) >= 3, f"{stage} to go on after a worker's death")  # type: ignore[misc]
            kill_driver(process)
    train(settings, output, log)
    assert comparable(output) == comparable(expected)


@pytest.mark.slow
def test_the_same_command_on_a_finished_run_trains_nothing(undisturbed: tuple[dict[str, str], Path]) -> None:
    settings, output = undisturbed
    before = comparable(output)
    log = output.parent / "again.txt"
    train(settings, output, log)
    assert comparable(output) == before
    assert "training the combining function" not in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_another_setting_in_the_same_output_is_refused(undisturbed: tuple[dict[str, str], Path]) -> None:
    settings, output = undisturbed
    log = output.parent / "refused.txt"
    with training({**settings, "stage2.optimisation.lr": "3e-4"}, output, log) as process:
        assert process.wait(120) == 2
    assert "stage2.optimisation.lr: 0.0005 there, 0.0003 now" in log.read_text(encoding="utf-8")
