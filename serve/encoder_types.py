"""What passes between the ingress, which holds no model, and the encoder replicas, which hold nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cirray.config.data import Preprocess


@dataclass(frozen=True, slots=True)
class QueryInput:
    """A query to encode: at least an image part or a text.

    Attributes:
        feature: raw image feature [d] of a catalog item, or
        pixels: uint8 [3, S, S] of a picture.
        text: the relative caption.
        text_weight: in place of the one that the combining function chooses.
    """

    feature: np.ndarray | None = None
    pixels: np.ndarray | None = None
    text: str | None = None
    text_weight: float | None = None


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query feature, float32 [d] of unit length, and the text's share in it where there is one.

    Attributes:
        model: the bundle that made it.
        image_fingerprint: its image side, which must be that of the searched generation.
    """

    query: np.ndarray
    text_weight: float | None
    model: str
    image_fingerprint: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the ingress must know of the model that the encoders hold.

    Attributes:
        name: short fingerprint of all its parts.
        size: S, the side of its input in pixels.
        has_text_weight: whether its combining function has a text weight that can be set.
        refused: why a newer bundle was not taken over, "" if there is none.
    """

    name: str
    image_fingerprint: str
    dim: int
    size: int
    preprocess: Preprocess
    backbone: str
    combining: str
    has_text_weight: bool
    metrics: dict[str, float]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much work an encoder replica has done: forward passes and rows of each tower."""

    image_batches: int
    images: int
    text_batches: int
    texts: int


class QueryEncoder(Protocol):
    """Encodes queries. Awaiting it never blocks the event loop."""

    async def info(self) -> ModelInfo:
        """Returns which model answers."""
        ...

    async def compose(self, ask: QueryInput) -> EncodedQuery:
        """Returns the query feature.

        Raises:
            BusyError: too many queries wait.
        """
        ...

    async def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, str]:
        """Returns the raw image feature [d] of a picture, uint8 [3, S, S], and the image side that made it."""
        ...


def model_name(manifest: dict[str, Any], weights: str) -> str:
    """Returns a bundle's short fingerprint: its two towers, and what the combining function's file says."""
    parts = [manifest["image_fingerprint"], manifest["text_fingerprint"], weights]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
