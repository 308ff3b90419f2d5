"""metrics.jsonl: one row per stage and validated epoch. It stays consistent if the process is killed at any time."""

from __future__ import annotations

import json
from typing import Any, Protocol

from cirray.storage.files import write_text
from cirray.storage.location import Location


class Log(Protocol):
    """A sink for the rows of one stage."""

    def rewind(self, epoch: int) -> None:
        """Removes the rows after `epoch`."""
        ...

    def append(self, row: dict[str, Any]) -> None:
        """Appends a row."""
        ...


class MetricsLog:
    """The rows of one stage, in a file shared by all stages.

    Args:
        file: the file. At a URI, it is written in the mirror of the machine that created this object, and uploaded.
        stage: label of the stage in its rows.
    """

    def __init__(self, file: Location, stage: str) -> None:
        self.file = file
        self.path = file.local  # pickled, so that every process on that machine uses the same mirror
        self.stage = stage

    def rewind(self, epoch: int) -> None:
        """Removes this stage's rows after `epoch`, which belong to a lost checkpoint."""
        kept = [row for row in self.rows() if row["stage"] != self.stage or row["epoch"] <= epoch]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Appends a row of this stage."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, **row}) + "\n")
        self.file.push()

    def rows(self) -> list[dict[str, Any]]:
        """Returns all complete rows, of every stage; a partial last line, left by a kill, is ignored."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]
