"""Layout and manifest of a bundle folder, importable without torch.

bundle/
├── encoder/                     CLIP after training (open_clip's local-dir format)
├── pretrained_text.safetensors  text tower before stage 1: the tensors that differ from encoder/; absent if none does
├── combining.safetensors        the combining function; absent for Sum
├── reranker.safetensors         the reranker; absent without stage 3
└── model.json                   the manifest, written last: marks the bundle as complete
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cirray.errors import BundleError
from cirray.storage.files import read_json

MANIFEST = "model.json"
COMBINING = "combining.safetensors"
PRETRAINED_TEXT = "pretrained_text.safetensors"
RERANKER = "reranker.safetensors"
# The manifest's key of the fingerprint of that text tower; absent if the bundle has one text tower.
PRETRAINED_TEXT_FINGERPRINT = "pretrained_text_fingerprint"
# The manifest's key of the settings of the reranker; absent if the bundle has none.
RERANKER_SETTINGS = "reranker"
FORMAT = 1


def read_bundle(folder: Path) -> dict[str, Any]:
    """Reads a bundle's manifest, without the model.

    Raises:
        BundleError: the bundle is incomplete or damaged, or of a format that this version cannot read.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(
            f"{folder} is not a complete model bundle ({MANIFEST} is missing): give the bundle folder of a finished "
            f"training, OUTPUT/bundle"
        )
    try:
        manifest: dict[str, Any] = dict(read_json(folder / MANIFEST))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} is damaged ({error}): copy the bundle again") from None
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{folder / MANIFEST}: format {manifest.get('format')} is not supported; this version reads format {FORMAT}"
        )
    return manifest
