"""The time budget of a search, summed over resumed runs."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Stopper

from cirray.storage.files import read_json, write_json
from cirray.storage.location import Location

_SAVE_EVERY_S = 2.0
_FILE = "trials/spent.json"


class Budget(Stopper):
    """Stops all trials when the budget is spent; a resumed search continues with the remaining time.

    Args:
        seconds: the budget; None for no limit.
        output: the output that stores the time spent.
    """

    def __init__(self, seconds: float | None, output: Location) -> None:
        self.seconds = seconds
        self._output = output
        self._file = output / _FILE
        self._before = float(read_json(self._file.local)["seconds"]) if self._file.local.is_file() else 0.0
        self._began = time.monotonic()
        self._saved = 0.0

    def __reduce__(self) -> tuple[type[Budget], tuple[float | None, Location]]:
        """Pickles without the counters: a restored search reads the time spent from the output."""
        return Budget, (self.seconds, self._output)

    @property
    def spent(self) -> float:
        """Seconds spent, including previous runs."""
        return self._before + time.monotonic() - self._began

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stops a single trial; the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Whether the budget is spent; also stores the time spent every _SAVE_EVERY_S seconds."""
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._saved = time.monotonic()
            write_json(self._file.local, {"seconds": self.spent})
            self._file.push()
        return self.seconds is not None and self.spent >= self.seconds
