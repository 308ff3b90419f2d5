"""The forward passes of one batch. Jobs of several requests are encoded together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from serve.encoder_types import EncodedQuery
from serve.loaded_bundle import Loaded

if TYPE_CHECKING:
    from torch import Tensor

    from cirray.models.bundle import Model
    from cirray.models.clip import Encoder


class Job(Protocol):
    """One row of a batch: it names the bundle that encodes it."""

    @property
    def bundle(self) -> Loaded: ...


AnyJob = TypeVar("AnyJob", bound=Job)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ImageJob:
    """A picture to encode: pixels, uint8 [3, S, S]."""

    bundle: Loaded
    pixels: np.ndarray


@dataclass(frozen=True, slots=True)
class QueryJob:
    """A query feature to make from a raw image feature [d], a text, or both.

    Attributes:
        text_weight: replaces the text weight that the combining function chooses.
    """

    bundle: Loaded
    image: np.ndarray | None
    text: str | None
    text_weight: float | None


def encode_by_bundle(
    jobs: Sequence[AnyJob], encode: Callable[[Loaded, Sequence[AnyJob]], list[Result]]
) -> list[Result]:
    """Returns one result per job. Calls `encode` once per bundle: a batch has two while a new one takes over."""
    results: dict[int, Result] = {}
    for bundle in dict.fromkeys(job.bundle for job in jobs):
        rows = [row for row, job in enumerate(jobs) if job.bundle is bundle]
        results.update(zip(rows, encode(bundle, [jobs[row] for row in rows]), strict=True))
    return [results[row] for row in range(len(jobs))]


def encode_images(bundle: Loaded, jobs: Sequence[ImageJob]) -> list[np.ndarray]:
    """Returns the raw image feature, float32 [d], of each job."""
    import torch  # only encoder replicas need it, and the ingress imports this module too

    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([job.pixels for job in jobs])).to(bundle.model.device)
        return list(bundle.model.encoder.encode_image(pixels).float().cpu().numpy())


def encode_queries(bundle: Loaded, jobs: Sequence[QueryJob]) -> list[EncodedQuery]:
    """Returns the query feature of each job. All texts of one text tower share a forward pass (`text_passes`)."""
    import torch

    with torch.inference_mode():
        images, texts = _raw_features(bundle.model, jobs)
        single = {**images, **texts}
        features = {row: single[row] / single[row].norm() for row in images.keys() ^ texts.keys()}
        text_weights: dict[int, float] = {}
        for rows in _composed_groups(jobs):
            composed, weights = _compose(bundle.model, rows, images, texts, [jobs[row].text_weight for row in rows])
            features.update(zip(rows, composed, strict=True))
            text_weights.update(zip(rows, weights, strict=False))
    parts = {row: (_array(images[row]), _array(texts[row])) for row in images.keys() & texts.keys()}
    model, fingerprint = bundle.info.name, bundle.info.image_fingerprint
    return [
        EncodedQuery(_array(features[row]), text_weights.get(row), model, fingerprint, *parts.get(row, ()))
        for row in range(len(jobs))
    ]


def _array(feature: Tensor) -> np.ndarray:
    array: np.ndarray = feature.float().cpu().numpy()
    return array


def _raw_features(model: Model, jobs: Sequence[QueryJob]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Returns the raw image features [d] and text features [d], each by row, of the jobs that have them."""
    import torch

    images = {
        row: torch.from_numpy(np.array(job.image)).to(model.device)
        for row, job in enumerate(jobs)
        if job.image is not None
    }
    texts: dict[int, Tensor] = {}
    for tower, rows in _by_text_tower(model, jobs).items():
        tokens = tower.tokenize([jobs[row].text or "" for row in rows]).to(model.device)
        texts.update(zip(rows, tower.encode_text(tokens), strict=True))
    return images, texts


def text_passes(jobs: Sequence[QueryJob]) -> int:
    """Returns the number of forward passes of text towers that a batch needs: one or two a bundle, or none."""
    bundles = dict.fromkeys(job.bundle for job in jobs)
    return sum(len(_by_text_tower(b.model, [job for job in jobs if job.bundle is b])) for b in bundles)


def _by_text_tower(model: Model, jobs: Sequence[QueryJob]) -> dict[Encoder, list[int]]:
    """Returns the rows of jobs with a text by the encoder whose text tower encodes it.

    A relative caption is encoded after stage 1, a text alone as before it (see `Model`).
    """
    rows: dict[Encoder, list[int]] = {}
    for row, job in enumerate(jobs):
        if job.text is not None:
            rows.setdefault(model.pretrained if job.image is None else model.encoder, []).append(row)
    return rows


def _composed_groups(jobs: Sequence[QueryJob]) -> list[list[int]]:
    """Returns the rows of composed queries, without and with a text weight of their own; no group is empty."""
    composed = [row for row, job in enumerate(jobs) if job.image is not None and job.text is not None]
    chosen = [row for row in composed if jobs[row].text_weight is None]
    given = [row for row in composed if jobs[row].text_weight is not None]
    return [group for group in (chosen, given) if group]


def _compose(
    model: Model,
    rows: Sequence[int],
    images: Mapping[int, Tensor],
    texts: Mapping[int, Tensor],
    given: Sequence[float | None],
) -> tuple[Tensor, list[float]]:
    """Combines rows that all have a given text weight, or none.

    Returns:
        Unit query features [B, d], and their text weights; no weights if the combining function has none.
    """
    import torch

    image = torch.stack([images[row] for row in rows])
    text = torch.stack([texts[row] for row in rows])
    text_weight = None if given[0] is None else torch.tensor(given, device=model.device)[:, None]
    query, used = model.compose(image, text, text_weight)
    return query, [] if used is None else used.flatten().tolist()
