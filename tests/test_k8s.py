"""The deployment, as far as it can be checked without a container engine and a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml

from cirray.config.section import JobConfig
from cirray.config.serving import Serving
from tests.support.environments import locked
from tests.support.k8s_schema.specs import SPECS, Metadata, closed, nodes
from tests.support.manifests import RAY_KINDS, ROOT, Object, built, cluster_of, groups_of, of_kind

OVERLAYS = ("local", "gpu", "production")
BY_HAND = {"api-key", "qdrant-api-key", "qdrant-read-only-api-key", "auth_token", "redis-password"}
BY_KUBERAY = {"cirray-serve-svc": {8000}}  # Services that the operator makes


@dataclass(frozen=True)
class PodOf:
    """A pod as Kubernetes and KubeRay would make it from an object."""

    owner: Object
    labels: dict[str, str]
    spec: Object
    template: Object

    @property
    def containers(self) -> list[Object]:
        containers: list[Object] = self.spec["containers"]
        return containers

    @property
    def ports(self) -> dict[str | int, int]:
        ports = [port for container in self.containers for port in container.get("ports", [])]
        return {key: port["containerPort"] for port in ports for key in (port["name"], port["containerPort"])}


@pytest.fixture(params=OVERLAYS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(name: str) -> list[Object]:
    """All that an overlay puts into a cluster: the service, what it stands on, and the jobs."""
    return built(name) + built(f"{name}/jobs")


@pytest.fixture
def pods(objects: list[Object]) -> list[PodOf]:
    return [pod for item in objects for pod in pods_of(item)]


def pods_of(item: Object) -> Iterator[PodOf]:
    if item["kind"] in RAY_KINDS:
        cluster = cluster_of(item)
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            template = group["template"]
            kuberay = {
                "ray.io/is-ray-node": "yes",
                "ray.io/node-type": "worker" if "groupName" in group else "head",
                "ray.io/group": group.get("groupName", "headgroup"),
            }
            yield PodOf(item, {**template["metadata"]["labels"], **kuberay}, template["spec"], template)
        return
    spec = item.get("spec", {})
    template = spec["jobTemplate"]["spec"]["template"] if item["kind"] == "CronJob" else spec.get("template")
    if template:
        yield PodOf(item, template["metadata"]["labels"], template["spec"], template)


def names_of(objects: list[Object], kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in of_kind(objects, kind)}


def selected(selector: Object, pods: list[PodOf]) -> list[PodOf]:
    wanted = selector.get("matchLabels", {}).items()
    assert selector.keys() <= {"matchLabels"}
    return [pod for pod in pods if wanted <= pod.labels.items()]


def served(item: Object) -> tuple[Object, Serving]:
    (application,) = yaml.safe_load(item["spec"]["serveConfigV2"])["applications"]
    return application, Serving.model_validate(application["args"])


# --- each object by itself ---------------------------------------------------------------------------------------


def test_core_objects_are_what_kubernetes_takes(objects: list[Object], pods: list[PodOf]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    core = [item for item in objects if item["kind"] not in SPECS]
    for pod in pods:  # a Ray object holds pods of Kubernetes
        core.append({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": pod.template})
    for item in core:
        validator.validate(item, validator.latest_version(), strict=True)


def test_custom_objects_have_only_fields_that_we_know(objects: list[Object]) -> None:
    for item in of_kind(objects, *SPECS):
        version, spec = SPECS[item["kind"]]
        assert item["apiVersion"] == version
        assert item.keys() == {"apiVersion", "kind", "metadata", "spec"}
        Metadata.model_validate(item["metadata"])
        spec.model_validate(item["spec"])


def test_ray_objects_fit_the_crds_of_kuberay(objects: list[Object]) -> None:
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("KUBERAY_CRDS is not set: the folder of KubeRay's CRDs (helm-chart/kuberay-operator/crds)")
    jsonschema = importlib.import_module("jsonschema")
    crds = [crd for path in Path(folder).glob("*.yaml") for crd in yaml.safe_load_all(path.read_text())]
    for item in of_kind(objects, *RAY_KINDS):
        (crd,) = (crd for crd in crds if crd["spec"]["names"]["kind"] == item["kind"])
        (version,) = (found for found in crd["spec"]["versions"] if found["name"] == "v1")
        jsonschema.validate(item, closed(version["schema"]["openAPIV3Schema"]))


# --- jobs and the service ----------------------------------------------------------------------------------------

JOBS = {"train", "tune", "index", "evaluate"}


def configured(job: Object) -> JobConfig:
    """Parses an entrypoint as its script does; fails on an option that does not exist."""
    python, script, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert python == "python" and script.startswith("/app/jobs/") and (ROOT / script.removeprefix("/app/")).is_file()
    _, config = importlib.import_module(f"jobs.{Path(script).stem}").COMMAND.read(arguments)
    assert isinstance(config, JobConfig)
    return config


def test_every_job_is_one_of_ours_with_settings_that_exist(objects: list[Object]) -> None:
    jobs = of_kind(objects, "RayJob")
    assert {job["metadata"]["name"] for job in jobs} == JOBS
    for job in jobs:
        assert configured(job).output.startswith("/data/")
        assert job["metadata"]["labels"]["app.kubernetes.io/component"] == job["metadata"]["name"]


def test_a_jobs_workers_find_room(objects: list[Object]) -> None:
    for job in of_kind(objects, "RayJob"):
        (group,) = cluster_of(job)["workerGroupSpecs"]
        unit = group["rayStartParams"].get("num-gpus") or group["rayStartParams"]["num-cpus"]
        assert configured(job).workers <= group["replicas"] * int(unit), job["metadata"]["name"]


def test_the_serve_config_is_what_ray_and_the_application_take(objects: list[Object]) -> None:
    schema = importlib.import_module("ray.serve.schema")
    (service,) = of_kind(objects, "RayService")
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", 8000)
    application, settings = served(service)
    module, _, builder = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), builder))
    assert settings.bundle.startswith("/data/") and settings.timeout_s < config.http_options.request_timeout_s


def test_all_replicas_and_their_replacements_find_room(objects: list[Object]) -> None:
    (service,) = of_kind(objects, "RayService")
    _, settings = served(service)
    (group,) = cluster_of(service)["workerGroupSpecs"]
    start, most = group["rayStartParams"], group["maxReplicas"]
    replicas = settings.ingress_replicas + settings.encoder_replicas_max
    assert 2 * replicas * settings.cpus <= most * int(start["num-cpus"])
    assert 2 * settings.encoder_replicas_max * settings.gpus <= most * int(start.get("num-gpus", 0))
    assert (settings.gpus > 0) == ("num-gpus" in start)
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] > settings.drain_s


# --- what fits together ------------------------------------------------------------------------------------------


def test_versions_are_those_of_the_lock_file(name: str, objects: list[Object], pods: list[PodOf]) -> None:
    images = {container["image"] for pod in pods for container in pod.containers}
    assert not [image for image in images if ":" not in image or "latest" in image]
    (ours,) = (image for image in images if re.search(r"(^|/)cirray:", image))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ours.endswith(f"cirray:{version}" + ("-gpu" if name == "gpu" else ""))
    (qdrant,) = (image for image in images if "qdrant/qdrant" in image)
    assert qdrant.split(":v")[1].split(".")[:2] == locked("qdrant-client").split(".")[:2]
    assert {cluster_of(item)["rayVersion"] for item in of_kind(objects, *RAY_KINDS)} == {locked("ray")}


def test_every_mount_has_a_volume_and_every_volume_a_mount(pods: list[PodOf]) -> None:
    for pod in pods:
        templates = pod.owner["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {template["metadata"]["name"] for template in templates}
        mounts = {mount["name"] for container in pod.containers for mount in container.get("volumeMounts", [])}
        assert mounts == volumes, pod.owner["metadata"]["name"]


def test_everything_that_is_named_exists(name: str, objects: list[Object], pods: list[PodOf]) -> None:
    secrets = {item["metadata"]["name"]: set(item["data"]) for item in of_kind(objects, "Secret")}
    if name != "local":
        assert not secrets, "keys do not belong into the repository"
        secrets = {"cirray": BY_HAND, "cirray-tls": set()}
    claims, maps = names_of(objects, "PersistentVolumeClaim"), names_of(objects, "ConfigMap")
    for node in nodes(objects):
        for field in ("secretKeyRef", "credentials"):
            if field in node:
                assert node[field]["key"] in secrets[node[field]["name"]]
        if "authOptions" in node:
            assert "auth_token" in secrets[node["authOptions"]["secretName"]]
        if "tls" in node:
            assert {entry["secretName"] for entry in node["tls"]} <= secrets.keys()
        if "claimName" in node:
            assert node["claimName"] in claims
        if isinstance(node.get("configMap"), dict):
            assert node["configMap"]["name"] in maps
    accounts = names_of(objects, "ServiceAccount")
    for pod in pods:
        assert pod.spec["serviceAccountName"] in accounts


def test_the_guide_makes_the_keys_that_are_asked_for() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    assert set(re.findall(r"--from-literal=([\w-]+)=", guide)) == BY_HAND
    assert "secret tls cirray-tls" in guide


def test_services_reach_ports_of_pods(objects: list[Object], pods: list[PodOf]) -> None:
    services = {item["metadata"]["name"]: item for item in of_kind(objects, "Service")}
    for service in services.values():
        behind = selected({"matchLabels": service["spec"]["selector"]}, pods)
        assert behind
        for port in service["spec"]["ports"]:
            assert all(pod.ports[port["targetPort"]] == port["port"] for pod in behind)
    ports = {name: {port["port"] for port in item["spec"]["ports"]} for name, item in services.items()} | BY_KUBERAY
    text = json.dumps(of_kind(objects, *RAY_KINDS, "StatefulSet", "CronJob"))
    addresses = re.findall(r"http://[\w-]+?(?:-(?:\d|\{\})\.([\w-]+))?:(\d+)", text)
    addresses += re.findall(r'"(?:http://)?(qdrant|redis):(\d+)"', text)
    assert {host for host, _ in addresses if host} >= {"qdrant", "qdrant-headless"}
    assert all(int(port) in ports[host] for host, port in addresses if host)
    for ingress in of_kind(objects, "Ingress"):
        for node in nodes(ingress):
            if "backend" in node:
                backend = node["backend"]["service"]
                assert backend["port"]["number"] in ports[backend["name"]]
    for item in of_kind(objects, "StatefulSet"):
        assert item["spec"]["serviceName"] in services


def test_network_policies_select_pods_and_ports_that_exist(objects: list[Object], pods: list[PodOf]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    assert any(policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]} for policy in policies)
    for policy in policies:
        chosen = selected(policy["spec"]["podSelector"], pods)
        assert chosen
        for rule in policy["spec"].get("ingress", []):
            assert all(selected(peer["podSelector"], pods) for peer in rule["from"] if "podSelector" in peer)
            assert {port["port"] for port in rule.get("ports", [])} <= {key for pod in chosen for key in pod.ports}


def test_disruption_budgets_protect_pods_that_exist(objects: list[Object], pods: list[PodOf]) -> None:
    for budget in of_kind(objects, "PodDisruptionBudget"):
        chosen = selected(budget["spec"]["selector"], pods)
        assert chosen
        if any(pod.owner["kind"] in RAY_KINDS for pod in chosen):
            assert isinstance(budget["spec"]["minAvailable"], int)  # all that Kubernetes takes for such pods


def test_monitors_find_their_ports(objects: list[Object], pods: list[PodOf]) -> None:
    for monitor in of_kind(objects, "PodMonitor"):
        chosen = selected(monitor["spec"]["selector"], pods)
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert any(endpoint["port"] in pod.ports for pod in chosen)
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = of_kind(objects, "Service")
        (service,) = (item for item in services if wanted <= item["metadata"].get("labels", {}).items())
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= {
            port["name"] for port in service["spec"]["ports"]
        }


def test_ray_counts_what_kubernetes_grants(objects: list[Object]) -> None:
    for item in of_kind(objects, *RAY_KINDS):
        for group in groups_of(item):
            start, (container,) = group["rayStartParams"], group["template"]["spec"]["containers"]
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests == limits
            assert start["num-cpus"] in (["0"] if "groupName" not in group else [requests["cpu"]])
            assert start.get("num-gpus") == requests.get("nvidia.com/gpu")


def test_memory_is_granted_as_it_is_limited(pods: list[PodOf]) -> None:
    for container in (container for pod in pods for container in pod.containers):
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_no_pod_has_rights(pods: list[PodOf]) -> None:
    for pod in pods:
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        autoscales = pod.owner["kind"] == "RayService" and pod.labels["ray.io/node-type"] == "head"
        assert pod.spec["automountServiceAccountToken"] is autoscales
        for container in pod.containers:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
            assert own.get("readOnlyRootFilesystem") or pod.owner["kind"] in RAY_KINDS  # Ray writes where it is


def test_all_ray_pods_see_the_same_surroundings(objects: list[Object]) -> None:
    groups = [group for item in of_kind(objects, *RAY_KINDS) for group in groups_of(item)]
    environments = [group["template"]["spec"]["containers"][0]["env"] for group in groups]
    assert {"CIRRAY_API_KEY", "QDRANT_URL", "QDRANT_API_KEY"} <= {entry["name"] for entry in environments[0]}
    assert all(environment == environments[0] for environment in environments)


def test_no_key_is_written_down(name: str, objects: list[Object]) -> None:
    for node in nodes([item for item in objects if item["kind"] != "ConfigMap"]):
        if re.search("KEY|TOKEN|PASSWORD|AUTH", str(node.get("name", ""))):
            assert "valueFrom" in node or str(node["value"]).startswith("$(")
    if name == "local":
        assert all("local-only" in value for value in local_keys())


def local_keys() -> list[str]:
    (generator,) = yaml.safe_load((ROOT / "k8s/overlays/local/kustomization.yaml").read_text())["secretGenerator"]
    return [literal.partition("=")[2] for literal in generator["literals"]]


# --- the image, the backup, the dashboard ------------------------------------------------------------------------


def test_the_image_is_pinned_and_runs_without_rights() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    steps = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    froms = [argument for step, argument in steps if step == "FROM"]
    assert "latest" not in text and all(re.search(r":\S*\d+\.\d+\.\d+", image) for image in froms)
    rays = {image.split()[0] for image in froms if image.startswith("rayproject/")}
    assert rays == {f"rayproject/ray:{locked('ray')}-py311${{VARIANT}}"} and froms[-1] in rays
    last = max(number for number, (step, _) in enumerate(steps) if step == "FROM")
    users = [argument for step, argument in steps[last:] if step == "USER"]
    assert users == ["1000:100"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in (argument.split()[0] for step, argument in steps if step == "COPY" and "--from" not in argument):
        assert (ROOT / source).exists() and f"!{source}" in ignored
    assert "PYTHONPATH=/app/platform:/app" in text


def test_the_images_packages_are_the_locked_ones_without_those_of_development() -> None:
    def pins(name: str) -> set[str]:
        return set((ROOT / name).read_text().splitlines())

    runtime = pins("requirements-runtime.lock")
    assert runtime < pins("requirements.lock")
    assert not [pin for pin in runtime if re.match("pytest|ruff|mypy|kubernetes-validate", pin)]


def load_backup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backup", ROOT / "k8s/base/platform/backup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeNode:
    """As much of a Qdrant peer as a backup needs."""

    def __init__(self, **collections: bytes) -> None:
        self.collections = collections
        self.snapshots: dict[str, bytes] = {}
        self.aliases = [{"alias_name": "cirray", "collection_name": "cirray--1"}] if collections else []
        self.client = httpx.Client(transport=httpx.MockTransport(self.answer), base_url="http://node")

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, collection = request.url.path, request.url.path.split("/")[-2]
        result: Any = True
        if path == "/collections":
            result = {"collections": [{"name": name} for name in self.collections]}
        elif path == "/aliases":
            result = {"aliases": self.aliases}
        elif path == "/collections/aliases":
            actions = json.loads(request.content)["actions"]
            self.aliases = [action["create_alias"] for action in actions if "create_alias" in action]
        elif path.endswith("/snapshots/upload"):
            body = request.read().split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
            self.collections[path.split("/")[2]] = body
        elif request.method == "POST":
            self.snapshots["one"], result = self.collections[collection], {"name": "one"}
        elif request.method == "DELETE":
            del self.snapshots["one"]
        else:
            return httpx.Response(200, content=self.snapshots["one"])
        return httpx.Response(200, json={"result": result})


def test_a_backup_can_be_brought_back(tmp_path: Path) -> None:
    backup = load_backup()
    nodes_before = [FakeNode(**{"cirray--1": b"first shard"}), FakeNode(**{"cirray--1": b"second shard"})]
    kept = backup.save([node.client for node in nodes_before], tmp_path, keep=3)
    assert not any(node.snapshots for node in nodes_before), "snapshots stay where the disk is small"
    nodes_after = [FakeNode(), FakeNode()]
    backup.restore([node.client for node in nodes_after], kept)
    assert [node.collections for node in nodes_after] == [node.collections for node in nodes_before]
    assert nodes_after[0].aliases == nodes_before[0].aliases


def test_only_the_newest_complete_backups_are_kept(tmp_path: Path) -> None:
    for name, complete in (("20260101T000000Z", True), ("20260102T000000Z", True), ("20260103T000000Z", False)):
        (tmp_path / name / "0").mkdir(parents=True)
        if complete:
            (tmp_path / name / "aliases.json").write_text("[]")
    (tmp_path / "mine").mkdir()
    newest = load_backup().save([FakeNode(**{"cirray--1": b"x"}).client], tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"20260102T000000Z", newest.name, "mine"}


def test_the_backup_asks_every_peer(objects: list[Object], pods: list[PodOf]) -> None:
    (qdrant,) = (item for item in of_kind(objects, "StatefulSet") if item["metadata"]["name"] == "qdrant")
    (backup,) = (pod for pod in pods if pod.owner["kind"] == "CronJob")
    environment = {entry["name"]: entry.get("value") for entry in backup.containers[0]["env"]}
    assert environment["NODES"] == str(qdrant["spec"]["replicas"])
    (volume,) = (entry for entry in backup.spec["volumes"] if "configMap" in entry)
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    (mount,) = (entry for entry in backup.containers[0]["volumeMounts"] if entry["name"] == volume["name"])
    script = Path(backup.containers[0]["command"][1])
    assert script.parent == Path(mount["mountPath"]) and script.name in maps[volume["configMap"]["name"]]


QDRANT_METRICS = {  # https://qdrant.tech/documentation/ops-monitoring/monitoring
    "grpc_responses_total", "rest_responses_total", "grpc_responses_fail_total", "rest_responses_fail_total",
    "grpc_responses_duration_seconds_bucket", "rest_responses_duration_seconds_bucket", "collection_points",
    "cluster_peers_total", "cluster_pending_operations_total", "memory_resident_bytes",
}  # fmt: skip


def test_the_dashboard_shows_metrics_that_exist() -> None:
    (dashboard,) = (item for item in built("production") if item["metadata"]["name"] == "cirray-dashboard")
    panels = json.loads(dashboard["data"]["dashboard.json"])["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    pattern = r"\b(?:ray|grpc|rest|collection|cluster|memory)_[a-z_]+"
    used = {metric for expression in expressions for metric in re.findall(pattern, expression)}
    assert all(re.search(pattern, expression) for expression in expressions)
    ray = importlib.import_module("ray")
    folder = Path(ray.__file__).parent
    sources = [*(folder / "serve").rglob("*.py"), *(folder / "dashboard/modules/metrics/dashboards").glob("*.py")]
    known = "\n".join(path.read_text() for path in sources)
    for metric in used - QDRANT_METRICS:
        base = re.sub("_(total|bucket)$", "", metric.removeprefix("ray_"))
        assert metric in known or f'"{base}"' in known, metric
