"""Generated folders: written atomically, recognized by their manifest, never overwritten."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cirray.errors import DataError

MANIFEST = "manifest.json"


def write_folder(root: Path, manifest: Mapping[str, Any], kind: str, write: Callable[[Path], None]) -> None:
    """Writes a folder and its manifest atomically; does nothing if `root` has this manifest already.

    Args:
        root: folder to create; an empty folder may exist.
        manifest: everything that the content depends on.
        kind: what the folder holds, for messages, such as "demo catalog".
        write: writes the content into a folder next to `root`, which is renamed to `root` afterwards.

    Raises:
        DataError: `root` contains anything else.
    """
    if _is_complete(root, manifest, kind):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        write(draft)
        dump(draft / MANIFEST, manifest)
        draft.chmod(0o755)  # mkdtemp creates 0o700
        draft.replace(root)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _is_complete(root: Path, manifest: Mapping[str, Any], kind: str) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    found = read_manifest(root)
    if found == manifest:
        return True
    other = f"another {kind}" if found.get("generator") == manifest["generator"] else "something else"
    raise DataError(
        f"{root} contains {other} and is not overwritten: give a folder that does not exist, or remove this one and "
        f"run again. "
        f"Expected in {MANIFEST}: {json.dumps(manifest)}"
    )


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns a folder's manifest; {} if there is none."""
    path = root / MANIFEST
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def dump(path: Path, content: object) -> None:
    """Writes indented JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n")
