"""A bundle in memory, and the stamp that shows whether another one was deployed at its location."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cirray.errors import LocationError
from cirray.models.bundle_manifest import COMBINING, MANIFEST, RERANKER
from cirray.storage.location import Location
from serve.encoder_types import ModelInfo, model_name

if TYPE_CHECKING:
    from cirray.models.bundle import Model


class Loaded:
    """A bundle in memory."""

    def __init__(self, location: Location, device: str) -> None:
        from cirray.models.bundle import load  # imports torch and open_clip, which takes seconds

        self.stamp = stamp(location)
        self.model: Model = load(location.fetch(MANIFEST).resolve(), device)
        manifest = self.model.manifest
        weights = [self.model.path / name for name in (COMBINING, RERANKER)]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in weights if file.exists()]
        self.info = ModelInfo(
            name=model_name(manifest, "".join(digests)),
            image_fingerprint=manifest["image_fingerprint"],
            dim=manifest["dim"],
            size=self.model.encoder.image_input.size,
            preprocess=self.model.encoder.preprocess,
            backbone=str(manifest.get("backbone", "")),
            combining=manifest["combining"]["function"],
            has_text_weight=self.model.combining.has_text_weight,
            metrics={name: float(value) for name, value in manifest.get("metrics", {}).items()},
            has_reranker=self.model.reranker is not None,
        )


def stamp(location: Location) -> str:
    """Returns a text that changes when another bundle is put at this location.

    Raises:
        OSError, LocationError: there is no complete bundle at the moment.
    """
    found = location.stamp(MANIFEST)
    if not found:
        raise LocationError(f"{location} has no complete bundle at the moment")
    return found
