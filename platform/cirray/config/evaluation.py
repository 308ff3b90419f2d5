"""The configuration of commands that read a split with a trained model: evaluate, rank, analyze."""

from __future__ import annotations

from cirray.config.compute import Device, Embedding
from cirray.config.data import Data
from cirray.config.section import JobConfig


class EvaluateConfig(JobConfig):
    """Which data to read, and how its features are computed. The model itself is a bundle."""

    data: Data = Data()
    embed: Embedding = Embedding()
    compute: Device = Device()
