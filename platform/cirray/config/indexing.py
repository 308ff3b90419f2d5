"""The catalog index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cirray.config.section import Fraction, Positive, Section


class Hnsw(Section):
    """The approximate nearest-neighbour graph of an index; catalogs too small for one are searched exactly."""

    m: Positive = Field(16, description="edges a node")
    ef_construct: Positive = Field(128, description="candidates looked at while building")
    ef_search: Positive = Field(128, description="candidates looked at by a query")
    threshold_kb: Positive = Field(20_000, description="kB of vectors from which on the graph is built")


class Indexing(Section):
    """The catalog index: where it lives and how it is built (kept in each generation's manifest)."""

    path: str = Field("", description="folder or URI of the embedded index; empty = $CIRRAY_HOME/index or ~/.cache/...")
    collection: str = Field(
        "cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="its name on the server that QDRANT_URL names"
    )
    hnsw: Hnsw = Hnsw()
    quantization: Literal["none", "int8", "binary"] = Field(
        "none", description="int8 pays from about a million pictures on; binary wants wide features"
    )
    oversampling: float = Field(3.0, ge=1.0, description="with quantization: so many times the hits are rescored")
    filters: tuple[str, ...] | None = Field(None, description="attributes with a payload index; null = all of them")
    batch: Positive = Field(256, description="items an upload")
    keep: int = Field(2, ge=1, description="complete generations kept, the published one and its predecessors")
    max_bad: Fraction = Field(0.05, description="greatest share of catalog entries that may be unusable")
    self_queries: Positive = Field(64, description="items searched for by their own feature before publishing")
    timeout_s: float = Field(30.0, gt=0.0, description="longest wait for one answer of the server")
    attempts: Positive = Field(4, description="how often a call of the server is tried")
