"""The devices that jobs use, and how features are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cirray.config.section import Positive, Section


class Device(Section):
    """The device of a job's workers."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of each worker; auto = a GPU each if the cluster has enough"
    )


class Compute(Device):
    """The device, precision and fault tolerance of training."""

    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="autocast precision; fp16 scales its loss")
    threads: Positive | None = Field(None, description="CPU threads per worker; null = CPU cores / workers")
    max_failures: int = Field(3, ge=-1, description="worker deaths that a stage survives; -1 = no limit")

    @model_validator(mode="after")
    def _fp16_has_a_gpu(self) -> Compute:
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision fp16 needs a GPU: use bf16 or fp32 with device cpu")
        return self


class Embedding(Section):
    """How frozen features are computed."""

    batch_size: Positive = Field(64, description="images or captions per forward pass")
    shard_rows: Positive = Field(1024, description="rows per shard file; a killed worker loses at most one")
    inline_pictures: int = Field(256, ge=0, description="up to this many images are embedded by the driver")
    inline_captions: int = Field(16384, ge=0, description="up to this many captions are embedded by the driver")
