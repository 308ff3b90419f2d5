"""The reranker of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from cirray.config.reranking import RerankerSettings
from cirray.errors import BundleError
from cirray.models.bundle_manifest import MANIFEST, RERANKER, RERANKER_SETTINGS
from cirray.models.reranking import Reranker, build_reranker


@dataclass(frozen=True, slots=True)
class TrainedReranker:
    """A trained reranker, and the settings that it was built with."""

    reranker: Reranker
    settings: RerankerSettings


def load_reranker(folder: Path, manifest: dict[str, Any]) -> Reranker | None:
    """Rebuilds a bundle's reranker; None if the bundle has none.

    Raises:
        BundleError: its weights are missing or do not match the manifest.
    """
    if RERANKER_SETTINGS not in manifest:
        return None
    settings = RerankerSettings.model_validate(manifest[RERANKER_SETTINGS])
    reranker = build_reranker(manifest["dim"], settings)
    file = folder / RERANKER
    if not file.is_file():
        raise BundleError(f"{file} is missing, but {MANIFEST} names a reranker: copy the bundle again")
    try:
        reranker.load_state_dict(load_file(file))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{file} does not match {MANIFEST}: {error}") from None
    return reranker.eval()


def required_reranker(folder: Path, manifest: dict[str, Any]) -> Reranker:
    """Returns a bundle's reranker.

    Raises:
        BundleError: the bundle has none, or as `load_reranker`.
    """
    reranker = load_reranker(folder, manifest)
    if reranker is None:
        raise BundleError(f"{folder} has no reranker: train one with --stage3.enabled true, or set rerank.top 0")
    return reranker
