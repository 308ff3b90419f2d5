"""The catalog index, and the configuration of an indexing job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cirray.config.catalog import CatalogSettings
from cirray.config.compute import Device, Embedding
from cirray.config.section import Fraction, JobConfig, Positive, Section


class Hnsw(Section):
    """The HNSW graph of an index. Catalogs below `threshold_kb` are searched exactly."""

    m: Positive = Field(16, description="edges per node of the graph")
    ef_construct: Positive = Field(128, description="candidate list size while the graph is built")
    ef_search: Positive = Field(128, description="candidate list size of a query")
    threshold_kb: Positive = Field(20_000, description="minimum kB of vectors for which a graph is built")


class IndexAccess(Section):
    """Location of the index, and the requests to its server."""

    path: str = Field("", description="folder or URI of the embedded index; empty = $CIRRAY_HOME/index or ~/.cache/...")
    collection: str = Field(
        "cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="collection name on the server of QDRANT_URL"
    )
    timeout_s: float = Field(30.0, gt=0.0, description="timeout of one request to the server, in seconds")
    attempts: Positive = Field(4, description="attempts per request to the server")


class IndexShape(Section):
    """The vectors and the graph of an index. Each generation's manifest contains these settings."""

    hnsw: Hnsw = Hnsw()
    quantization: Literal["none", "int8", "binary"] = Field(
        "none", description="none, int8 (pays off from about 1M images) or binary (needs wide features)"
    )
    oversampling: float = Field(
        3.0,
        ge=1.0,
        description="with quantization: rescored candidates as a multiple of the hits",
    )


class Indexing(IndexShape, IndexAccess):
    """The catalog index: its location, its shape, and the building of generations."""

    filters: tuple[str, ...] | None = Field(None, description="attributes with a payload index; null = all")
    batch: Positive = Field(256, description="items per upload")
    keep: int = Field(2, ge=1, description="complete generations to keep, including the published one")
    max_bad: Fraction = Field(0.05, description="maximum fraction of unusable catalog entries")
    self_queries: Positive = Field(
        64, description="items that must be their own first hit before a generation is published"
    )

    def shape(self) -> IndexShape:
        """Returns the settings that shape the index, without those of its location and building."""
        return IndexShape(**{name: getattr(self, name) for name in IndexShape.model_fields})


class IndexConfig(JobConfig):
    """The configuration of an indexing job."""

    catalog: CatalogSettings = CatalogSettings()
    index: Indexing = Indexing()
    embed: Embedding = Embedding()
    compute: Device = Device()
