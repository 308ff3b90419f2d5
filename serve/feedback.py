"""Stores feedback for training: one JSON line each, on disk or in the object store before it is acknowledged."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cirray.client.schemas import Feedback
from cirray.console.log import log
from cirray.errors import LocationError
from cirray.storage.location import Location
from cirray.storage.remote import Remote
from serve.errors import FeedbackFullError

_COUNT_EVERY_S = 60.0
_FULL = "it has reached serve.feedback_max_mb"


class Log(Protocol):
    """A feedback store."""

    def add(self, feedback: Feedback, model: str) -> str:
        """Stores one feedback durably and returns its id.

        Raises:
            FeedbackFullError: it cannot be stored.
        """
        ...


def open_log(setting: str, max_bytes: int) -> Log:
    """Returns the store at a folder or URI; an empty setting means the default folder."""
    location = Location.configured(setting, "feedback")
    return RemoteFeedbackLog(location, max_bytes) if location.is_remote else FeedbackLog(location.local, max_bytes)


class FeedbackLog:
    """Appends to one file per replica, so that no two processes write to the same file.

    Args:
        folder: folder of the files; created with the first feedback.
        max_bytes: maximum size of all files in the folder together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / f"feedback-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.jsonl"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def add(self, feedback: Feedback, model: str) -> str:
        """See `Log`. The line is on disk on return. If the folder or the disk is full, no partial line remains."""
        identifier, line = _record(feedback, model)
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
                    raise OSError(_FULL)
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                stream.truncate(before)  # a partial line would corrupt the next one
                raise _refusal(str(folder), error) from None


class RemoteFeedbackLog:
    """Writes one object per feedback, because objects cannot be appended to.

    Args:
        location: the folder of the objects, at a URI.
        max_bytes: maximum size of all objects together; measured once a minute.
    """

    def __init__(self, location: Location, max_bytes: int) -> None:
        self._remote = Remote(str(location))
        self._max_bytes = max_bytes
        self._used = 0
        self._counted: float | None = None
        self._lock = threading.Lock()

    def add(self, feedback: Feedback, model: str) -> str:
        """See `Log`. The object is stored on return."""
        identifier, line = _record(feedback, model)
        name = f"feedback-{datetime.now(UTC):%Y%m%dT%H%M%S}-{identifier}.jsonl"
        try:
            self._take(len(line))
            self._remote.write(name, line)
        except (OSError, LocationError) as error:
            raise _refusal(self._remote.uri, error) from None
        return identifier

    def _take(self, size: int) -> None:
        with self._lock:
            if self._counted is None or time.monotonic() - self._counted > _COUNT_EVERY_S:
                self._used = sum(self._remote.names().values())
                self._counted = time.monotonic()
            if self._used + size > self._max_bytes:
                raise OSError(_FULL)
            self._used += size


def _record(feedback: Feedback, model: str) -> tuple[str, bytes]:
    identifier = uuid.uuid4().hex
    record = {"id": identifier, "time": datetime.now(UTC).isoformat(), "model": model, **feedback.model_dump()}
    return identifier, (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _refusal(location: str, error: Exception) -> FeedbackFullError:
    log(f"feedback refused at {location}: {error}; export it with jobs/feedback.py and move it to another folder")
    return FeedbackFullError("feedback cannot be stored at the moment")
