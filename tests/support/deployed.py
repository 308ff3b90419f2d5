"""Deploys the search service on a cluster with `serve deploy`, and finds its replicas."""

from __future__ import annotations

import subprocess
from typing import Any

import httpx
import yaml

from tests.support.cluster import Cluster
from tests.support.service import wait_until
from tests.support.service_fixtures import Shop

READY_S = 180
PORT = 8000


def serve_config(shop: Shop, **settings: Any) -> str:
    """Returns a Serve configuration like serve/config.yaml for a shop."""
    args = {"bundle": str(shop.bundle), "index": str(shop.index), "threads": 1, **settings}
    application = {"name": "cirray", "route_prefix": "/", "import_path": "serve.app:build_app", "args": args}
    http = {"host": "0.0.0.0", "port": PORT, "request_timeout_s": 30}
    return yaml.safe_dump({"proxy_location": "EveryNode", "http_options": http, "applications": [application]})


def deploy(cluster: Cluster, config: str) -> None:
    """Runs `serve deploy` and waits until all deployments are healthy."""
    path = cluster.folder / "serve.yaml"
    path.write_text(config, encoding="utf-8")
    command = [str(cluster.bin / "serve"), "deploy", "--address", cluster.dashboard, str(path)]
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.dashboard}
    done = subprocess.run(command, env=environment, cwd=cluster.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: is_running(cluster), READY_S, "the application")


def is_running(cluster: Cluster) -> bool:
    """Whether the application is running and all its deployments are healthy."""
    status = application(cluster)
    assert status.get("status") != "DEPLOY_FAILED", status["message"]
    deployments = status.get("deployments", {}).values()
    return status.get("status") == "RUNNING" and all(entry["status"] == "HEALTHY" for entry in deployments)


def replicas(cluster: Cluster, deployment: str) -> list[str]:
    """Returns the node address of each running replica of a deployment."""
    entries = application(cluster).get("deployments", {}).get(deployment, {}).get("replicas", [])
    return [replica["node_ip"] for replica in entries if replica["state"] == "RUNNING"]


def application(cluster: Cluster) -> dict[str, Any]:
    """Returns Serve's status of the application; {} while the head is unreachable."""
    try:
        status: dict[str, Any] = cluster.get("/api/serve/applications/")["applications"].get("cirray", {})
    except httpx.HTTPError:
        return {}
    return status
