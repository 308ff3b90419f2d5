"""Aggregates trials to candidates, which are compared over seeds by the selection split alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from tuning.reported import val_metrics
from tuning.search import Trial
from tuning.trial import SEED


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate over all seeds.

    Attributes:
        name: display name.
        params: field -> value; {} is the recipe itself.
        selection: best selection value (percent) of each seed.
        reported: such as "val R@10" -> value (percent) of each seed.
        parameters: number of parameters that the compared stage trains: the searched one, stage 2 in ablations.
        seconds: training time of that stage for each seed, without validations.
    """

    name: str
    params: Mapping[str, Any]
    selection: tuple[float, ...]
    reported: Mapping[str, tuple[float, ...]]
    parameters: int
    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean selection value, the criterion of comparison."""
        return fmean(self.selection)


def finalists(trials: Sequence[Trial], count: int) -> list[dict[str, Any]]:
    """Returns the distinct parameters of the `count` best trials, best first."""
    ranked = sorted((trial for trial in trials if trial.best is not None), key=lambda trial: -(trial.best or 0.0))
    distinct = {json.dumps(dict(trial.params), sort_keys=True): dict(trial.params) for trial in ranked}
    return list(distinct.values())[:count]


def candidates(trials: Sequence[Trial], named: Mapping[str, Mapping[str, Any]]) -> list[Candidate]:
    """Groups the trials of a comparison by candidate.

    Args:
        trials: the trials of all candidates and seeds.
        named: name of each candidate -> its parameters.
    """
    result = []
    for name, wanted in named.items():
        own = [trial for trial in trials if trial.params["candidate"] == dict(wanted) and trial.best is not None]
        own.sort(key=lambda trial: trial.params[SEED])
        figures = dict.fromkeys(name for trial in own for name in val_metrics(trial.last))
        reported = {figure: tuple(float(trial.last[figure]) for trial in own) for figure in figures}
        selection = tuple(trial.best or 0.0 for trial in own)
        seconds = tuple(float(trial.last["seconds"]) for trial in own)
        parameters = max((int(trial.last["parameters"]) for trial in own), default=0)
        result.append(Candidate(name, dict(wanted), selection, reported, parameters, seconds))
    return result


def spread(values: Sequence[float]) -> str:
    """Formats a mean with its standard deviation: `85.61 ± 0.32`."""
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{fmean(values):.2f}"


def table(compared: Sequence[Candidate]) -> str:
    """Formats a comparison as a text table, sorted by selection value, best first."""
    ordered = sorted(compared, key=lambda candidate: -candidate.mean)
    names = list(ordered[0].reported)
    heads = ["", "selection (chosen by)", *(f"{name} (reported)" for name in names), "parameters", "seconds"]
    lines = [heads, *(_line(candidate, names) for candidate in ordered)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def _line(candidate: Candidate, names: Sequence[str]) -> list[str]:
    reported = [spread(candidate.reported[name]) for name in names]
    costs = [f"{candidate.parameters:,}", spread(candidate.seconds)]
    return [candidate.name, spread(candidate.selection), *reported, *costs]
