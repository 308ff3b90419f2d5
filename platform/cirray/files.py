"""Writing files so that they are there in full or not at all, and the folders that are everybody's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Writes to a temporary name beside `path`, then renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())  # else a power loss may leave an empty file under the final name
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON, in full or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def home_folder(setting: str, name: str) -> Path:
    """Returns a folder of cirray's own: the setting, or $CIRRAY_HOME/name, or ~/.cache/cirray/name."""
    if setting:
        return Path(setting).expanduser().resolve()
    home = os.environ.get("CIRRAY_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "cirray").expanduser().resolve() / name
