"""Strict types of KubeRay's and the Prometheus operator's objects, with only the fields that the overlays use.

Written after the Go types of KubeRay 1.7 (ray-operator/apis/ray/v1) and of the Prometheus operator. The pods inside are
checked as Kubernetes' own (tests/test_k8s.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

Object = dict[str, Any]


class Typed(BaseModel):
    """Base class: rejects unknown fields and converts no types."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(Typed):
    name: str
    namespace: Literal["cirray"]
    labels: dict[str, str] = {}


class AuthOptions(Typed):
    mode: Literal["token"]
    secret_name: str


class AutoscalerOptions(Typed):
    version: Literal["v2"]
    idle_timeout_seconds: int
    resources: Object
    security_context: Object


class GcsFaultTolerance(Typed):
    redis_address: str
    redis_password: Object


class Group(Typed):
    ray_start_params: dict[str, str]
    template: Object


class WorkerGroup(Group):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int

    @model_validator(mode="after")
    def _in_order(self) -> WorkerGroup:
        assert self.min_replicas <= self.replicas <= self.max_replicas
        return self


class RayCluster(Typed):
    ray_version: str
    auth_options: AuthOptions
    enable_in_tree_autoscaling: bool = False
    autoscaler_options: AutoscalerOptions | None = None
    gcs_fault_tolerance_options: GcsFaultTolerance | None = None
    head_group_spec: Group
    worker_group_specs: list[WorkerGroup]


class UpgradeStrategy(Typed):
    type: Literal["NewCluster"]


class ServiceSpec(Typed):
    upgrade_strategy: UpgradeStrategy
    exclude_head_pod_from_serve_svc: bool
    serve_config_v2: str
    ray_cluster_config: RayCluster


class JobSpec(Typed):
    entrypoint: str
    submission_mode: Literal["HTTPMode"]
    backoff_limit: int
    active_deadline_seconds: int
    shutdown_after_job_finishes: Literal[True]
    ttl_seconds_after_finished: int
    ray_cluster_spec: RayCluster


class Selector(Typed):
    match_labels: dict[str, str]


class PodEndpoint(Typed):
    port: str


class SecretKey(Typed):
    name: str
    key: str


class Authorization(Typed):
    type: Literal["Bearer"]
    credentials: SecretKey


class ServiceEndpoint(PodEndpoint):
    path: str
    authorization: Authorization


class PodMonitorSpec(Typed):
    selector: Selector
    pod_target_labels: list[str]
    pod_metrics_endpoints: list[PodEndpoint]


class ServiceMonitorSpec(Typed):
    selector: Selector
    endpoints: list[ServiceEndpoint]


SPECS: dict[str, tuple[str, type[Typed]]] = {
    "RayService": ("ray.io/v1", ServiceSpec),
    "RayJob": ("ray.io/v1", JobSpec),
    "PodMonitor": ("monitoring.coreos.com/v1", PodMonitorSpec),
    "ServiceMonitor": ("monitoring.coreos.com/v1", ServiceMonitorSpec),
}


def nodes(value: Any) -> Iterator[Object]:
    """Yields every nested mapping, at any depth."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def closed(schema: Object) -> Object:
    """Returns the schema changed to reject unknown fields, as kubectl's strict validation does."""
    for node in nodes(schema):
        if isinstance(node.get("properties"), dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
    return schema
