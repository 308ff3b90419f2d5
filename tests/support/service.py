"""Runs the search service in its own process, and puts load on it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 300


@dataclass(frozen=True)
class Running:
    """A running service."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Returns the processes of a deployment's replicas."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if f"ServeReplica:cirray:{deployment}" in "".join(_command(child))]

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Sends a GET."""
        return httpx.get(self.address + path, timeout=30, **options)

    def search(self, body: Mapping[str, Any]) -> httpx.Response:
        """Sends a search."""
        return httpx.post(f"{self.address}/v1/search", json=body, timeout=30)


@contextmanager
def running(bundle: Path, index: Path, folder: Path, **settings: Any) -> Iterator[Running]:
    """Starts `python -m serve` and stops it as Ctrl-C does."""
    port = free_port()
    values = {"bundle": bundle, "index": index, "port": port, "threads": 1, "feedback": folder / "feedback", **settings}
    arguments = [part for name, value in values.items() for part in (f"--serve.{name}", str(value))]
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "QDRANT_URL")}
    log = folder / "service.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", *arguments], cwd=REPOSITORY, env=environment, stdout=sink, stderr=sink
        )
    try:
        _wait(process, log)
        yield Running(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(180)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@dataclass
class Load:
    """The answers to requests under load.

    Attributes:
        failed_at: monotonic time of each error.
        seconds: latency of each answered request.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    generations: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    failed_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def failed(self, why: str) -> None:
        """Counts an error."""
        self.errors.append(why)
        self.failed_at.append(time.monotonic())


async def keep_in_flight(
    address: str, bodies: Sequence[Mapping[str, Any]], in_flight: int, until: Callable[[], bool], load: Load
) -> None:
    """Keeps `in_flight` searches in flight until `until()` is true, and records their answers in `load`."""
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:

        async def one(number: int) -> None:
            while not until():
                began = time.perf_counter()
                try:
                    answer = await client.post("/v1/search", json=bodies[number % len(bodies)])
                except httpx.HTTPError as error:
                    load.failed(f"{type(error).__name__} {error}")
                    continue
                load.seconds.append(time.perf_counter() - began)
                load.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    load.generations[answer.json()["generation"]] += 1
                    load.models[answer.json()["model"]] += 1
                else:
                    load.failed(f"{answer.status_code} {answer.text[:300]}")
                number += in_flight

        await asyncio.gather(*(one(number) for number in range(in_flight)))


@contextmanager
def load_on(address: str, bodies: Sequence[Mapping[str, Any]], in_flight: int = 32) -> Iterator[Load]:
    """Keeps `in_flight` searches in flight while the block runs."""
    load, stop = Load(), threading.Event()
    work = keep_in_flight(address, bodies, in_flight, stop.is_set, load)
    thread = threading.Thread(target=lambda: asyncio.run(work))
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join(90)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until a condition is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.2)


def free_port() -> int:
    """Returns a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while b"Ctrl-C" not in log.read_bytes():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
