"""The progress board: a small Ray actor on the driver's node.

Worker 0 posts its progress there without blocking, and the driver reads it. The board also writes the rows of
metrics.jsonl, because that file is on the driver's node.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cirray.storage.metrics_log import MetricsLog

POST_EVERY_S = 0.5


class _Board:
    """Stores the latest state that worker 0 posted, and writes the metrics log of its stage."""

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
    """Starts a board on the driver's node, which writes `log`; it ends with the driver."""
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=this_node)(_Board).remote(log)


class BoardLog:
    """The board's `MetricsLog`, for a worker on any node. On return, a row is on disk, and uploaded to a URI."""

    def __init__(self, board: ray.actor.ActorHandle) -> None:
        self._board = board

    def append(self, row: dict[str, Any]) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.append.remote(row))

    def rewind(self, epoch: int) -> None:
        """See `MetricsLog`."""
        ray.get(self._board.rewind.remote(epoch))


class Poster:
    """Posts worker 0's progress to the board, at most twice a second."""

    def __init__(self, board: ray.actor.ActorHandle | None) -> None:
        self.board = board
        self.last = 0.0

    def due(self) -> bool:
        """Whether it is time to post again. Check first: reading the loss from a GPU synchronizes."""
        return self.board is not None and time.monotonic() - self.last >= POST_EVERY_S

    def post(self, state: dict[str, Any]) -> None:
        """Sends `state` to the board."""
        if self.board is not None:
            self.last = time.monotonic()
            self.board.post.remote(state)


def read_board(board: ray.actor.ActorHandle) -> dict[str, Any]:
    """Returns the latest posted state; {} if there is none."""
    state: dict[str, Any] = ray.get(board.read.remote())
    return state
