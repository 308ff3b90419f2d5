"""Simulated machines: network namespaces on a bridge, each with its own address, ports and Ray folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RAY_FOLDER = Path("/tmp/ray")
WITH_OWN_FOLDER = 'mount --bind "$0" "$1" && shift && exec "$@"'


@dataclass(eq=False)
class Machine:
    """One network namespace and the processes in it.

    Attributes:
        folder: mounted as /tmp/ray in its processes.
    """

    name: str
    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Starts a process on this machine."""
        inside = ["sh", "-c", WITH_OWN_FOLDER, str(self.folder), str(RAY_FOLDER), *command]
        with log.open("ab") as sink:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *inside],  # also creates a mount namespace
                env=environment,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """Kills all its processes with SIGKILL."""
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        for process in self.processes:
            process.wait()

    def clear(self) -> None:
        """Empties its folder, as in a new pod."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def unplug(self) -> None:
        """Disconnects it from the network; its peers get no closed connections."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def _pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]


@dataclass
class Network:
    """A bridge, and the machines on it. The host is on it too."""

    name: str
    subnet: str
    folder: Path
    machines: list[Machine] = field(default_factory=list)

    def add(self) -> Machine:
        """Creates a machine."""
        number = len(self.machines) + 2
        machine = Machine(f"{self.name}m{number}", f"{self.subnet}.{number}", self.folder / f"machine{number}")
        machine.folder.mkdir()
        _ip("netns", "add", machine.name)
        self.machines.append(machine)
        _ip("link", "add", machine.name, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
        _ip("link", "set", machine.name, "master", self.name, "up")
        _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
        _ip("-n", machine.name, "link", "set", "eth0", "up")
        _ip("-n", machine.name, "link", "set", "lo", "up")
        return machine


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Yields a network without machines; at the end, deletes its machines and kills their processes."""
    if os.geteuid() != 0 or subprocess.run(["ip", "netns", "list"], capture_output=True).returncode != 0:
        pytest.skip("needs root and iproute2's ip, to create network namespaces")
    RAY_FOLDER.mkdir(exist_ok=True)
    made = Network(f"ci{secrets.token_hex(3)}", _free_subnet(), folder)
    _ip("link", "add", made.name, "type", "bridge")
    try:
        _ip("addr", "add", f"{made.subnet}.1/24", "dev", made.name)
        _ip("link", "set", made.name, "up")
        yield made
    finally:
        for machine in made.machines:
            machine.kill()
            _ip("netns", "delete", machine.name)
        _ip("link", "delete", made.name)


def _free_subnet() -> str:
    taken = _ip("-brief", "address")
    free = [f"10.231.{number}" for number in range(1, 255) if f"10.231.{number}." not in taken]
    return secrets.choice(free)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
