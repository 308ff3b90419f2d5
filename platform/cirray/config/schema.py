"""The complete configuration."""

from __future__ import annotations

import yaml
from pydantic import Field, model_validator

from cirray.config.backbone import Backbone
from cirray.config.compute import Compute, Embedding
from cirray.config.data import Data, Preprocess
from cirray.config.indexing import Indexing
from cirray.config.section import Positive, Section
from cirray.config.serving import Serving
from cirray.config.training import Stage0, Stage1, Stage2
from cirray.config.tuning import Tuning


class Config(Section):
    """A complete configuration."""

    recipe: str = Field("custom", description="the recipe this came from")
    output: str = Field("", description="folder or URI for everything this run makes")
    store: str = Field("", description="feature store, folder or URI; empty = $CIRRAY_HOME/store or ~/.cache/...")
    seed: int = Field(0, ge=0, lt=2**31)
    workers: Positive = Field(1, description="Ray Train workers; one CPU or GPU each")
    ablation: bool = Field(False, description="also train stage 2 without stage 1, for the paper's four-row table")
    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    backbone: Backbone = Backbone()
    stage0: Stage0 = Stage0()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    embed: Embedding = Embedding()
    compute: Compute = Compute()
    tune: Tuning = Tuning()
    index: Indexing = Indexing()
    serve: Serving = Serving()

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        for name in ("stage0", "stage1", "stage2"):
            stage = getattr(self, name)
            batch = stage.optimisation.batch_size
            if stage.enabled and batch < self.workers:
                raise ValueError(
                    f"{name}.optimisation.batch_size is {batch}, fewer than the {self.workers} workers that share "
                    f"it: raise it or lower workers"
                )
        if self.compute.precision == "fp16" and self.compute.device == "cpu":
            raise ValueError("compute.precision fp16 needs a GPU: use bf16 or fp32 with compute.device cpu")
        return self

    def to_yaml(self) -> str:
        """Returns the complete configuration as YAML, in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
