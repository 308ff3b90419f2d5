"""The plots of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from optuna.importance import PedAnovaImportanceEvaluator

from cirray.storage.files import replacing
from tuning.search import Trial
from tuning.space import Space

ACCENT, PALE = "#1f6f63", "#b9c4c1"
_LEAST_TRIALS = 8


def importance(trials: Sequence[Trial], space: Space, epoch: int) -> dict[str, float]:
    """Returns the importance of each field for the selection value after `epoch` epochs (PED-ANOVA).

    All trials are compared at the same epoch, as most are stopped early; {} if fewer than _LEAST_TRIALS reached it.
    """
    study = optuna.create_study(direction="maximize")
    distributions = space.distributions()
    for trial in trials:
        values = [value for number, value in trial.curve if number == epoch]
        if values:
            params = {field: trial.params[field] for field in distributions}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=values[0]))
    if len(study.trials) < _LEAST_TRIALS:
        return {}
    return dict(optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def draw_importance(axes: Axes, found: Mapping[str, float]) -> None:
    """Draws one bar per field, the most important one on top."""
    ordered = sorted(found.items(), key=lambda pair: pair[1])
    axes.barh([_short(name) for name, _ in ordered], [value for _, value in ordered], color=ACCENT)
    axes.set_xlabel("importance")
    axes.set_title("Importance")
    if not ordered:
        axes.text(0.5, 0.5, "too few trials", ha="center", transform=axes.transAxes)


def draw_curves(axes: Axes, trials: Sequence[Trial]) -> None:
    """Draws the selection value of each trial over its epochs; complete trials are dark."""
    for trial in sorted(trials, key=lambda trial: trial.full):
        if trial.curve:
            epochs, values = zip(*trial.curve, strict=True)
            axes.plot(epochs, values, color=ACCENT if trial.full else PALE, linewidth=1.2, marker=".", markersize=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("epoch")
    axes.set_ylabel("selection value, percent")
    axes.set_title("Learning curves: most were stopped early")


def draw_parallel(axes: Axes, trials: Sequence[Trial], space: Space) -> None:
    """Draws one line per trial through its values; darker is better."""
    fields = list(space.domains)
    ranked = sorted((trial for trial in trials if trial.best is not None), key=lambda trial: trial.best or 0.0)
    low, high = (ranked[0].best or 0.0, ranked[-1].best or 1.0) if ranked else (0.0, 1.0)
    for trial in ranked:
        quality = ((trial.best or 0.0) - low) / (high - low or 1.0)
        heights = [_height(space, field, trial.params[field]) for field in fields]
        axes.plot(range(len(fields)), heights, color=plt.get_cmap("viridis_r")(quality), alpha=0.25 + 0.7 * quality**3)
    axes.set_xticks(range(len(fields)), [_short(field) for field in fields], rotation=30, ha="right")
    axes.set_yticks([0, 1], ["low / first", "high / last"])
    axes.set_title("All trials: dark lines are the better ones")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Trials that vary one field; everything else is as in the best candidate.

    Attributes:
        field: its dotted name.
        trials: one per value.
        best: the field's value in the best candidate, None if that does not set it.
        recipe: its value in the recipe.
    """

    field: str
    trials: Sequence[Trial]
    best: float | None
    recipe: float


def draw_sweep(axes: Axes, sweep: Sweep) -> None:
    """Draws the selection value over the values of the swept field."""
    points: dict[float, list[float]] = {}
    for trial in sweep.trials:
        if trial.best is not None:
            points.setdefault(float(trial.params["candidate"][sweep.field]), []).append(trial.best)
    values = sorted(points)
    axes.plot(values, [fmean(points[value]) for value in values], color=ACCENT, marker="o")
    axes.axvline(sweep.recipe, color=PALE, linestyle="--", label=f"the recipe: {sweep.recipe:.3g}")
    if sweep.best is not None:
        axes.axvline(sweep.best, color=ACCENT, linestyle=":", label=f"the best trial: {sweep.best:.3g}")
    if values and values[0] > 0 and values[-1] / values[0] > 5:
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:.3g}" for value in values])
        axes.minorticks_off()
    axes.set_xlabel(sweep.field)
    axes.set_ylabel("selection value, percent")
    axes.set_title(f"Sweep of {sweep.field.rpartition('.')[2]}")
    axes.legend(frameon=False)


def draw_report(
    trials: Sequence[Trial],
    space: Space,
    epoch: int,
    sweep: Sweep | None,
    path: Path,
) -> None:
    """Writes all plots as one PNG."""
    figure: Figure
    figure, axes = plt.subplots(2, 2, figsize=(14, 10), layout="constrained")
    draw_importance(axes[0, 0], importance(trials, space, epoch))
    draw_curves(axes[0, 1], trials)
    draw_parallel(axes[1, 0], trials, space)
    if sweep is not None:
        draw_sweep(axes[1, 1], sweep)
    else:
        axes[1, 1].axis("off")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def _height(space: Space, field: str, value: Any) -> float:
    """Returns the relative position of a value in its domain, 0 to 1."""
    domain = space.domains[field]
    if domain.kind == "choice":
        return domain.values.index(value) / (len(domain.values) - 1)
    low, high = domain.values
    if domain.is_log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _short(field: str) -> str:
    return field.partition(".")[2]
