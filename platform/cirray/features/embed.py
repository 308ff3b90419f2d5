"""Callables that embed pictures and captions, in a Ray actor or in the driver."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from cirray.config.data import Preprocess
from cirray.data.images import file_pixels, reading_threads
from cirray.models.encoder_manifest import MANIFEST
from cirray.storage.location import Location

_DECODERS = 2


class Embed(Protocol):
    """Maps a batch of N payloads (paths or URIs of pictures, or captions) to rows [N, ...]."""

    def __call__(self, payloads: Sequence[str]) -> np.ndarray: ...


class DecodePixels:
    """Decodes N picture files (paths or URIs) to pixels, uint8 [N, 3, S, S]. Does not import torch."""

    def __init__(self, size: int, preprocess: Preprocess) -> None:
        self.size = size
        self.preprocess = preprocess

    def __call__(self, payloads: Sequence[str]) -> np.ndarray:
        # Pillow releases the GIL while it decodes.
        with ThreadPoolExecutor(reading_threads(payloads, _DECODERS)) as pool:
            return np.stack(list(pool.map(self._one, payloads)))

    def _one(self, picture: str) -> np.ndarray:
        return file_pixels(picture, self.size, self.preprocess)


class EmbedImages:
    """Embeds N picture files (paths or URIs) as raw image features, float32 [N, d]."""

    def __init__(self, encoder: Location, device: str) -> None:
        from cirray.models.clip import load_encoder  # imports open_clip, which takes seconds

        self.device = device
        self.encoder = load_encoder(encoder.fetch(MANIFEST), device)
        self.decode = DecodePixels(self.encoder.image_input.size, self.encoder.preprocess)

    def __call__(self, payloads: Sequence[str]) -> np.ndarray:
        import torch

        batch = torch.from_numpy(self.decode(payloads)).to(self.device)
        with torch.inference_mode():
            return self.encoder.encode_image(batch).float().cpu().numpy()


class EmbedTexts:
    """Embeds N captions as raw text features, float32 [N, d]."""

    def __init__(self, encoder: Location, device: str) -> None:
        from cirray.models.clip import load_encoder

        self.device = device
        self.encoder = load_encoder(encoder.fetch(MANIFEST), device)

    def __call__(self, payloads: Sequence[str]) -> np.ndarray:
        import torch

        tokens = self.encoder.tokenize(payloads).to(self.device)
        with torch.inference_mode():
            return self.encoder.encode_text(tokens).float().cpu().numpy()


def text_key(caption: str) -> str:
    """Returns the content key of a caption: SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(caption.encode()).hexdigest()


def pixels_fingerprint(size: int, preprocess: Preprocess) -> str:
    """Returns the fingerprint of preprocessed pixels: a hash of everything but the picture that determines them."""
    settings = {"size": size, **preprocess.identity()}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
