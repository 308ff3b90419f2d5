"""A hyperparameter search, and the configuration of commands that compare trainings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from cirray.config.section import Positive, Section
from cirray.config.training import Stage0, Stage1, Stage2, TrainConfig

TrialStage = Literal["stage1", "stage2"]
_STAGES: dict[str, type[Section]] = {"stage0": Stage0, "stage1": Stage1, "stage2": Stage2}


class Trials(Section):
    """Trials that train one stage from the same start, side by side."""

    workers_per_trial: Positive = Field(1, description="Ray Train workers of one trial")
    concurrent: int = Field(0, ge=0, description="concurrent trials; 0 = as many as the CPUs or GPUs allow")
    seeds: Positive = Field(3, description="seeds with which each compared configuration is trained")


class Tuning(Trials):
    """A search for good hyperparameters of one stage."""

    stage: TrialStage = Field("stage2", description="stage to search; the stages before it run once")
    space: str = Field("combiner", description="name of a search space, or a .yaml file")
    budget: str = Field(
        "", pattern=r"^(\d+(\.\d+)?[smh])?$", description="time for the search, such as 10m; the finals come after it"
    )
    trials: int = Field(0, ge=0, description="number of trials; 0 = as many as the budget allows")
    sampler: Literal["tpe", "random"] = Field("tpe", description="how trials are proposed")
    scheduler: Literal["asha", "median", "none"] = Field("asha", description="how poor trials are stopped early")
    grace: Positive = Field(1, description="epochs that every trial gets")
    reduction: int = Field(4, ge=2, description="asha: one trial in this many continues at each rung")
    finalists: Positive = Field(2, description="best trials that are trained to their end with several seeds")
    sweep: str | None = Field("stage2.loss.temperature", description="field whose effect is plotted by itself")
    sweep_points: int = Field(7, ge=2, description="values of that field")

    @field_validator("sweep", mode="before")
    @classmethod
    def _take_former_name(cls, value: Any) -> Any:
        """Renames a field that an older version named, "stage2.contrast.temperature" for one."""
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
    """The configuration of trainings that are compared: an ablation's."""

    tune: Trials = Trials()

    @property
    def trial_stage(self) -> TrialStage:
        """The stage that trials train."""
        return "stage2"


class TuneConfig(TrialsConfig):
    """The configuration of a search."""

    tune: Tuning = Tuning()

    @property
    def trial_stage(self) -> TrialStage:
        """The stage that trials train."""
        return self.tune.stage
