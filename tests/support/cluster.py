"""A Ray cluster of real `ray start` processes, each node in its own network namespace, so that nodes can be lost."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.machines import Machine, Network, network
from tests.support.runs import REPOSITORY
from tests.support.service import wait_until

BIN = Path(sys.executable).parent
GCS, DASHBOARD = 6379, 8265
JOIN_S = 180
START = ("start", "--block", "--disable-usage-stats", "--object-store-memory", "200000000")


@dataclass
class Cluster:
    """A head without CPUs, and worker nodes.

    Attributes:
        environment: environment variables of its nodes and clients, with its address and token.
        bin: folder of the commands of the nodes' Python environment.
        folder: folder for its logs.
        redis_environment: environment variables that make the head keep its state in Redis; empty without Redis.
    """

    network: Network
    head: Machine
    environment: dict[str, str]
    bin: Path
    folder: Path
    redis_environment: dict[str, str] = field(default_factory=dict)

    @property
    def dashboard(self) -> str:
        """The address for jobs and Serve configurations."""
        return f"http://{self.head.address}:{DASHBOARD}"

    def start_head(self) -> None:
        """Starts or restarts the head, and waits until it reports itself alive."""
        ports = ("--port", str(GCS), "--dashboard-port", str(DASHBOARD), "--dashboard-host", self.head.address)
        password = ("--redis-password", self.redis_environment["REDIS_PASSWORD"]) if self.redis_environment else ()
        options = ("--head", "--num-cpus", "0", *ports, *password)
        self._start(self.head, self.redis_environment, *options)
        wait_until(lambda: self.head.address in self.alive(), JOIN_S, "the head")

    def add(self, *cpus: int) -> list[Machine]:
        """Starts one worker node per number of CPUs, and waits until all have joined."""
        machines = [self.network.add() for _ in cpus]
        for machine, count in zip(machines, cpus, strict=True):
            self._start(machine, {}, "--address", f"{self.head.address}:{GCS}", "--num-cpus", str(count))
        wait_until(lambda: {machine.address for machine in machines} <= self.alive(), JOIN_S, "worker nodes")
        return machines

    def alive(self) -> set[str]:
        """Returns the addresses of the nodes that the head considers alive."""
        try:
            nodes = self.get("/nodes?view=summary")["data"]["summary"]
        except httpx.HTTPError:
            return set()
        return {node["ip"] for node in nodes if node.get("raylet", {}).get("state") == "ALIVE" and "ip" in node}

    def get(self, path: str) -> dict[str, Any]:
        """Returns the JSON of a dashboard path.

        Raises:
            httpx.HTTPError: the dashboard is unreachable or refuses the request.
        """
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        answer = httpx.get(self.dashboard + path, headers=token, timeout=10)
        content: dict[str, Any] = answer.raise_for_status().json()
        return content

    def _start(self, machine: Machine, more: Mapping[str, str], *options: str) -> None:
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"} | more
        command = [str(self.bin / "ray"), *START, "--node-ip-address", machine.address, *options]
        machine.start(command, environment, self.folder / "ray.log")


@contextmanager
def cluster(
    folder: Path, environment: Mapping[str, str] | None = None, bin: Path = BIN, redis: bool = False
) -> Iterator[Cluster]:
    """Yields a cluster with a head; kills all nodes at the end.

    Args:
        folder: existing folder for logs and $CIRRAY_HOME.
        environment: further environment variables of the nodes.
        bin: folder of the commands of the nodes' Python environment.
        redis: whether the head keeps its state in Redis, as in k8s/overlays/production.
    """
    with network(folder) as net:
        head = net.add()
        shared = {
            **os.environ,
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "platform"), str(REPOSITORY)]),
            "RAY_ADDRESS": f"{head.address}:{GCS}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "CIRRAY_HOME": str(folder / "home"),
            "GLOO_SOCKET_IFNAME": "eth0",  # a pod's host name resolves to its address; here all share one host name
            **(environment or {}),
        }
        if redis:
            shared["RAY_gcs_rpc_server_reconnect_timeout_s"] = (
                "600"  # time that nodes wait for a new head, as in KubeRay
            )
        started = Cluster(net, head, shared, bin, folder, _start_redis(net, folder) if redis else {})
        started.start_head()
        yield started


def _start_redis(net: Network, folder: Path) -> dict[str, str]:
    """Starts Redis as k8s/overlays/production/redis.yaml does; returns the variables that KubeRay sets for the head."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: it keeps the state of a lost head")
    machine, password, data = net.add(), secrets.token_hex(16), folder / "redis"
    data.mkdir()
    options = ("--dir", str(data), "--appendonly", "yes", "--requirepass", password, "--bind", machine.address)
    machine.start(["redis-server", *options], os.environ, folder / "redis.log")
    return {
        "RAY_REDIS_ADDRESS": f"{machine.address}:6379",
        "REDIS_PASSWORD": password,
        "RAY_external_storage_namespace": "cirray",
    }
