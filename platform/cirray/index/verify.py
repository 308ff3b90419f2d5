"""Verifies a complete generation before it is published."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cirray.errors import SearchIndexError
from cirray.index.backend import Reader

# The cosine of a feature with itself, after float32 and after quantization with rescoring.
SELF_SCORE = 0.999
_NEIGHBOURS = 10


def verify(reader: Reader, wanted: Mapping[str, str], sample: int) -> None:
    """Compares the item count with the catalog, and searches a sample of items by their own features. Closes `reader`.

    Args:
        wanted: id -> digest of the catalog.
        sample: number of sampled items, spread evenly over the catalog.

    Raises:
        SearchIndexError: the count differs, or a sampled item is not its own best hit.
    """
    try:
        count = reader.count()
        if count != len(wanted):
            raise SearchIndexError(_failure(reader, f"it holds {count} items, and the catalog {len(wanted)}"))
        ids = list(wanted)[:: max(1, len(wanted) // sample)][:sample]
        lost = _not_found(reader, ids)
        if lost:
            raise SearchIndexError(
                _failure(reader, f"{len(lost)} of {len(ids)} items do not find themselves, such as {lost[0]}")
            )
    finally:
        reader.close()


def _not_found(reader: Reader, ids: list[str]) -> list[str]:
    features = reader.features(ids)
    present = [identifier for identifier in ids if identifier in features]
    if not present:
        return ids
    rows = np.stack([features[identifier] for identifier in present])
    answers = reader.search(rows / np.linalg.norm(rows, axis=1, keepdims=True), _NEIGHBOURS)
    # Items with the same picture tie: the best hit may be another item with the same score.
    self_hits = {
        identifier for identifier, hits in zip(present, answers, strict=True) if hits and hits[0].score >= SELF_SCORE
    }
    return [identifier for identifier in ids if identifier not in self_hits]


def _failure(reader: Reader, what: str) -> str:
    return f"generation {reader.generation.name} is not published: {what}. Run the same command again"
