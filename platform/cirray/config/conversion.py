"""The configuration of the conversion of checkpoints into a bundle."""

from __future__ import annotations

from pydantic import Field

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.config.section import Configuration


class ConvertConfig(Configuration):
    """How the checkpoints were trained, and where their bundle goes."""

    output: str = Field("", description="folder or URI for the bundle")
    backbone: Backbone = Backbone()
    preprocess: Preprocess = Preprocess()
