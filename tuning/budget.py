"""The time budget of a search, counted over all tries of it."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Stopper

from cirray.storage.files import read_json, write_json
from cirray.storage.location import Location

_KEEP_EVERY_S = 2.0
_FILE = "trials/spent.json"


class Budget(Stopper):
    """Stops all trials when the time is over; a resumed search has only what is left.

    Args:
        seconds: None = no end.
        output: where the time spent is kept.
    """

    def __init__(self, seconds: float | None, output: Location) -> None:
        self.seconds = seconds
        self._output = output
        self._file = output / _FILE
        self._before = float(read_json(self._file.local)["seconds"]) if self._file.local.is_file() else 0.0
        self._began = time.monotonic()
        self._kept = 0.0

    def __reduce__(self) -> tuple[type[Budget], tuple[float | None, Location]]:
        """A restored search looks again at what was spent."""
        return Budget, (self.seconds, self._output)

    @property
    def spent(self) -> float:
        """Seconds of all tries."""
        return self._before + time.monotonic() - self._began

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are the scheduler's business."""
        return False

    def stop_all(self) -> bool:
        """Whether the time is over."""
        if time.monotonic() - self._kept > _KEEP_EVERY_S:
            self._kept = time.monotonic()
            write_json(self._file.local, {"seconds": self.spent})
            self._file.push()
        return self.seconds is not None and self.spent >= self.seconds
