"""Bundles of a small CLIP with random weights, for tests that search without training."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from cirray.config.training import CombiningSettings
from cirray.models import bundle
from cirray.models.clip import Encoder, save_encoder
from cirray.models.combining import build_combining
from tests.support.encoder_fixtures import tiny_encoder

SMALL = CombiningSettings(projection=24, hidden=40)


def write_bundle(
    folder: Path, seed: int = 0, settings: CombiningSettings = SMALL, encoder: Encoder | None = None
) -> Path:
    """Writes a bundle with a combining function initialised from `seed`; the default encoder is `tiny_encoder()`."""
    encoder = encoder or tiny_encoder()
    torch.manual_seed(seed)
    source = folder.with_name(f"{folder.name}-source")
    save_encoder(encoder, source)
    details = {"recipe": "test", "fine_tuned": True, "backbone": "tiny", "metrics": {"R@1": 1.0}}
    bundle.save(folder, source, build_combining(encoder.dim, settings), settings, details)
    shutil.rmtree(source)
    return folder
