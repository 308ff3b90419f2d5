"""Messages between the ingress, which holds no model, and the encoder replicas, which hold nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cirray.config.data import Preprocess
from cirray.models.bundle_manifest import PRETRAINED_TEXT_FINGERPRINT


@dataclass(frozen=True, slots=True)
class QueryInput:
    """A query to encode: a reference image, a text, or both.

    Attributes:
        feature: the reference image as the raw image feature [d] of a catalog item, or
        pixels: as the pixels of a picture, uint8 [3, S, S].
        text: the relative caption.
        text_weight: replaces the text weight that the combining function chooses.
    """

    feature: np.ndarray | None = None
    pixels: np.ndarray | None = None
    text: str | None = None
    text_weight: float | None = None


@dataclass(frozen=True, slots=True)
class ComposedInput:
    """A query of one or more parts, and what it should not find; see `compose_references`.

    Attributes:
        wanted: the references with their captions, or a text alone.
        weights: a weight for each of them.
        unwanted: features or texts.
    """

    wanted: tuple[QueryInput, ...]
    weights: tuple[float, ...]
    unwanted: tuple[QueryInput, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query feature and its origin.

    Attributes:
        feature: float32 [d], unit length.
        text_weight: weight of the text in it; None for a query of one part or of several references, or a combining
            function without one.
        model: name of the bundle that made it.
        image_fingerprint: fingerprint of that bundle's image tower; the searched generation must have the same one.
        image, text: for the reranker, the raw features [d] that a composed query was made from; else None.
    """

    feature: np.ndarray
    text_weight: float | None
    model: str
    image_fingerprint: str
    image: np.ndarray | None = None
    text: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class RerankInput:
    """A composed query and its K candidates; see `Reranker.score`.

    Attributes:
        image, text: raw features of its parts [d].
        query: unit query feature [d].
        candidates: raw image features [K, d].
    """

    image: np.ndarray
    text: np.ndarray
    query: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True, slots=True)
class RerankScores:
    """The scores of candidates, float32 [K], and the name of the bundle that made them; None if it has no reranker."""

    scores: np.ndarray | None
    model: str


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A raw image feature, float32 [d], and the fingerprint of the image tower that made it."""

    feature: np.ndarray
    image_fingerprint: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that an encoder replica serves.

    Attributes:
        name: short fingerprint of all its parts.
        dim: d, the width of a feature.
        size: S, height and width of the image tower's input in pixels.
        has_text_weight: whether its combining function has a text weight that can be set.
        has_reranker: whether it has a reranker.
        refused: why the replica refused a newer bundle; "" if it refused none.
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
    has_reranker: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Work done by an encoder replica: forward passes and rows of each tower."""

    image_batches: int
    images: int
    text_batches: int
    texts: int


class QueryEncoder(Protocol):
    """Encodes queries and pictures without blocking the event loop."""

    async def info(self) -> ModelInfo:
        """Returns the served model."""
        ...

    async def encode_query(self, query: QueryInput) -> EncodedQuery:
        """Returns the query feature.

        Raises:
            BusyError: the queue is full, or no replica runs.
        """
        ...

    async def encode_composition(self, query: ComposedInput) -> EncodedQuery:
        """Returns the query feature of several references, or of a query with something unwanted.

        Raises:
            BusyError: the queue is full, or no replica runs.
        """
        ...

    async def encode_image(self, pixels: np.ndarray) -> EncodedImage:
        """Returns the raw image feature of a picture, uint8 [3, S, S].

        Raises:
            BusyError: the queue is full, or no replica runs.
        """
        ...

    async def rerank(self, candidates: RerankInput) -> RerankScores:
        """Returns the scores of a query's candidates.

        Raises:
            BusyError: the queue is full, or no replica runs.
        """
        ...


def model_name(manifest: dict[str, Any], weights: str) -> str:
    """Returns a bundle's short fingerprint.

    Args:
        manifest: of the bundle, with the fingerprints of its towers.
        weights: SHA-256 of the files of the combining function and of the reranker, joined; "" for absent ones.
    """
    towers = ("image_fingerprint", "text_fingerprint", PRETRAINED_TEXT_FINGERPRINT)
    parts = [*(manifest[key] for key in towers if key in manifest), weights]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
