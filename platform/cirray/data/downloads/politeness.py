"""At most so many requests a second to each host, and none while it asks for a pause."""

from __future__ import annotations

import threading
import time


class HostRate:
    """Spaces requests to the same host. Thread-safe."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._paused: dict[str, float] = {}

    def wait(self, host: str) -> None:
        """Waits until the next request to a host may start."""
        while True:
            with self._lock:
                now = time.monotonic()
                start = max(now, self._next.get(host, now))
                self._next[host] = start + self._interval
            time.sleep(max(0.0, start - now))
            with self._lock:
                # A pause may have begun during the wait: then this turn is void, and the next one is after the pause.
                if start >= self._paused.get(host, start):
                    return

    def pause(self, host: str, seconds: float) -> None:
        """Lets no request to a host start for some time: it said that it is too busy."""
        with self._lock:
            until = time.monotonic() + seconds
            self._paused[host] = max(self._paused.get(host, until), until)
            self._next[host] = max(self._next.get(host, until), until)
