"""Atomic file writes, and cirray's default folders."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; if the block succeeds, that file is renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # without it, a power loss may leave an empty file under the final name
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def cache_folder(setting: str, name: str) -> Path:
    """Returns the absolute path of `setting`; if it is empty, of $CIRRAY_HOME/name or else ~/.cache/cirray/name."""
    if setting:
        return Path(setting).expanduser().resolve()
    home = os.environ.get("CIRRAY_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "cirray").expanduser().resolve() / name
