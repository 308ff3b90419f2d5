"""A search as a user runs it, killed in the middle and taken up again; and trials of several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from cirray.config.command_line import STOPPED
from cirray.config.recipe import load_recipe
from cirray.config.tuning import TuneConfig
from cirray.models.combining import build_combining
from cirray.models.encoder_manifest import WEIGHTS
from cirray.storage.remote import Remote
from cirray.training.checkpoints import WEIGHTS as CHECKPOINT
from tests.support.jobs import run_job, succeed
from tests.support.runs import REPOSITORY, job, kill_driver, options, small_settings, wait_for
from tests.support.small_catalog import write_small_catalog

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
SPACE = """
stage2.optimisation.lr: {loguniform: [1.0e-4, 1.0e-2]}
stage2.combining.hidden: {choice: [32, 64]}
stage2.loss.temperature: {loguniform: [0.01, 0.3]}
stage2.loss.learn_temperature: {choice: [false, true]}
"""


def search(folder: Path, **changes: str) -> list[str]:
    """The arguments of a search that starts from a random backbone, so that only the search takes time."""
    data = folder / "data"
    if not data.exists():
        write_small_catalog(data)
        (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    settings = {
        **small_settings(data, folder),
        "stage0.enabled": "false",
        "stage1.enabled": "false",
        "stage2.optimisation.epochs": "12",
        "space": str(folder / "space.yaml"),
        "output": str(folder / "out"),
        "data.holdout": "0.25",
        "tune.finalists": "1",
        "tune.seeds": "2",
        "tune.sweep_points": "3",
        **changes,
    }
    return options(settings)


def ablation(folder: Path, changes: str, **settings: str) -> list[str]:
    """The arguments of a table of these changes, as YAML."""
    (folder / "changes.yaml").write_text(changes, encoding="utf-8")
    arguments = search(folder, **settings)
    position = arguments.index("--space")
    arguments[position : position + 2] = ["--changes", str(folder / "changes.yaml")]
    for name in ("--tune.finalists", "--tune.sweep_points"):  # options of a search only
        position = arguments.index(name)
        del arguments[position : position + 2]
    return arguments


def command(job: str, arguments: list[str]) -> list[str]:
    return [sys.executable, str(REPOSITORY / "jobs" / f"{job}.py"), *arguments]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}


def ended(folder: Path) -> dict[str, float]:
    """Trials that have trained to their last epoch, and when they wrote last."""
    found = {}
    for path in (folder / "out" / "trials" / "search").glob("*/result.json"):
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        if rows and rows[-1]["epoch"] == 12:
            found[path.parent.name] = path.stat().st_mtime
    return found


def trial_runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether a trial trains: its files come much later."""
    names = [name for child in psutil.Process(process.pid).children(recursive=True) for name in _command(child)]
    return any(name.startswith("ray::ImplicitFunc.train") for name in names)


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):  # gone, or a zombie
        return process.cmdline()
    return []


@pytest.mark.filterwarnings("ignore:The reported value is ignored because:UserWarning")  # epochs of a resumed trial
def test_a_killed_search_goes_on_and_ends_in_a_recipe(tmp_path: Path) -> None:
    arguments = search(tmp_path, trials="6", **{"tune.scheduler": "none"})
    with job(command("tune", arguments), tmp_path / "log", environment()) as process:
        end = time.monotonic() + 500
        while len(ended(tmp_path)) < 2:
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        kill_driver(process)
    before = ended(tmp_path)

    done = succeed("tune", *arguments)
    after = ended(tmp_path)
    assert {name: after[name] for name in before} == before, "trials that had ended were not run again"
    assert len(after) == 6
    result: dict[str, Any] = json.loads((tmp_path / "out" / "tune.json").read_text())
    assert result["trials"] == 6
    assert [len(finalist["selection"]) for finalist in result["finalists"]] == [2, 2]
    assert "selection (chosen by)" in done.stdout
    rows = parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [row["phase"] for row in rows].count("search") == 6
    assert [row["phase"] for row in rows].count("sweep") == 3
    best = load_recipe(TuneConfig, str(tmp_path / "out" / "best.yaml"))
    assert best.data.holdout == 0.25
    for field, value in result["params"].items():
        section, part, name = field.split(".")
        assert getattr(getattr(getattr(best, section), part), name) == value
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000

    succeed("train", "--recipe", str(tmp_path / "out" / "best.yaml"), "--output", str(tmp_path / "trained"))
    report = json.loads((tmp_path / "trained" / "report.json").read_text())
    assert {row["split"] for row in report["results"]} == {"val"}

    assert run_job("tune", *arguments, "--tune.seeds=3").returncode == 2


def run(command: list[str]) -> None:
    """Runs a job whose Ray reaches the bucket: its environment is that of its workers."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]


def test_trials_of_two_workers_at_a_uri(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"tune.seeds": "1", "tune.sweep": "null", "stage2.optimisation.epochs": "4", "output": f"{bucket}/tuned"}
    arguments = search(tmp_path, trials="2", **{"workers-per-trial": "2", **changes})
    run(command("tune", arguments))
    tuned = Remote(f"{bucket}/tuned")
    result = json.loads(tuned.read("tune.json") or b"")
    assert result["trials"] == 2
    assert all(len(finalist["selection"]) == 1 for finalist in result["finalists"])
    trials = {name: stamp for name, stamp in tuned.stamps("trials").items() if name.endswith("result.json")}
    assert len(trials) == 4, "two of the search, a finalist and the recipe"

    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "another machine"))
    run(command("tune", arguments))
    again = {name: stamp for name, stamp in tuned.stamps("trials").items() if name.endswith("result.json")}
    assert again == trials, "nothing was run again"
    assert tuned.read("best.yaml") is not None


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Has processes started with Ctrl-C at its default: where CI itself runs in the background, they inherit that it is
    ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_single_changes_are_told_apart(tmp_path: Path) -> None:
    # One after the other, a second or more each: the signal comes long before the last of them ends.
    slowly = {"tune.seeds": "3", "tune.concurrent": "1", "stage2.optimisation.epochs": "300"}
    arguments = ablation(tmp_path, "mined: {stage2.loss.hard: 4, stage2.optimisation.ema: 0.9}", **slowly)
    with job(command("ablate", arguments), tmp_path / "log", environment()) as process:
        wait_for(lambda: trial_runs(process), "the first of 6 trials")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == STOPPED, (tmp_path / "log").read_text()[-3000:]
    assert not (tmp_path / "out" / "ablation.json").exists(), "half of the trials are no result"

    done = succeed("ablate", *arguments)
    assert "val R@1 (reported)" in done.stdout
    rows = json.loads((tmp_path / "out" / "ablation.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["the recipe", "mined"]
    assert all(len(row["selection"]) == len(row["reported"]["val R@10"]) == 3 for row in rows)
    trials = (tmp_path / "out" / "trials" / "rows").glob("*/result.json")
    assert len({json.loads(path.read_text().splitlines()[-1])["loss"] for path in trials}) == 6


def test_combining_functions_are_one_table(tmp_path: Path) -> None:
    names = ("combiner", "dcnet", "sum")  # tests/test_tuning.py checks that the file of all functions is complete
    changes = "\n".join(f"{name}: {{stage2.combining.function: {name}}}" for name in names)
    arguments = ablation(tmp_path, changes, **{"tune.seeds": "1", "stage2.optimisation.epochs": "2"})
    done = succeed("ablate", *arguments)
    (head,) = [line.split() for line in done.stdout.splitlines() if "selection (chosen by)" in line]
    assert head[-2:] == ["parameters", "seconds"]
    rows = json.loads((tmp_path / "out" / "ablation.json").read_text())["rows"]
    assert rows[0]["name"] == "the recipe, combiner"
    found = {row["params"].get("stage2.combining.function", "combiner"): row for row in rows}
    assert set(found) == set(names)
    config = load_recipe(TuneConfig, str(tmp_path / "out" / "config.yaml"))
    for name, row in found.items():
        settings = config.stage2.combining.model_copy(update={"function": name})
        parameters = sum(parameter.numel() for parameter in build_combining(32, settings).parameters())
        assert row["parameters"] == parameters, name
        assert (row["seconds"][0] > 0) == (name != "sum"), name
        assert 0 < row["reported"]["val R@50"][0] <= 100, name
        assert f"{parameters:,}" in done.stdout


def test_changes_of_stage_1_are_whole_runs_from_one_backbone(tmp_path: Path) -> None:
    changes = {"stage0.enabled": "true", "stage0.optimisation.epochs": "2", "stage1.enabled": "true"}
    epochs = {"stage1.optimisation.epochs": "2", "stage2.optimisation.epochs": "4"}
    rows_of_stage_1 = "both towers: {stage1.encoder: both}\nblend: {stage1.encoder: both, stage1.blend: 0.5}"
    arguments = ablation(tmp_path, rows_of_stage_1, **{"tune.seeds": "1"}, **changes, **epochs)
    done = succeed("ablate", *arguments)
    assert "run 3 of 3: blend, seed 0, ETA" in done.stderr + done.stdout
    rows = json.loads((tmp_path / "out" / "ablation.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["the recipe", "both towers", "blend"]

    runs = {name: tmp_path / "out" / "rows" / name / "seed-0" for name in ("the-recipe", "both-towers", "blend")}
    assert load_file(runs["the-recipe"] / "backbone" / WEIGHTS)["visual.proj"].equal(
        load_file(tmp_path / "out" / "base" / "stage0" / "encoder" / WEIGHTS)["visual.proj"]
    ), "every row starts from the backbone that stage 0 made"
    for row, folder in zip(rows, runs.values(), strict=True):
        last = json.loads((folder / "report.json").read_text())["results"][-1]
        assert row["parameters"] == sum(tensor.numel() for tensor in load_file(folder / "stage2" / CHECKPOINT).values())
        assert 0 < row["seconds"][0] < 100
        assert row["reported"]["val R@10"] == [last["recall"]["10"]]
        assert row["selection"] == [json.loads((folder / "stage2" / "done.json").read_text())["best"]]
    trained = {name: load_file(folder / "bundle" / "encoder" / WEIGHTS)["visual.proj"] for name, folder in runs.items()}
    start = load_file(runs["the-recipe"] / "backbone" / WEIGHTS)["visual.proj"]
    assert trained["the-recipe"].equal(start)
    assert not trained["both-towers"].equal(start)
    assert torch.allclose(trained["blend"], (start + trained["both-towers"]) / 2, atol=1e-6)
    trainings = [row["stage"] for row in map(json.loads, (runs["blend"] / "metrics.jsonl").read_text().splitlines())]
    assert set(trainings) == {"stage2"}, "stage 1 is that of the row before"

    stamps = {folder: (folder / "report.json").stat().st_mtime_ns for folder in runs.values()}
    again = succeed("ablate", *arguments)
    assert {folder: (folder / "report.json").stat().st_mtime_ns for folder in runs.values()} == stamps
    assert "ETA" not in again.stdout + again.stderr, "nothing was trained again"
