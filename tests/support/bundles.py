"""Bundles of a small CLIP with random weights, for tests that search without training."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from cirray.config.reranking import RerankerSettings
from cirray.config.training import CombiningSettings
from cirray.models import bundle
from cirray.models.bundle_reranker import TrainedReranker
from cirray.models.clip import Encoder
from cirray.models.combining import build_combining
from cirray.models.reranking import build_reranker
from cirray.storage.location import Location
from tests.support.encoder_fixtures import tiny_encoder

SMALL = CombiningSettings(projection=24, hidden=40)


def fine_tuned(encoder: Encoder, seed: int = 5) -> Encoder:
    """Returns an encoder with another text tower, as after a stage 1 that left the token embedding as it was."""
    trained, random = deepcopy(encoder), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trained.tower_parameters("text"):
            if name != "token_embedding.weight":
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return trained


def write_bundle(
    folder: Path,
    seed: int = 0,
    settings: CombiningSettings = SMALL,
    encoder: Encoder | None = None,
    pretrained: Encoder | None = None,
    reranker: str | None = None,
) -> Path:
    """Writes a bundle with a combining function initialised from `seed`; the default encoder is `tiny_encoder()`.

    Args:
        pretrained: the encoder that stage 1 started from; without it the bundle has one text tower.
        reranker: a reranker that changes the order, with random weights.
    """
    encoder = encoder or tiny_encoder()
    torch.manual_seed(seed)
    details = {"recipe": "test", "fine_tuned": True, "backbone": "tiny", "metrics": {"R@1": 1.0}}
    combining = build_combining(encoder.dim, settings)
    second = random_reranker(encoder.dim, reranker) if reranker else None
    bundle.write(Location.parse(folder), encoder, combining, settings, details, pretrained, second)
    return folder


def random_reranker(dim: int, function: str, seed: int = 0) -> TrainedReranker:
    """Returns a reranker with random weights, also where training starts at 0."""
    settings, random = RerankerSettings(function=function, hidden=16), torch.Generator().manual_seed(seed)
    reranker = build_reranker(dim, settings)
    with torch.no_grad():
        for parameter in reranker.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return TrainedReranker(reranker, settings)
