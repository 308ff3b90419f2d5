"""What an encoder folder consists of, for those who need its fingerprints but no model (and no import of open_clip).

encoder/
├── open_clip_config.json        architecture and input size, in open_clip's local-dir format
├── open_clip_model.safetensors  weights
└── encoder.json                 preprocessing and fingerprints; written last: it exists means complete
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
    """Returns an encoder folder's preprocessing and fingerprints without building the model.

    Raises:
        BundleError: the folder holds no complete encoder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} holds no complete encoder ({MANIFEST} is missing): write it again")
    manifest: dict[str, Any] = read_json(path)
    return manifest
