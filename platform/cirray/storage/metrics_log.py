"""metrics.jsonl: one row per validated epoch and stage, appended as they come, consistent after any kill."""

from __future__ import annotations

import json
from typing import Any, Protocol

from cirray.storage.files import write_text
from cirray.storage.location import Location


class Log(Protocol):
    """Takes the rows of one stage."""

    def rewind(self, epoch: int) -> None:
        """Drops rows after `epoch`."""
        ...

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row."""
        ...


class MetricsLog:
    """The rows of one stage in a file that all stages share.

    Args:
        file: the file. One at a URI is written in the mirror of the machine that made this object, and uploaded.
        stage: what its rows are labelled with.
    """

    def __init__(self, file: Location, stage: str) -> None:
        self.file = file
        self.path = file.local  # pickled with it: the same mirror in every process of that machine
        self.stage = stage

    def rewind(self, epoch: int) -> None:
        """Drops this stage's rows after `epoch`: the checkpoint of the run that wrote them was lost."""
        kept = [row for row in self.rows() if row["stage"] != self.stage or row["epoch"] <= epoch]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row of this stage."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, **row}) + "\n")
        self.file.push()

    def rows(self) -> list[dict[str, Any]]:
        """Returns all complete rows; a last line that a kill cut short is not one."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]
