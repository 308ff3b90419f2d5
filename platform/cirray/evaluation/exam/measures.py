"""Measures of rankings with several right answers. Shapes: Q queries, P right answers, H hard negatives.

All take ranks in the gallery that start at 0; -1 pads the lists of queries that have fewer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]

_PAST_THE_END = np.iinfo(np.int64).max - 1


def average_precision(positives: Ranks, k: int) -> NDArray[np.float64]:
    """Returns AP@K of each query, float64 [Q], from 0 to 1.

    The sum of precision@i over the positions i <= K that hold a right answer, divided by min(number of right answers,
    K) (Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023, eq. 9).

    Args:
        positives: int64 [Q, P], ranks of all right answers, at least one for each query.
        k: the K.
    """
    known = positives >= 0
    position = np.sort(np.where(known, positives, _PAST_THE_END), axis=1) + 1
    precision = np.where(position <= k, np.arange(1, position.shape[1] + 1) / position, 0.0)
    found: NDArray[np.float64] = precision.sum(axis=1) / np.minimum(known.sum(axis=1), k)
    return found


def hard_negatives_within(hard_negatives: Ranks, k: int) -> tuple[float, float]:
    """Returns HN@K and HNR@K in percent; queries without hard negatives do not count.

    HN@K is the percentage of queries with a hard negative among the first K, HNR@K the mean share of a query's hard
    negatives that are among the first K.

    Args:
        hard_negatives: int64 [Q, H].
        k: the K.
    """
    known = hard_negatives >= 0
    queries = known.any(axis=1)
    retrieved, known = ((hard_negatives < k) & known)[queries], known[queries]
    return 100 * float(retrieved.any(axis=1).mean()), 100 * float((retrieved.sum(axis=1) / known.sum(axis=1)).mean())


def hard_negatives_above(positives: Ranks, hard_negatives: Ranks) -> float:
    """Returns the mean share of a query's pairs (right answer, hard negative) in the wrong order, in percent.

    Unlike HN@K it is 0 for a perfect ranking, where hard negatives follow the right answers.
    """
    right, wrong = positives[:, :, None], hard_negatives[:, None, :]
    pairs = (right >= 0) & (wrong >= 0)
    queries = pairs.any(axis=(1, 2))
    swapped = ((wrong < right) & pairs)[queries].sum(axis=(1, 2))
    return 100 * float((swapped / pairs[queries].sum(axis=(1, 2))).mean())


def spread(values: NDArray[np.float64], queries: NDArray[np.int64]) -> float:
    """Returns the mean over queries of the best minus the worst value of a query's wordings.

    Queries with one wording do not count; 0 if there is no other.

    Args:
        values: float64 [Q].
        queries: int64 [Q], equal for wordings of one query.
    """
    _, number, count = np.unique(queries, return_inverse=True, return_counts=True)
    best, worst = np.full(len(count), -np.inf), np.full(len(count), np.inf)
    np.maximum.at(best, number, values)
    np.minimum.at(worst, number, values)
    repeated = count > 1
    return float((best - worst)[repeated].mean()) if repeated.any() else 0.0
