"""The search service."""

from __future__ import annotations

from pydantic import Field, model_validator

from cirray.config.section import Positive, Section


class Serving(Section):
    """The search service."""

    bundle: str = Field("", description="bundle folder or URI; a link to one may be moved while the service runs")
    index: str = Field("", description="folder or URI of the embedded index, as index.path")
    collection: str = Field("cirray", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", description="as index.collection")
    name: str = Field("cirray", description="what the page calls the catalog")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 = all")
    port: int = Field(8000, ge=1, le=65535)
    ingress_replicas: Positive = Field(1, description="replicas that validate and search")
    encoder_replicas: Positive = Field(1, description="replicas that hold the model, at least")
    encoder_replicas_max: Positive = Field(1, description="replicas that hold the model under load, at most")
    scale_up_s: float = Field(30.0, ge=0.0, description="how long the load must be high before encoders are added")
    scale_down_s: float = Field(600.0, ge=0.0, description="how long it must be low before encoders are taken away")
    cpus: float = Field(0.5, gt=0.0, description="CPUs that a replica reserves")
    gpus: float = Field(0.0, ge=0.0, description="GPUs that an encoder replica reserves; with any, it runs there")
    threads: Positive | None = Field(None, description="torch threads an encoder replica; none = torch's choice")
    max_batch: Positive = Field(32, description="pictures or sentences a forward pass")
    batch_wait_s: float = Field(0.004, ge=0.0, description="how long a batch waits for company")
    max_ongoing: Positive = Field(64, description="requests a replica works on at a time")
    max_queued: Positive = Field(256, description="requests that may wait; the next is told to come again (429)")
    timeout_s: float = Field(10.0, gt=0.0, description="longest a request may take; then 504")
    drain_s: float = Field(20.0, ge=0.0, description="how long a replica that stops may finish what it has")
    poll_s: float = Field(1.0, gt=0.0, description="how often a new generation or bundle is looked for")
    max_upload_mb: float = Field(10.0, gt=0.0, le=100.0, description="greatest request body")
    max_megapixels: float = Field(
        50.0, gt=0.0, le=89.0, description="greatest uploaded picture; a small file may be huge"
    )
    decoders: Positive = Field(2, description="uploaded pictures that a replica decodes at a time")
    feedback: str = Field("", description="folder or URI for feedback; empty = $CIRRAY_HOME/feedback or ~/.cache/...")
    feedback_max_mb: float = Field(256.0, gt=0.0, description="feedback kept in that folder; then it is refused")
    pictures: str = Field("", description="folder for uploaded item pictures; empty = $CIRRAY_HOME/pictures or ...")

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Serving:
        if self.encoder_replicas_max < self.encoder_replicas:
            raise ValueError(
                f"encoder_replicas_max is {self.encoder_replicas_max}, fewer than encoder_replicas, "
                f"{self.encoder_replicas}: raise it or lower encoder_replicas"
            )
        return self
