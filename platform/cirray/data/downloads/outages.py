"""Hosts that fail for so long that they are given up."""

from __future__ import annotations

import threading
import time


class Outages:
    """Notes since when each host has failed all requests. Thread-safe."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def failed(self, host: str) -> None:
        """Notes a request that got no answer, or that the host was too busy for."""
        with self._lock:
            self._since.setdefault(host, time.monotonic())

    def answered(self, host: str) -> None:
        """Notes any other request."""
        with self._lock:
            self._since.pop(host, None)

    def is_given_up(self, host: str) -> bool:
        """Whether a host has failed all requests for `give_up_s` seconds."""
        with self._lock:
            return time.monotonic() - self._since.get(host, time.monotonic()) > self._give_up_s
