"""The order of right answers and hard negatives. Shapes: Q queries, P right answers, H hard negatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hard_negatives_above(positives: NDArray[np.int64], hard_negatives: NDArray[np.int64]) -> float:
    """Returns the mean share of a query's pairs (right answer, hard negative) in the wrong order, in percent.

    Unlike HN@K it is 0 for a perfect ranking, where hard negatives follow the right answers.

    Args:
        positives: int64 [Q, P], ranks in the gallery from 0; -1 pads short lists.
        hard_negatives: int64 [Q, H], likewise.
    """
    right, wrong = positives[:, :, None], hard_negatives[:, None, :]
    pairs = (right >= 0) & (wrong >= 0)
    queries = pairs.any(axis=(1, 2))
    swapped = ((wrong < right) & pairs)[queries].sum(axis=(1, 2))
    return 100 * float((swapped / pairs[queries].sum(axis=(1, 2))).mean())
