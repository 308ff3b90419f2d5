"""Small CLIP encoders, built offline from open_clip definitions with random weights."""

from __future__ import annotations

import json
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.models.build import build_encoder
from cirray.models.clip import Encoder

# A model this small does not use a second thread, which only costs synchronization.
torch.set_num_threads(1)

TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
# The same with a convolutional image tower, which has batch norm with statistics and a scalar counter.
TINY_RESNET: dict[str, Any] = {
    **TINY,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
}


def write_definition(folder: Path, definition: dict[str, Any], name: str = "tiny.json") -> str:
    """Writes an open_clip definition; returns its path, a value of `backbone.model`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(definition), encoding="utf-8")
    return str(folder / name)


def make_encoder(
    definition: dict[str, Any] | None = None, seed: int = 0, preprocess: Preprocess | None = None
) -> Encoder:
    """Builds a new encoder with random weights; a test may modify it."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_definition(Path(folder), deepcopy(definition or TINY))
        return build_encoder(Backbone(model=model), preprocess or Preprocess(), seed)


@cache
def _built(resnet: bool) -> Encoder:
    return make_encoder(TINY_RESNET if resnet else TINY)


def tiny_encoder() -> Encoder:
    """Returns a copy of the tiny encoder, always with the same weights; a test may modify it."""
    return deepcopy(_built(resnet=False))


def tiny_resnet() -> Encoder:
    """Returns a copy of the tiny convolutional encoder, always with the same weights; a test may modify it."""
    return deepcopy(_built(resnet=True))


def noise_pixels(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Returns random pixels, uint8 [count, 3, size, size]."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=random)
