"""The configuration of a bundle that is made without training."""

from __future__ import annotations

from pydantic import Field

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.config.section import Configuration


class BundleConfig(Configuration):
    """Which CLIP the bundle holds, and how it reads pictures."""

    output: str = Field("", description="folder or URI for the bundle")
    backbone: Backbone = Backbone()
    preprocess: Preprocess = Preprocess()
