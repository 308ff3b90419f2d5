"""The progress board: a small Ray actor on the driver's node.

Worker 0 posts its progress there without waiting, and the driver reads it. Rows of metrics.jsonl are written through it
too, since that file is on the driver's node.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cirray.storage.metrics_log import MetricsLog

POST_EVERY_S = 0.5


class _Board:
    """Holds the latest state that worker 0 posted, and the log of its stage."""

    def __init__(self, log: MetricsLog) -> None:
        self.state: dict[str, Any] = {}
        self.log = log

    def post(self, state: dict[str, Any]) -> None:
        self.state = state

    def read(self) -> dict[str, Any]:
        return self.state

    def append(self, row: dict[str, Any]) -> None:
        self.log.append(row)

    def rewind(self, epoch: int) -> None:
        self.log.rewind(epoch)


def new_board(log: MetricsLog) -> ray.actor.ActorHandle:
    """Starts a board on the driver's own node, where it writes the log of a stage; it ends with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote(log)


class BoardLog:
    """The board's `MetricsLog`, written from a worker of any node. A row is on disk (and at its URI) on return."""

    def __init__(self, board: ray.actor.ActorHandle) -> None:
        self._board = board

    def append(self, row: dict[str, Any]) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.append.remote(row))

    def rewind(self, epoch: int) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.rewind.remote(epoch))


class Poster:
    """Worker 0's end of the board: posts at most twice a second."""

    def __init__(self, board: ray.actor.ActorHandle | None) -> None:
        self.board = board
        self.last = 0.0

    def due(self) -> bool:
        """Whether it is time to post again; reading a loss from a GPU costs a wait, so ask first."""
        return self.board is not None and time.monotonic() - self.last >= POST_EVERY_S

    def post(self, state: dict[str, Any]) -> None:
        """Sends `state` to the board."""
        if self.board is not None:
            self.last = time.monotonic()
            self.board.post.remote(state)


def read_board(board: ray.actor.ActorHandle) -> dict[str, Any]:
    """Returns the state that was posted last; {} if there is none."""
    state: dict[str, Any] = ray.get(board.read.remote())
    return state
