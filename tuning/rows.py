"""Ablations that change stage 1: full runs of stages 1 and 2 from one backbone."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from cirray.config.recipe import overridden
from cirray.config.tuning import TrialsConfig
from cirray.console.log import log
from cirray.errors import ConfigError
from cirray.evaluation.evaluate import row_metrics
from cirray.models.encoder_manifest import WEIGHTS as ENCODER_WEIGHTS
from cirray.storage.files import read_json, replacing, write_text
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.checkpoints import PROGRESS, WEIGHTS, read_weights
from cirray.training.launch import DONE, is_done
from cirray.training.run import train
from cirray.training.run_dir import CONFIG, METRICS, REPORT, open_output
from tuning.outcome import Candidate
from tuning.reported import on_val
from tuning.trial import SEED
from tuning.watch import clock


class Run(NamedTuple):
    """Result of one run.

    Attributes:
        selection: its best selection value.
        reported: its metrics on val, such as "val R@10" -> percent.
        parameters: number of parameters that its stage 2 trains.
        seconds: training time of its stage 2.
    """

    selection: float
    reported: Mapping[str, float]
    parameters: int
    seconds: float


def train_rows(config: TrialsConfig, named: Mapping[str, Mapping[str, Any]], output: Location) -> list[Candidate]:
    """Trains every row with `tune.seeds` seeds, sequentially, in `output`/rows; finished runs are only read.

    The seed also determines the held-out triplets. Rows with the same stage 1 train it once per seed.

    Args:
        config: the recipe; its stage 0 runs once, in `output`/base.
        named: name of a row -> changed fields of stages 1 and 2.
        output: the output of the ablation.

    Raises:
        ConfigError: two names map to the same folder.
    """
    folders = [_folder(name) for name in named]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"two rows would share a folder: {', '.join(folders)}; rename one of them")
    started = overridden(config, _backbone(config, output / "base"))
    seeds = [config.seed + number for number in range(config.tune.seeds)]
    runs = [(name, folder, seed) for name, folder in zip(named, folders, strict=True) for seed in seeds]
    results: dict[str, list[Run]] = {name: [] for name in named}
    fine_tuned: dict[str, Path] = {}
    durations: list[float] = []
    for number, (name, folder, seed) in enumerate(runs):
        eta = f", ETA {clock(fmean(durations) * (len(runs) - number))}" if durations else ""
        log(f"\nrun {number + 1} of {len(runs)}: {name}, seed {seed}{eta}")
        row = output / f"rows/{folder}/seed-{seed}"
        began = time.monotonic()
        finished, run = _run(overridden(started, {**named[name], SEED: seed, "output": str(row)}), fine_tuned)
        results[name].append(run)
        if not finished:
            durations.append(time.monotonic() - began)
    return [_candidate(name, change, results[name]) for name, change in named.items()]


def _backbone(config: TrialsConfig, base: Location) -> dict[str, Any]:
    """Runs stage 0 in `base` if it is enabled; returns the fields that make a run start from its weights."""
    base = Location.parse(str(base))  # a run of its own: with a mirror of its own
    off = {"stage1.enabled": False, "stage2.enabled": False, "output": str(base)}
    if not config.stage0.enabled:
        return {}
    train(overridden(config, off))
    weights = (base / "stage0" / "encoder" / ENCODER_WEIGHTS).local
    return {"stage0.enabled": False, "backbone.pretrained": None, "backbone.weights": str(weights)}


def _run(config: TrialsConfig, fine_tuned: dict[str, Path]) -> tuple[bool, Run]:
    """Trains a row with one seed; returns whether it was already finished, and its result.

    Args:
        config: the configuration of the run.
        fine_tuned: key of a stage 1 (`_stage1_key`) -> folder of its result, of the previous runs; this run is added.
    """
    output = open_output(config)
    report_file = (output / REPORT).local
    finished = report_file.is_file()
    key = _stage1_key(config)
    if key in fine_tuned and not is_done((output / "stage1").local):
        _copy_stage1(config, fine_tuned[key], output)
    report = read_json(report_file) if finished else train(config)
    if config.stage1.enabled:
        fine_tuned.setdefault(key, (output / "stage1").local)
    steps = [(output / stage).local for stage in ("stage2", "stage1")]
    last = next(step for step in steps if is_done(step))
    reported = on_val(row_metrics(report["results"][-1]))
    return finished, Run(float(read_json(last / DONE)["best"]), reported, *_stage2_costs(output))


def _stage2_costs(output: Location) -> tuple[int, float]:
    """Returns the number of parameters that stage 2 of a run trained, and its training time in seconds."""
    step = (output / "stage2").local
    if not is_done(step):
        return 0, 0.0
    parameters = sum(tensor.numel() for tensor in read_weights(step).values())
    return parameters, float(MetricsLog(output / METRICS, "stage2").rows()[-1]["seconds"])


def _stage1_key(config: TrialsConfig) -> str:
    """Returns a key of everything in a row that determines stage 1; `blend` is applied after it."""
    return f"{config.seed} {config.stage1.model_copy(update={'blend': 1.0}).model_dump_json()}"


def _copy_stage1(config: TrialsConfig, source: Path, output: Location) -> None:
    """Copies the stage 1 of another run into this one; the file that marks it as done is written last."""
    target = (output / "stage1").local
    target.mkdir(parents=True, exist_ok=True)
    write_text((output / CONFIG).local, config.to_yaml())  # first: claims the folder for this run
    for name in (WEIGHTS, PROGRESS, DONE):
        with replacing(target / name) as temporary:
            shutil.copyfile(source / name, temporary)


def _candidate(name: str, change: Mapping[str, Any], runs: list[Run]) -> Candidate:
    reported = {figure: tuple(run.reported[figure] for run in runs) for figure in runs[0].reported}
    selection, seconds = tuple(run.selection for run in runs), tuple(run.seconds for run in runs)
    return Candidate(name, dict(change), selection, reported, runs[0].parameters, seconds)


def _folder(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
