"""Composed image retrieval on Ray: search a picture catalog with a picture plus a sentence.

    import cirray
    model = cirray.load("build/demo/training/bundle")
    query = model.encode_query("dress.png", "the same in red, with long sleeves")

Importing cirray loads neither torch nor Ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cirray.models.bundle import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path, device: str = "cpu") -> Model:
    """Loads a trained model from its bundle.

    Args:
        path: the bundle, a folder or a URI.
        device: torch device of the model.

    Raises:
        BundleError: the bundle is incomplete, damaged or incompatible.
        LocationError: the URI cannot be reached, or has no bundle.
    """
    from cirray.models.bundle import load as load_bundle  # imports torch
    from cirray.models.bundle_manifest import MANIFEST
    from cirray.storage.location import Location

    return load_bundle(Location.parse(path).fetch(MANIFEST), device)
