"""Live progress of trials: their number, the best result so far, and the remaining time."""

from __future__ import annotations

import sys
import time
from typing import Any

from ray import tune

from cirray.console.log import log
from tuning.budget import Budget
from tuning.trial_task import METRIC

TERMINAL_EVERY_S = 1.0
LOG_EVERY_S = 15.0


class Watch(tune.Callback):
    """Prints one progress line, redrawn on a terminal, else every LOG_EVERY_S seconds.

    Ray Tune restores this callback in a resumed search; `setup` resets the state of the run.

    Args:
        label: name of the experiment.
        total: total number of trials; 0 if the budget is the only limit.
        budget: the time budget; None if the number of trials is the only limit.
    """

    def __init__(self, label: str, total: int, budget: Budget | None) -> None:
        self._label = label
        self._total = total
        self._budget = budget
        self.setup()

    def setup(self, *args: Any, **info: Any) -> None:
        """Resets the state at the start of each run."""
        self._began = self._shown = time.monotonic()
        self._running: set[str] = set()
        self._before: int | None = None
        self._ended = 0
        self._best: tuple[float, str] | None = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Counts the trials that finished in previous runs."""
        if self._before is None:
            self._before = sum(trial.is_finished() for trial in trials)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Counts the trial as running."""
        self._running.add(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Updates the best result."""
        if self._best is None or result[METRIC] > self._best[0]:
            self._best = result[METRIC], trial.trial_id
        self._draw()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Counts the trial as ended."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Counts the trial as ended and logs the error."""
        self._end(trial)
        log(f"\ntrial {trial.trial_id} failed: see error.txt in its folder")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Prints the final line."""
        self._draw(last=True)

    def line(self) -> str:
        """Returns the progress line: `search  37 trials (2 running)  best 91.30 (b3f2)  4:10 of 10:00`."""
        elapsed = time.monotonic() - self._began
        ended = (self._before or 0) + self._ended
        done = f"{ended} of {self._total}" if self._total else f"{ended}"
        best = f"best {self._best[0]:.2f} ({self._best[1]})" if self._best else "no result yet"
        parts = [self._label, f"{done} trials ({len(self._running)} running)", best]
        if self._budget is not None and self._budget.seconds is not None:
            parts.append(f"{clock(self._budget.spent)} of {clock(self._budget.seconds)}")
            return "  ".join(parts)
        parts.append(clock(elapsed))
        if self._total and self._ended:
            parts.append(f"ETA {clock(elapsed / self._ended * (self._total - ended))}")
        return "  ".join(parts)

    def _end(self, trial: Any) -> None:
        self._running.discard(trial.trial_id)
        self._ended += 1
        self._draw()

    def _draw(self, last: bool = False) -> None:
        terminal = sys.stderr.isatty()
        if not last and time.monotonic() - self._shown < (TERMINAL_EVERY_S if terminal else LOG_EVERY_S):
            return
        self._shown = time.monotonic()
        end = "\n" if last or not terminal else ""
        print(f"\r{self.line()}" if terminal else self.line(), end=end, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Formats a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
