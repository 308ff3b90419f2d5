"""Devices and fault tolerance of jobs, and the computation of features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cirray.config.section import Positive, Section


class Device(Section):
    """The device of a job's workers."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of each worker; auto = one GPU per worker if the cluster has enough, else CPUs"
    )


class Compute(Device):
    """The device, precision and fault tolerance of training."""

    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="autocast precision; fp16 scales the loss")
    threads: Positive | None = Field(None, description="CPU threads per worker; null = CPU cores / workers")
    max_failures: int = Field(3, ge=-1, description="restarts of a stage after worker failures; -1 = no limit")

    @model_validator(mode="after")
    def _fp16_has_a_gpu(self) -> Compute:
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision fp16 needs a GPU: use bf16 or fp32 with device cpu")
        return self


class Embedding(Section):
    """The computation of frozen features."""

    batch_size: Positive = Field(64, description="images or captions per forward pass")
    shard_rows: Positive = Field(1024, description="rows per shard file; a killed worker loses at most one shard")
    inline_pictures: int = Field(256, ge=0, description="maximum number of images that the driver embeds itself")
    inline_captions: int = Field(16384, ge=0, description="maximum number of captions that the driver embeds itself")
