"""What the terminal shows while a stage trains: one line with loss, recall, throughput and ETA.

Workers post to a board (a small Ray actor); the driver reads it and draws. Posting never waits.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cirray.metrics import MetricsLog
from cirray.places import Remote

REFRESH_S = 0.5
LOG_EVERY_S = 15.0


class _Board:
    """Holds the latest state that worker 0 posted."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def post(self, state: dict[str, Any]) -> None:
        self.state = state

    def read(self) -> dict[str, Any]:
        return self.state

    def append(self, path: str, place: str, stage: str, row: dict[str, Any]) -> None:
        MetricsLog(Path(path), stage).append(row)
        if place:
            Remote(place).put(Path(path), Path(path).name)

    def rewind(self, path: str, place: str, stage: str, epoch: int) -> None:
        MetricsLog(Path(path), stage).rewind(epoch)


def new_board() -> ray.actor.ActorHandle:
    """Starts a board on the driver's own node, whose files it writes; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()


class BoardLog:
    """A `MetricsLog` in a file of the driver's node, written from a worker of any node. A row is kept on return.

    Args:
        path: the file.
        place: URI that the file is kept at too, "" if it is no mirror's.
    """

    def __init__(self, board: ray.actor.ActorHandle, path: str, place: str, stage: str) -> None:
        self._board = board
        self._where = (path, place, stage)

    def append(self, row: dict[str, Any]) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.append.remote(*self._where, row))

    def rewind(self, epoch: int) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.rewind.remote(*self._where, epoch))


class Poster:
    """Worker 0's end of the board: posts at most twice a second."""

    def __init__(self, board: ray.actor.ActorHandle | None) -> None:
        self.board = board
        self.last = 0.0

    def due(self) -> bool:
        """Whether it is time to post again; reading a loss from a GPU costs a wait, so ask first."""
        return self.board is not None and time.monotonic() - self.last >= REFRESH_S

    def post(self, state: dict[str, Any]) -> None:
        """Sends `state` to the board."""
        if self.board is not None:
            self.last = time.monotonic()
            self.board.post.remote(state)


def line(state: dict[str, Any], label: str) -> str:
    """Formats one state for people: `stage 1  epoch 3/10  loss 1.234  R 55.1  820 triplets/s  ETA 0:42`."""
    done, total = state["step"], max(1, state["steps"])
    parts = [
        label,
        f"{100 * done // total:3d} %",
        f"epoch {state['epoch']}/{state['epochs']}",
        f"loss {state['loss']:.3f}",
    ]
    if state.get("best") is not None:
        parts.append(f"best {state['best']:.2f}")
    parts.append(f"{state['rate']:,.0f} {state['unit']}/s")
    parts.append(f"ETA {_minutes(state['eta_s'])}")
    return "  ".join(parts)


def _minutes(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


@contextmanager
def shown(board: ray.actor.ActorHandle, label: str, out: TextIO = sys.stderr) -> Iterator[None]:
    """Draws the board's state while the block runs: in place on a terminal, now and then a line in a log."""
    stop = threading.Event()
    thread = threading.Thread(target=_draw, args=(board, label, out, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _draw(board: ray.actor.ActorHandle, label: str, out: TextIO, stop: threading.Event) -> None:
    terminal = out.isatty()
    width, last = 0, time.monotonic()
    while not stop.wait(REFRESH_S):
        state = ray.get(board.read.remote())
        if not state:
            continue
        text = line(state, label)
        if terminal:
            out.write("\r" + text.ljust(width))
            width = len(text)
        elif time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            out.write(text + "\n")
        out.flush()
    if terminal and width:
        out.write("\r" + " " * width + "\r")
        out.flush()
