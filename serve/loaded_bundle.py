"""A bundle in memory, and the stamp that shows whether another one replaced it on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from cirray.errors import LocationError
from cirray.models.bundle_manifest import COMBINING, MANIFEST
from cirray.storage.location import Remote, fetch, is_remote
from serve.encoder_types import ModelInfo, model_name

if TYPE_CHECKING:
    from cirray.models.bundle import Model

Stamp = tuple[str | int, ...]


class Loaded:
    """A bundle in memory."""

    def __init__(self, place: str, device: str) -> None:
        from cirray.models.bundle import load  # imports torch and open_clip, which takes seconds

        self.stamp = stamp(place)
        self.model: Model = load(fetch(place, MANIFEST).resolve(), device)
        manifest = self.model.manifest
        weights = self.model.path / COMBINING
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
        self.info = ModelInfo(
            name=model_name(manifest, digest),
            image_fingerprint=manifest["image_fingerprint"],
            dim=manifest["dim"],
            size=self.model.encoder.image_input.size,
            preprocess=self.model.encoder.preprocess,
            backbone=str(manifest.get("backbone", "")),
            combining=manifest["combining"]["function"],
            has_text_weight=self.model.combining.has_text_weight,
            metrics={name: float(value) for name, value in manifest.get("metrics", {}).items()},
        )


def stamp(place: str) -> Stamp:
    """Returns a value that changes when another bundle replaces this one: resolved path and manifest's age.

    Raises:
        OSError, LocationError: there is no complete bundle at the moment.
    """
    if is_remote(place):
        found = Remote(place).stamp(MANIFEST)
        if not found:
            raise LocationError(f"{place} has no complete bundle at the moment")
        return (found,)
    resolved = Path(place).expanduser().resolve(strict=True)
    status = (resolved / MANIFEST).stat()
    return str(resolved), status.st_mtime_ns, status.st_ino
