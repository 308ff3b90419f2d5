"""Queries of several references, and queries with something unwanted: their parts, and how they are composed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from serve.batches import QueryJob
from serve.encoder_types import ComposedInput, EncodedQuery
from serve.loaded_bundle import Loaded


def jobs_of(bundle: Loaded, query: ComposedInput, images: Sequence[np.ndarray | None]) -> list[QueryJob]:
    """Returns the jobs of a query's parts, in the order that `composed` expects.

    Args:
        bundle: encodes them.
        query: the query.
        images: the raw image feature [d] of each wanted part, or None.
    """
    from cirray.models.composition import NEUTRAL_TEXT  # imports torch, and the ingress imports this module too

    wanted = [
        QueryJob(bundle, image, part.text, part.text_weight) for image, part in zip(images, query.wanted, strict=True)
    ]
    unwanted = [QueryJob(bundle, part.feature, part.text, None) for part in query.unwanted]
    neutral = [QueryJob(bundle, None, NEUTRAL_TEXT, None)] if any(part.text for part in query.unwanted) else []
    return [*wanted, *unwanted, *neutral]


def composed(query: ComposedInput, encoded: Sequence[EncodedQuery]) -> EncodedQuery:
    """Returns the query; its text weight is that of a single reference.

    Args:
        query: the query.
        encoded: the results of `jobs_of`.
    """
    import torch

    from cirray.models.composition import compose_references, text_directions

    features = torch.from_numpy(np.stack([part.feature for part in encoded]))
    count, neutral = len(query.wanted), features[-1]
    unwanted = [
        text_directions(feature, neutral) if part.text else feature
        for part, feature in zip(query.unwanted, features[count:], strict=False)
    ]
    feature = compose_references(
        features[:count], torch.tensor(query.weights), torch.stack(unwanted) if unwanted else None
    )
    first = encoded[0]
    return replace(first, feature=feature.numpy(), text_weight=first.text_weight if count == 1 else None)
