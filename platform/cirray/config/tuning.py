"""A hyperparameter search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cirray.config.section import Positive, Section


class Tuning(Section):
    """A search for good hyperparameters of one stage."""

    stage: Literal["stage1", "stage2"] = Field("stage2", description="what is searched; the stages before it run once")
    space: str = Field("combiner", description="a search space of ours, or a .yaml file")
    budget: str = Field(
        "", pattern=r"^(\d+(\.\d+)?[smh])?$", description="time for the search, such as 10m; finals come on top"
    )
    trials: int = Field(0, ge=0, description="trials of the search; 0 = as many as the budget allows")
    sampler: Literal["tpe", "random"] = Field("tpe", description="how the next trial is proposed")
    scheduler: Literal["asha", "median", "none"] = Field("asha", description="how bad trials are stopped early")
    grace: Positive = Field(1, description="epochs that every trial gets")
    reduction: int = Field(4, ge=2, description="asha: one in so many goes on at each rung")
    workers_per_trial: Positive = Field(1, description="Ray Train workers of one trial")
    concurrent: int = Field(0, ge=0, description="trials at a time; 0 = as many as there are CPUs or GPUs for")
    finalists: Positive = Field(2, description="best trials that are trained in full with several seeds")
    seeds: Positive = Field(3, description="seeds of each finalist and of the recipe itself")
    sweep: str | None = Field("stage2.loss.temperature", description="field whose effect is drawn alone")
    sweep_points: int = Field(7, ge=2, description="values of that field")

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; None if there is none."""
        factors = {"s": 1.0, "m": 60.0, "h": 3600.0}
        return float(self.budget[:-1]) * factors[self.budget[-1]] if self.budget else None
