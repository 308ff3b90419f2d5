"""How long a search may take, counted over all tries of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray.tune import Stopper

from cirray.files import read_json, write_json

_KEEP_EVERY_S = 2.0


class Budget(Stopper):
    """Stops all trials when the time is over; a search that is taken up again has only what is left.

    Args:
        seconds: None = no end.
        file: where the time spent is kept.
    """

    def __init__(self, seconds: float | None, file: Path) -> None:
        self.seconds = seconds
        self._file = file
        self._before = float(read_json(file)["seconds"]) if file.is_file() else 0.0
        self._began = time.monotonic()
        self._kept = 0.0

    def __reduce__(self) -> tuple[type[Budget], tuple[float | None, Path]]:
        """A restored search looks again at what was spent."""
        return Budget, (self.seconds, self._file)

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
            write_json(self._file, {"seconds": self.spent})
        return self.seconds is not None and self.spent >= self.seconds
