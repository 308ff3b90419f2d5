"""Hyperparameter search and ablations, and their configurations."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from cirray.config.section import Positive, Section
from cirray.config.training import Stage0, Stage1, Stage2, TrainConfig

TrialStage = Literal["stage1", "stage2"]
_STAGES: dict[str, type[Section]] = {"stage0": Stage0, "stage1": Stage1, "stage2": Stage2}


class Trials(Section):
    """Trials: trainings of one stage that start from the same weights and run in parallel."""

    workers_per_trial: Positive = Field(1, description="Ray Train workers of one trial")
    concurrent: int = Field(0, ge=0, description="concurrent trials; 0 = as many as the CPUs or GPUs allow")
    seeds: Positive = Field(3, description="training seeds per compared configuration")


class Tuning(Trials):
    """A hyperparameter search for one stage."""

    stage: TrialStage = Field("stage2", description="stage to search; the stages before it run once")
    space: str = Field("combiner", description="name of a search space, or a .yaml file")
    budget: str = Field(
        "", pattern=r"^(\d+(\.\d+)?[smh])?$", description="search time, such as 10m; excludes training the finalists"
    )
    trials: int = Field(0, ge=0, description="number of trials; 0 = as many as the budget allows")
    sampler: Literal["tpe", "random"] = Field("tpe", description="sampler of the trials' values")
    scheduler: Literal["asha", "median", "none"] = Field("asha", description="rule that stops poor trials early")
    grace: Positive = Field(1, description="minimum number of epochs of a trial")
    reduction: int = Field(4, ge=2, description="asha: 1/reduction of the trials continue at each rung")
    finalists: Positive = Field(2, description="number of best trials that are trained in full with several seeds")
    sweep: str | None = Field("stage2.loss.temperature", description="field varied alone for a plot; null = none")
    sweep_points: int = Field(7, ge=2, description="number of values of the sweep")

    @field_validator("sweep", mode="before")
    @classmethod
    def _rename_former_field(cls, value: Any) -> Any:
        """Renames a field of an older version, such as "stage2.contrast.temperature"."""
        stage, _, rest = value.partition(".") if isinstance(value, str) else ("", "", "")
        section, dot, field = rest.partition(".")
        former = _STAGES[stage].former_names if stage in _STAGES else {}
        return f"{stage}.{former[section]}{dot}{field}" if section in former else value

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None if there is none."""
        factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
        return float(self.budget[:-1]) * factors[self.budget[-1]] if self.budget else None


class TrialsConfig(TrainConfig):
    """The configuration of an ablation, which compares trainings."""

    tune: Trials = Trials()

    @property
    def trial_stage(self) -> TrialStage:
        """The stage that trials train."""
        return "stage2"


class TuneConfig(TrialsConfig):
    """The configuration of a hyperparameter search."""

    tune: Tuning = Tuning()

    @property
    def trial_stage(self) -> TrialStage:
        """The stage that trials train."""
        return self.tune.stage
