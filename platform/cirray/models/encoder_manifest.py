"""Layout and manifest of an encoder folder, importable without open_clip.

encoder/
├── open_clip_config.json        architecture and input size, in open_clip's local-dir format
├── open_clip_model.safetensors  weights
└── encoder.json                 preprocessing and fingerprints; written last: marks the folder as complete
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cirray.errors import BundleError
from cirray.storage.files import read_json

WEIGHTS = "open_clip_model.safetensors"
DEFINITION = "open_clip_config.json"
MANIFEST = "encoder.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads an encoder folder's preprocessing and fingerprints, without the model.

    Raises:
        BundleError: the folder is incomplete.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a complete encoder folder ({MANIFEST} is missing): write it again")
    manifest: dict[str, Any] = read_json(path)
    return manifest
