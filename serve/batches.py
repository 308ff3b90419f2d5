"""The forward passes of one batch. Queries of several requests are encoded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from serve.encoder_types import EncodedQuery
from serve.loaded_bundle import Loaded

if TYPE_CHECKING:
    from torch import Tensor

    from cirray.models.bundle import Model

Result = TypeVar("Result")
# (raw image feature [d], text, the text's share), each of which may be missing
Query = tuple[np.ndarray | None, str | None, float | None]


def by_bundle(batch: Sequence[tuple[Any, ...]], work: Callable[..., list[Result]]) -> Callable[[], list[Result]]:
    """Returns a function that runs `work(bundle, rows)` for each bundle of a batch: two while one takes over."""

    def run() -> list[Result]:
        results: dict[int, Result] = {}
        for loaded in dict.fromkeys(entry[0] for entry in batch):
            rows = [number for number, entry in enumerate(batch) if entry[0] is loaded]
            results.update(zip(rows, work(loaded, [batch[row][1:] for row in rows]), strict=True))
        return [results[row] for row in range(len(batch))]

    return run


def encode_images(loaded: Loaded, rows: Sequence[tuple[np.ndarray]]) -> list[np.ndarray]:
    """Encodes pixels, uint8 [3, S, S] each, to raw features, float32 [d] each."""
    import torch  # only encoder replicas need it, and the ingress imports their module too

    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([pixels for (pixels,) in rows])).to(loaded.model.device)
        return list(loaded.model.encoder.encode_image(pixels).float().cpu().numpy())


def compose(loaded: Loaded, rows: Sequence[Query]) -> list[EncodedQuery]:
    """Makes the query features of one bundle's rows: one forward for all of their texts."""
    import torch

    with torch.inference_mode():
        images, texts = _features(loaded.model, rows)
        both = images.keys() & texts.keys()
        alone = {**images, **texts}
        queries = {row: alone[row] / alone[row].norm() for row in alone.keys() - both}
        shares: dict[int, float] = {}
        for group in _groups(both, rows):
            query, share = _together(loaded.model, images, texts, group, [rows[row][2] for row in group])
            queries.update(zip(group, query, strict=True))
            shares.update(zip(group, share, strict=False))
    name, side = loaded.info.name, loaded.info.image_fingerprint
    return [EncodedQuery(queries[row].float().cpu().numpy(), shares.get(row), name, side) for row in range(len(rows))]


def _features(model: Model, rows: Sequence[Query]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Returns the raw image and text features [d] by row, where there are some."""
    import torch

    given = {row: feature for row, (feature, _, _) in enumerate(rows) if feature is not None}
    images = {row: torch.from_numpy(np.array(feature)).to(model.device) for row, feature in given.items()}
    captions = {row: text for row, (_, text, _) in enumerate(rows) if text is not None}
    encoded = model.encode_text(list(captions.values()), normalize=False) if captions else ()
    return images, dict(zip(captions, encoded, strict=True))


def _together(
    model: Model, images: Mapping[int, Tensor], texts: Mapping[int, Tensor], group: list[int], weights: list[Any]
) -> tuple[Tensor, list[float]]:
    """Combines the rows of one group: all or none of them have a weight. Returns query features and shares, if any."""
    import torch

    image = torch.stack([images[row] for row in group])
    text = torch.stack([texts[row] for row in group])
    text_weight = None if weights[0] is None else torch.tensor(weights, device=model.device)[:, None]
    query, share = model.compose(image, text, text_weight)
    return query, [] if share is None else share.flatten().tolist()


def _groups(rows: Iterable[int], queries: Sequence[Query]) -> list[list[int]]:
    """Splits the rows of composed queries into those with and those without a weight of their own."""
    ordered = sorted(rows)
    chosen = [row for row in ordered if queries[row][2] is None]
    given = [row for row in ordered if queries[row][2] is not None]
    return [group for group in (chosen, given) if group]
