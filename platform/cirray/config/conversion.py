"""The configuration of jobs/convert.py import."""

from __future__ import annotations

from pydantic import Field

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.config.section import Configuration


class ConvertConfig(Configuration):
    """The backbone and preprocessing of imported checkpoints, and the output."""

    output: str = Field("", description="folder or URI for the bundle")
    backbone: Backbone = Backbone()
    preprocess: Preprocess = Preprocess()
