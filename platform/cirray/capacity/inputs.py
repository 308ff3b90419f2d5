"""Input parameters of a plan, with defaults and descriptions; their validation and error messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cirray.config.indexing import Hnsw, Indexing
from cirray.config.section import Section

Quantization = Literal["none", "int8", "binary"]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
INT8_FROM = 1_000_000


class PlanInputs(Section):
    """Input parameters of a plan."""

    items: int = Field(ge=1, le=10**12, description="items in the catalog")
    dim: int = Field(ge=1, le=65_535, description="width of the image features")
    qps: Rate = Field(description="searches per second at peak")
    replicas: int = Field(2, ge=1, le=100, description="copies of every shard, on different nodes")
    quantization: Literal["auto", "none", "int8", "binary"] = Field(
        "auto", description="auto = int8 from a million items on, else none"
    )
    recall: float = Field(0.95, gt=0.0, le=1.0, description="required recall@10 against exact search")
    p95_ms: Rate = Field(50.0, description="required 95th percentile of the search time, in ms")
    embed_rate: Rate = Field(400.0, description="pictures per second that one GPU embeds")
    gpus: Positive = Field(1, description="GPUs that embed in parallel")
    payload_bytes: Positive = Field(400, description="JSON bytes of one item: id, image, title, attributes, hashes")
    indexed: int = Field(4, ge=0, description="attributes with a payload index")
    linked: int | None = Field(
        None,
        ge=0,
        description="number of these with additional links in the graph, for filtered searches (attributes with large "
        "groups of items of the same value); null = all",
    )
    m: int = Field(Hnsw().m, ge=2, description="as index.hnsw.m")
    ef_search: Positive = Field(Hnsw().ef_search, description="as index.hnsw.ef_search")
    threshold_kb: Positive = Field(Hnsw().threshold_kb, description="as index.hnsw.threshold_kb")
    oversampling: float = Field(Indexing().oversampling, ge=1.0, description="as index.oversampling")
    generations: Positive = Field(
        Indexing().keep + 1,
        description="collections in memory: index.keep, and the one being built; 1 = items are only added and deleted "
        "in place",
    )
    node_ram_gb: Rate = Field(64.0, description="memory of a Qdrant node, in GB")
    node_cpus: Positive = Field(16, description="CPUs of a Qdrant node")
    ram_share: Share = Field(0.75, description="fraction of that memory to use; the rest is for the page cache")
    utilisation: Share = Field(0.6, description="fraction of CPUs and replicas that is busy at peak")
    shards_per_node: Positive = Field(2, description="shards per node if there are several nodes, for growth")
    ingress_rate: Rate = Field(490.0, description="searches per second of one ingress replica")
    encoder_rate: Rate = Field(100.0, description="texts or pictures per second of one encoder replica")
    encoder_share: float = Field(1.0, ge=0.0, le=1.0, description="fraction of searches that need an encoder")
    uploaders: Positive = Field(1, description="processes that upload in parallel")

    @model_validator(mode="after")
    def _linked_are_indexed(self) -> PlanInputs:
        if self.links_of_attributes > self.indexed:
            raise ValueError(f"--linked is {self.linked}, more than --indexed, {self.indexed}")
        return self

    @property
    def links_of_attributes(self) -> int:
        """Number of attributes with additional links in the graph."""
        return self.indexed if self.linked is None else self.linked

    @property
    def chosen(self) -> Quantization:
        """The quantization, with "auto" resolved."""
        if self.quantization != "auto":
            return self.quantization
        return "int8" if self.items >= INT8_FROM else "none"
