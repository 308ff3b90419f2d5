"""Runs trials with Ray Tune: the search, the finalists with several seeds, and the sweep of one field.

Each is an experiment in its own folder. Run the same command again to resume it: finished trials are not repeated.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from cirray.config.tuning import TrialsConfig, TuneConfig
from cirray.storage.location import Location
from cirray.training.launch import optimisation_of
from tuning.budget import Budget
from tuning.prepare import Start
from tuning.space import Space
from tuning.trial import SEED, final_trial, search_trial
from tuning.trial_task import METRIC
from tuning.watch import Watch

_UNLIMITED = 10**6  # more trials than any budget allows


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of one trial.

    Attributes:
        name: its id.
        params: field -> value; in comparisons "candidate" -> (field -> value), and the seed.
        curve: (epoch, selection value) of each validation.
        best: best selection value; None without any report.
        last: its last report.
        full: whether it reached its last epoch.
    """

    name: str
    params: Mapping[str, Any]
    curve: tuple[tuple[int, float], ...]
    best: float | None
    last: Mapping[str, Any]
    full: bool


def search(config: TuneConfig, space: Space, start: Start, output: Location) -> list[Trial]:
    """Searches the space until the budget or the number of trials is used up; returns all trials."""
    settings = config.tune
    budget = Budget(settings.seconds, output)
    known = {field: field_value(config, field) for field in space.domains}
    inside = all(space.domains[field].holds(value) for field, value in known.items())
    algorithm = OptunaSearch(
        space.distributions(),
        metric=METRIC,
        mode="max",
        sampler=_sampler(config),
        points_to_evaluate=[known] if inside else None,  # the recipe itself is the first trial
    )
    tune_config = tune.TuneConfig(
        metric=METRIC,
        mode="max",
        search_alg=algorithm,
        scheduler=_scheduler(config),
        num_samples=settings.trials or _UNLIMITED,
        max_concurrent_trials=concurrent(config),
        reuse_actors=settings.workers_per_trial == 1,  # avoids importing torch for each trial
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    watch = Watch("search", settings.trials, budget)
    return _run(search_trial, start, {}, tune_config, output, "search", [watch], budget, config)


def compare(
    config: TrialsConfig,
    candidates: Sequence[Mapping[str, Any]],
    seeds: int,
    start: Start,
    output: Location,
    name: str,
) -> list[Trial]:
    """Trains each candidate fully with `seeds` seeds; returns all trials."""
    space = {
        "candidate": tune.grid_search([dict(candidate) for candidate in candidates]),
        SEED: tune.grid_search([config.seed + number for number in range(seeds)]),
    }
    tune_config = tune.TuneConfig(
        metric=METRIC,
        mode="max",
        max_concurrent_trials=concurrent(config),
        reuse_actors=config.tune.workers_per_trial == 1,
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    watch = Watch(name, len(candidates) * seeds, None)
    return _run(final_trial, start, space, tune_config, output, name, [watch], None, config)


def concurrent(config: TrialsConfig) -> int:
    """Returns the number of concurrent trials."""
    if config.tune.concurrent:
        return config.tune.concurrent
    total = ray.cluster_resources()
    units = total["GPU"] if total.get("GPU") and config.compute.device != "cpu" else total.get("CPU", 1)
    return max(1, int(units) // config.tune.workers_per_trial)


def _run(
    function: Callable[..., None],
    start: Start,
    space: dict[str, Any],
    tune_config: tune.TuneConfig,
    output: Location,
    name: str,
    callbacks: list[tune.Callback],
    stop: tune.Stopper | None,
    config: TrialsConfig,
) -> list[Trial]:
    # Otherwise Ray Tune ends the search normally on Ctrl-C, with the results so far.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    trainable = tune.with_resources(tune.with_parameters(function, start=start), _resources(config))
    trials = output / "trials"
    quiet = tune.RunConfig(name=name, storage_path=str(trials), callbacks=callbacks, stop=stop, verbose=0)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = str(trials / name)
    if tune.Tuner.can_restore(experiment):
        tuner = tune.Tuner.restore(experiment, trainable, restart_errored=True, param_space=space or None)
    else:
        tuner = tune.Tuner(trainable, param_space=space, tune_config=tune_config, run_config=quiet)
    grid = tuner.fit()
    epochs = optimisation_of(config, config.trial_stage).epochs
    return [_trial(result, epochs) for result in grid]


def _trial(result: tune.Result, epochs: int) -> Trial:
    frame = result.metrics_dataframe
    curve = () if frame is None else tuple(zip(frame["epoch"].tolist(), frame[METRIC].tolist(), strict=True))
    last = dict(result.metrics or {})
    return Trial(
        name=Path(result.path).name,
        params=dict(result.config or {}),
        curve=curve,
        best=max((value for _, value in curve), default=None),
        last=last,
        full=bool(curve) and curve[-1][0] >= epochs,
    )


def _sampler(config: TuneConfig) -> BaseSampler:
    if config.tune.sampler == "random":
        return RandomSampler(seed=config.seed)
    return TPESampler(seed=config.seed, multivariate=True, constant_liar=True)


def _scheduler(config: TuneConfig) -> TrialScheduler:
    settings = config.tune
    if settings.workers_per_trial > 1:
        return FIFOScheduler()  # an early stop would leak the trial's workers and their CPUs
    if settings.scheduler == "asha":
        epochs = optimisation_of(config, config.trial_stage).epochs
        return ASHAScheduler(
            time_attr="epoch",
            max_t=epochs,
            grace_period=min(settings.grace, epochs),
            reduction_factor=settings.reduction,
        )
    if settings.scheduler == "median":
        return MedianStoppingRule(time_attr="epoch", grace_period=settings.grace)
    return FIFOScheduler()


def _resources(config: TrialsConfig) -> Any:
    gpus = ray.cluster_resources().get("GPU", 0) and config.compute.device != "cpu"
    if config.tune.workers_per_trial > 1:
        return {"memory": 1}  # one byte, as a request must not be empty; the workers request the CPUs
    return {"CPU": 1, "GPU": 1} if gpus else {"CPU": 1}


def field_value(config: TrialsConfig, field: str) -> Any:
    """Returns the value of a configuration field by its dotted name."""
    value: Any = config
    for part in field.split("."):
        value = getattr(value, part)
    return value
