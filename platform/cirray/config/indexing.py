"""The catalog index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cirray.config.catalog import CatalogSettings
from cirray.config.compute import Device, Embedding
from cirray.config.section import Fraction, JobConfig, Positive, Section


class Hnsw(Section):
    """The approximate nearest-neighbour graph of an index. Catalogs too small for one are searched exactly."""

    m: Positive = Field(16, description="edges per node of the graph")
    ef_construct: Positive = Field(128, description="candidates examined while building")
    ef_search: Positive = Field(128, description="candidates examined per query")
    threshold_kb: Positive = Field(20_000, description="kB of vectors from which the graph is built")


class IndexAccess(Section):
    """How the index is reached."""

    path: str = Field("", description="folder or URI of the embedded index; empty = $CIRRAY_HOME/index or ~/.cache/...")
    collection: str = Field(
        "cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="collection name on the server of QDRANT_URL"
    )
    timeout_s: float = Field(30.0, gt=0.0, description="timeout of one request to the server, in seconds")
    attempts: Positive = Field(4, description="attempts per request to the server")


class IndexShape(Section):
    """What shapes the vectors and the graph of an index; each generation's manifest holds it."""

    hnsw: Hnsw = Hnsw()
    quantization: Literal["none", "int8", "binary"] = Field(
        "none", description="none, int8 (pays off from about 1M images) or binary (needs wide features)"
    )
    oversampling: float = Field(3.0, ge=1.0, description="with quantization: this factor times the hits are rescored")


class Indexing(IndexShape, IndexAccess):
    """The catalog index: how it is reached, its shape, and how a generation is built."""

    filters: tuple[str, ...] | None = Field(None, description="attributes with a payload index; null = all")
    batch: Positive = Field(256, description="items per upload")
    keep: int = Field(2, ge=1, description="complete generations to keep, the published one included")
    max_bad: Fraction = Field(0.05, description="maximum fraction of unusable catalog entries")
    self_queries: Positive = Field(64, description="items that must find themselves before a generation is published")

    def shape(self) -> IndexShape:
        """Returns what shapes the index, without how it is reached and built."""
        return IndexShape(**{name: getattr(self, name) for name in IndexShape.model_fields})


class IndexConfig(JobConfig):
    """How a catalog is embedded and indexed."""

    catalog: CatalogSettings = CatalogSettings()
    index: Indexing = Indexing()
    embed: Embedding = Embedding()
    compute: Device = Device()
