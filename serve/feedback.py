"""Feedback, kept for training: one JSON line each, on disk before it is acknowledged."""

from __future__ import annotations

import json
import os
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cirray.api import Feedback
from cirray.errors import CirrayError


class FeedbackFullError(CirrayError):
    """The folder for feedback holds as much as it may."""


class FeedbackLog:
    """Appends to a file of this replica's own, so that no two processes write to one file.

    Args:
        folder: where the files are; made with the first feedback.
        max_bytes: what this replica's file may grow to.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / f"feedback-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.jsonl"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def add(self, feedback: Feedback, model: str) -> str:
        """Writes one feedback and returns its id.

        Raises:
            FeedbackFullError: the file is full.
        """
        identifier = uuid.uuid4().hex
        record = {"id": identifier, "time": datetime.now(UTC).isoformat(), "model": model, **feedback.model_dump()}
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                if stream.tell() + len(line) > self._max_bytes:
                    raise FeedbackFullError(
                        f"{self._path} is full: export it with jobs/feedback.py and move it away, or raise "
                        f"serve.feedback_max_mb"
                    )
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        return identifier
