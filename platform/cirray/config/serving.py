"""The search service, and its configuration."""

from __future__ import annotations

from pydantic import Field, model_validator

from cirray.config.section import Configuration, Positive, Section


class Serving(Section):
    """The search service."""

    bundle: str = Field("", description="bundle, folder or URI; a symbolic link may be changed while the service runs")
    index: str = Field("", description="folder or URI of the embedded index (index.path of jobs/index.py)")
    collection: str = Field(
        "cirray",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$",
        description="collection name on the server of QDRANT_URL (index.collection of jobs/index.py)",
    )
    name: str = Field("cirray", description="catalog name shown on the search page")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 = all")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    ingress_replicas: Positive = Field(1, description="replicas that validate requests and search")
    encoder_replicas: Positive = Field(1, description="minimum number of replicas that hold the model")
    encoder_replicas_max: Positive = Field(1, description="maximum number of replicas that hold the model")
    scale_up_s: float = Field(30.0, ge=0.0, description="seconds of high load before encoder replicas are added")
    scale_down_s: float = Field(600.0, ge=0.0, description="seconds of low load before encoder replicas are removed")
    cpus: float = Field(0.5, gt=0.0, description="CPUs that each replica reserves")
    gpus: float = Field(0.0, ge=0.0, description="GPUs that each encoder replica reserves; 0 = it runs on the CPU")
    threads: Positive | None = Field(None, description="torch threads per encoder replica; null = torch's default")
    max_batch: Positive = Field(32, description="maximum images or sentences per forward pass")
    batch_wait_s: float = Field(0.004, ge=0.0, description="maximum seconds before a partial batch runs")
    max_ongoing: Positive = Field(64, description="maximum concurrent requests per replica")
    max_queued: Positive = Field(256, description="maximum queued requests; further requests get 429")
    timeout_s: float = Field(10.0, gt=0.0, description="timeout of a request, in seconds; later answers are 504")
    drain_s: float = Field(20.0, ge=0.0, description="seconds that a stopping replica has to finish its requests")
    poll_s: float = Field(1.0, gt=0.0, description="seconds between checks for a new generation or bundle")
    max_upload_mb: float = Field(10.0, gt=0.0, le=100.0, description="maximum size of a request body, in MB")
    max_megapixels: float = Field(
        50.0, gt=0.0, le=89.0, description="maximum size of an uploaded image after decoding, in megapixels"
    )
    decoders: Positive = Field(2, description="uploaded images that a replica decodes concurrently")
    feedback: str = Field("", description="folder or URI for feedback; empty = $CIRRAY_HOME/feedback or ~/.cache/...")
    feedback_max_mb: float = Field(256.0, gt=0.0, description="maximum size of stored feedback, in MB; more is refused")
    pictures: str = Field("", description="folder for uploaded item images; empty = $CIRRAY_HOME/pictures or ...")

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Serving:
        if self.encoder_replicas_max < self.encoder_replicas:
            raise ValueError(
                f"encoder_replicas_max is {self.encoder_replicas_max}, fewer than encoder_replicas, "
                f"{self.encoder_replicas}: raise it or lower encoder_replicas"
            )
        return self


class ServeConfig(Configuration):
    """The configuration of the search service."""

    serve: Serving = Serving()
