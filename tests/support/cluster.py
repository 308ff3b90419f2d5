"""A Ray cluster whose nodes are machines of their own: real `ray start` processes that can be lost."""

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
        environment: that of its nodes, and of a client on one of them: its address, and the token that it asks for.
        bin: folder of the Python environment that its nodes run from.
        folder: where its logs go.
        memory: what tells the head where its state is, if it is not to die with it.
    """

    network: Network
    head: Machine
    environment: dict[str, str]
    bin: Path
    folder: Path
    memory: dict[str, str] = field(default_factory=dict)

    @property
    def dashboard(self) -> str:
        """Where jobs and Serve configurations are sent."""
        return f"http://{self.head.address}:{DASHBOARD}"

    def start_head(self) -> None:
        """Starts the head, the first time or again, and waits until it knows itself."""
        ports = ("--port", str(GCS), "--dashboard-port", str(DASHBOARD), "--dashboard-host", self.head.address)
        password = ("--redis-password", self.memory["REDIS_PASSWORD"]) if self.memory else ()
        options = ("--head", "--num-cpus", "0", *ports, *password)
        self._start(self.head, self.memory, *options)
        wait_until(lambda: self.head.address in self.alive(), JOIN_S, "the head")

    def add(self, *cpus: int) -> list[Machine]:
        """Starts a worker node for each number of CPUs, and waits until they have joined."""
        machines = [self.network.add() for _ in cpus]
        for machine, count in zip(machines, cpus, strict=True):
            self._start(machine, {}, "--address", f"{self.head.address}:{GCS}", "--num-cpus", str(count))
        wait_until(lambda: {machine.address for machine in machines} <= self.alive(), JOIN_S, "worker nodes")
        return machines

    def alive(self) -> set[str]:
        """Returns the addresses of the nodes that the head takes for alive."""
        try:
            nodes = self.ask("/nodes?view=summary")["data"]["summary"]
        except httpx.HTTPError:
            return set()
        return {node["ip"] for node in nodes if node.get("raylet", {}).get("state") == "ALIVE" and "ip" in node}

    def ask(self, path: str) -> dict[str, Any]:
        """Asks the dashboard.

        Raises:
            httpx.HTTPError: it is not there, or it refuses.
        """
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        answer = httpx.get(self.dashboard + path, headers=token, timeout=10)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _start(self, machine: Machine, more: Mapping[str, str], *options: str) -> None:
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"} | more
        command = [str(self.bin / "ray"), *START, "--node-ip-address", machine.address, *options]
        machine.start(command, environment, self.folder / "ray.log")


@contextmanager
def cluster(
    folder: Path, environment: Mapping[str, str] | None = None, bin: Path = BIN, redis: bool = False
) -> Iterator[Cluster]:
    """Starts a head; ends all nodes.

    Args:
        folder: an existing one, for logs and $CIRRAY_HOME.
        environment: what nodes have in theirs besides.
        bin: folder of the Python environment that they run from.
        redis: whether the head's state outlives it, as in k8s/overlays/production.
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
            "GLOO_SOCKET_IFNAME": "eth0",  # a pod's name means its address; here all have the name of this machine
            **(environment or {}),
        }
        if redis:
            shared["RAY_gcs_rpc_server_reconnect_timeout_s"] = "600"  # KubeRay's: so long nodes wait for a new head
        started = Cluster(net, head, shared, bin, folder, _start_redis(net, folder) if redis else {})
        started.start_head()
        yield started


def _start_redis(net: Network, folder: Path) -> dict[str, str]:
    """Starts a Redis as k8s/overlays/production/redis.yaml does; returns what KubeRay tells the head of it."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not here: it keeps the state of a head that is lost")
    machine, password, data = net.add(), secrets.token_hex(16), folder / "redis"
    data.mkdir()
    options = ("--dir", str(data), "--appendonly", "yes", "--requirepass", password, "--bind", machine.address)
    machine.start(["redis-server", *options], os.environ, folder / "redis.log")
    return {
        "RAY_REDIS_ADDRESS": f"{machine.address}:6379",
        "REDIS_PASSWORD": password,
        "RAY_external_storage_namespace": "cirray",
    }
