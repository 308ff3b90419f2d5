"""What a bundle folder consists of, for those who need its manifest but no model (and no import of torch).

bundle/
├── encoder/                 CLIP after training (open_clip's local-dir format)
├── combining.safetensors    the combining function; absent for Sum
└── model.json               the manifest, written last: it exists means the bundle is complete
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cirray.errors import BundleError
from cirray.storage.files import read_json

MANIFEST = "model.json"
COMBINING = "combining.safetensors"
FORMAT = 1


def read_bundle(folder: Path) -> dict[str, Any]:
    """Returns a bundle's manifest without building the model.

    Raises:
        BundleError: the folder is no complete bundle of a format this version reads.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(
            f"{folder} is no complete model bundle ({MANIFEST} is missing): give the bundle folder of a finished "
            f"training, OUTPUT/bundle"
        )
    try:
        manifest: dict[str, Any] = dict(read_json(folder / MANIFEST))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} is damaged ({error}): copy the bundle again") from None
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{folder / MANIFEST}: format {manifest.get('format')} is not {FORMAT}, which this version reads"
        )
    return manifest
