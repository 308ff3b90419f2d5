"""The configuration of a start: from a product feed to a searchable index."""

from __future__ import annotations

from cirray.config.indexing import IndexConfig
from cirray.config.training import TrainConfig
from cirray.config.triplets import TripletsConfig


class StartConfig(TrainConfig, IndexConfig, TripletsConfig):
    """How the feed is read, triplets are made, the model is trained, and the catalog is indexed."""
