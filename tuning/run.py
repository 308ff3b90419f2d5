"""The tuning job: search, comparison of finalists, sweep and report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from cirray.config.recipe import overridden
from cirray.config.tuning import TrialsConfig, TuneConfig
from cirray.console.log import log
from cirray.errors import ConfigError, RunError
from cirray.storage.files import write_json, write_text
from cirray.storage.location import Location
from cirray.storage.provenance import provenance
from cirray.training.run_dir import CHANGEABLE, CONFIG, open_output
from tuning.space import Space, load_space

HOLDOUT = 0.15
RECIPE = "the recipe"
_CHANGEABLE = tuple(field for field in CHANGEABLE if field != "tune")
RESULTS = ("results.parquet", "report.png", "report.html", "best.yaml", "tune.json")
_TEMPERATURE = "stage2.loss.temperature"

C = TypeVar("C", bound=TrialsConfig)


def tune(config: TuneConfig) -> dict[str, Any]:
    """Searches, compares the finalists over seeds, writes the report and `best.yaml`; resumes an interrupted search.

    Returns:
        The JSON result.

    Raises:
        ConfigError: the settings or the search space are invalid; before any training.
        RunError: the output folder belongs to another run, or no trial reported a result.
    """
    config = resolve_config(config)
    space = load_space(config.tune.space, config)
    swept = config.tune.sweep
    if swept and swept not in space.domains:
        raise ConfigError(f"tune.sweep {swept} is not in the space {space.name}: give one of its fields, or none")
    output = open_output(config, _CHANGEABLE)
    write_text((output / CONFIG).local, config.to_yaml())
    (output / CONFIG).push()
    return Search(config, space, output).run()


def resolve_config(config: TuneConfig) -> TuneConfig:
    """Completes the configuration of a search: held-out triplets, and validation after every epoch.

    Raises:
        ConfigError: neither a budget nor a number of trials is given, or several workers per trial without the latter.
    """
    settings = config.tune
    if settings.seconds is None and not settings.trials:
        raise ConfigError("give --budget 10m or --trials N: how long the search may take")
    if settings.workers_per_trial > 1 and not settings.trials:
        raise ConfigError(
            "--workers-per-trial above 1 needs --trials N instead of a budget: Ray Tune cannot stop a trial of several "
            "workers without leaking them, so each trial runs to its end"
        )
    if settings.sweep and not settings.sweep.startswith(f"{settings.stage}."):
        config = overridden(config, {"tune.sweep": None})
    config = with_holdout(config)
    # Validate every epoch: the scheduler stops trials by the result.
    return overridden(config, {f"{settings.stage}.optimisation.validate_every": 1, "ablation": False})


def with_holdout(config: C) -> C:
    """Returns a configuration with a selection split: sets `data.holdout` to HOLDOUT if it is 0."""
    if config.data.holdout:
        return config
    log(f"data.holdout is 0: holding out {HOLDOUT:.0%} of the train triplets for selection, val is only reported")
    return overridden(config, {"data.holdout": HOLDOUT})


class Search:
    """The steps of one search and its output."""

    def __init__(self, config: TuneConfig, space: Space, output: Location) -> None:
        self.config = config
        self.space = space
        self.output = output

    def run(self) -> dict[str, Any]:
        """Runs all steps that are not finished, and returns the JSON result."""
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # disables Ray Tune's own tables; Watch prints the progress
        from tuning.outcome import candidates, finalists, table
        from tuning.prepare import prepare
        from tuning.search import compare, search

        config, settings = self.config, self.config.tune
        log("preparing: running the stages before the search")
        start = prepare(config, self.output / "base")
        log(f"searching {settings.stage} over {len(self.space.domains)} fields of the space {self.space.name}")
        trials = search(config, self.space, start, self.output)
        chosen = finalists(trials, settings.finalists)
        if not chosen:
            raise RunError(
                "no trial reported a result: give a larger --budget, or see the errors in the trials' folders"
            )
        log(f"training {len(chosen)} finalists and the recipe fully, {settings.seeds} seeds each")
        named = {RECIPE: {}, **{f"finalist {number}": params for number, params in enumerate(chosen, start=1)}}
        finals = compare(config, list(named.values()), settings.seeds, start, self.output, "finals")
        compared = candidates(finals, named)
        best = max(compared, key=lambda candidate: candidate.mean)
        sweep: list[Any] = []
        if settings.sweep:
            points = self._sweep_points(settings.sweep, best.params)
            log(f"sweep of {settings.sweep}: {len(points)} values, all other fields as in the best candidate")
            sweep = compare(config, points, 1, start, self.output, "sweep")
        print("\n" + table(compared) + "\n")
        return self._write(trials, finals, sweep, compared, best)

    def _sweep_points(self, field: str, best: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Returns the parameters of the best candidate with each value of one field."""
        # A learned temperature would not stay at its value.
        fixed = {"stage2.loss.learn_temperature": False} if field == _TEMPERATURE else {}
        values = self.space.domains[field].points(self.config.tune.sweep_points)
        return [{**best, **fixed, field: value} for value in values]

    def _write(
        self, trials: Sequence[Any], finals: Sequence[Any], sweep: Sequence[Any], compared: Any, best: Any
    ) -> dict[str, Any]:
        from tuning.plots import Sweep, draw_report
        from tuning.report import write_best, write_html, write_results
        from tuning.search import field_value

        config, field = self.config, self.config.tune.sweep
        made = {name: (self.output / name).local for name in RESULTS}
        write_results(made["results.parquet"], {"search": trials, "final": finals, "sweep": sweep})
        swept = Sweep(field, sweep, best.params.get(field), field_value(config, field)) if field and sweep else None
        draw_report(trials, self.space, config.tune.grace, swept, made["report.png"])
        stopped = sum(not trial.full for trial in trials)
        facts = {
            "trials": f"{len(trials)}, of which {stopped} were stopped early",
            "sampler and scheduler": f"{config.tune.sampler}, {config.tune.scheduler}",
            "budget": config.tune.budget or f"{config.tune.trials} trials",
            "chosen": best.name,
        }
        write_html(made["report.html"], made["report.png"], compared, facts)
        write_best(made["best.yaml"], config, best)
        result = {
            "trials": len(trials),
            "stopped_early": stopped,
            "best": best.name,
            "params": best.params,
            "finalists": [
                {"name": c.name, "params": c.params, "selection": c.selection, "reported": c.reported} for c in compared
            ],
            "provenance": provenance(config.seed),
        }
        write_json(made["tune.json"], result)
        for name in RESULTS:
            (self.output / name).push()
            log(f"{name:16} {self.output / name}")
        log(f"train with it    python jobs/train.py --recipe {made['best.yaml']} --output DIR")
        return result
