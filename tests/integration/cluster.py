"""A Ray cluster of several nodes on one machine: real `ray start` processes that can be lost."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.runs import REPOSITORY
from tests.integration.service import free_port

RAY = str(Path(sys.executable).parent / "ray")
JOIN_S = 180
COUNT = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
print("alive", sum(node["Alive"] for node in ray.nodes()), flush=True)
"""


@dataclass
class Cluster:
    """A head without CPUs, and worker nodes.

    Attributes:
        environment: what a client of it needs: its address, and the token that it asks for.
    """

    environment: dict[str, str]
    port: int
    dashboard: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, cpus: int) -> subprocess.Popen[bytes]:
        """Starts a worker node and waits until it has joined."""
        before = self.alive()
        node = self._start("--address", f"127.0.0.1:{self.port}", "--num-cpus", str(cpus))
        self.nodes.append(node)
        end = time.monotonic() + JOIN_S
        while self.alive() <= before:
            assert node.poll() is None
            assert time.monotonic() < end
            time.sleep(0.5)
        return node

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Kills a node with everything on it."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def alive(self) -> int:
        """Returns how many nodes the head counts."""
        done = subprocess.run(
            [sys.executable, "-c", COUNT], env=self.environment, capture_output=True, text=True, timeout=120
        )
        # Ray prints warnings of its own around our line.
        counts = re.findall(r"^alive (\d+)$", done.stdout, re.MULTILINE)
        return int(counts[-1]) if counts else 0

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**self.environment}
        environment.pop("RAY_ADDRESS", None)
        command = [RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory", "200000000", *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )


@contextmanager
def cluster(folder: Path, cpus: int) -> Iterator[Cluster]:
    """Starts a head and one worker node; ends all of them."""
    port, dashboard = free_port(), free_port()
    environment = {
        **os.environ,
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "platform"), str(REPOSITORY)]),
        "CIRRAY_HOME": str(folder / "home"),
    }
    started = Cluster(environment, port, dashboard)
    ports = ("--port", str(port), "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(free_port()))
    head = started._start("--head", "--num-cpus", "0", *ports)
    try:
        end = time.monotonic() + JOIN_S
        while not started.alive():
            assert head.poll() is None
            assert time.monotonic() < end
        started.add(cpus)
        yield started
    finally:
        for node in [*started.nodes, head]:
            if node.poll() is None:
                started.lose(node)
