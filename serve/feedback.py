"""Feedback, kept for training: one JSON line each, on disk before it is acknowledged."""

from __future__ import annotations

import json
import os
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cirray.api import Feedback
from cirray.bars import say
from serve.errors import FeedbackFullError


class FeedbackLog:
    """Appends to a file of this replica's own, so that no two processes write to one file.

    Args:
        folder: where the files are; made with the first feedback.
        max_bytes: what all files in the folder may grow to together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / f"feedback-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.jsonl"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def add(self, feedback: Feedback, model: str) -> str:
        """Writes one feedback and returns its id.

        Raises:
            FeedbackFullError: the folder or its disk is full; nothing of this feedback is kept then.
        """
        identifier = uuid.uuid4().hex
        record = {"id": identifier, "time": datetime.now(UTC).isoformat(), "model": model, **feedback.model_dump()}
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        with self._lock:
            self._append(line)
        return identifier

    def _append(self, line: bytes) -> None:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        used = sum(path.stat().st_size for path in folder.glob("feedback-*.jsonl"))
        with self._path.open("ab") as stream:
            before = stream.tell()
            try:
                if used + len(line) > self._max_bytes:
                    raise OSError("it holds as much as serve.feedback_max_mb allows")
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                stream.truncate(before)  # no half line, which would spoil the next one
                say(f"feedback is refused, {folder}: {error}; export it with jobs/feedback.py and move it away")
                raise FeedbackFullError("no feedback can be kept just now") from None
