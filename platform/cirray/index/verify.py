"""Checks a finished generation before anybody searches it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cirray.errors import SearchIndexError
from cirray.index.backend import Reader

# The cosine of a feature with itself, after float32 and after quantization with rescoring.
SELF_SCORE = 0.999
_NEIGHBOURS = 10


def verify(reader: Reader, wanted: Mapping[str, str], sample: int) -> None:
    """Compares the number of items with the catalog's, and searches for some items by their own feature.

    Args:
        wanted: id -> digest of the catalog.
        sample: so many items, spread evenly over the catalog.

    Raises:
        SearchIndexError: what does not fit.
    """
    try:
        count = reader.count()
        if count != len(wanted):
            raise SearchIndexError(_verdict(reader, f"it holds {count} items, and the catalog {len(wanted)}"))
        ids = list(wanted)[:: max(1, len(wanted) // sample)][:sample]
        lost = _not_found(reader, ids)
        if lost:
            raise SearchIndexError(
                _verdict(reader, f"{len(lost)} of {len(ids)} items do not find themselves, such as {lost[0]}")
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
    # Copies of one picture tie: then the best hit need not be the item itself, but scores like it.
    found = {
        identifier for identifier, hits in zip(present, answers, strict=True) if hits and hits[0].score >= SELF_SCORE
    }
    return [identifier for identifier in ids if identifier not in found]


def _verdict(reader: Reader, what: str) -> str:
    return f"generation {reader.generation.name} is not published: {what}. Run the same command again"
