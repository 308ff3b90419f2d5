"""What jobs run on, and how they embed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cirray.config.section import Positive, Section


class Compute(Section):
    """What it runs on."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU a worker where the cluster has them"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="autocast precision; fp16 scales its loss")
    threads: Positive | None = Field(None, description="CPU threads a worker; none = the cores divided by the workers")
    max_failures: int = Field(3, ge=-1, description="how many worker deaths a stage survives; -1 = any number")


class Embedding(Section):
    """How frozen features are computed."""

    batch_size: Positive = Field(64, description="pictures or captions a forward pass")
    shard_rows: Positive = Field(1024, description="rows a shard file; what a kill can cost")
    inline_pictures: int = Field(256, ge=0, description="up to so many the driver computes itself, without a GPU")
    inline_captions: int = Field(16384, ge=0, description="up to so many the driver computes itself, without a GPU")
