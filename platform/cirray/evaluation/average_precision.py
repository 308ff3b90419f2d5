"""Mean average precision: how early all right answers of a query appear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cirray.data.records import Protocol
from cirray.evaluation.ranks import Ranks

# CIRCO reports the mAP of each semantic aspect at this K.
ASPECT_K = 10


def mean_average_precision(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """mAP@K: mean of AP@K over queries, in percent; only for datasets with several right answers."""
    if ranks.positives is None:
        return {}
    return {f"mAP@{k}": _percent(average_precision(ranks.positives, k)) for k in protocol.precision_ks}


def aspect_precision(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """mAP[ASPECT]@10: mean of AP@10 over the queries that have an aspect, in percent."""
    if not ranks.labels.aspects:
        return {}
    precision = average_precision(_right_answers(ranks), ASPECT_K)
    return {
        f"mAP[{aspect}]@{ASPECT_K}": _percent(precision[mask])
        for aspect, mask in ranks.labels.aspects.items()
        if mask.any()
    }


def average_precision(positives: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Returns AP@K of each query, float64 [Q], from 0 to 1.

    AP@K is the sum of precision@i over the positions i <= K that hold a right answer, divided by
    min(number of right answers, K) (Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion",
    ICCV 2023, eq. 9).

    Args:
        positives: int64 [Q, P], ranks of all right answers, from 0, at least one for each query; -1 pads short lists.
        k: the K.
    """
    known = positives >= 0
    # Sorted, the i-th right answer (from 1) at position p has precision i / p.
    position = np.sort(np.where(known, positives, np.iinfo(np.int64).max - 1), axis=1) + 1
    number = np.arange(1, position.shape[1] + 1)
    precision = np.where(position <= k, number / position, 0.0)
    found: NDArray[np.float64] = precision.sum(axis=1) / np.minimum(known.sum(axis=1), k)
    return found


def _right_answers(ranks: Ranks) -> NDArray[np.int64]:
    """Returns the ranks of all right answers, int64 [Q, P]; without `positives` the target is the only one."""
    return ranks.target[:, None] if ranks.positives is None else ranks.positives


def _percent(values: NDArray[np.float64]) -> float:
    return 100.0 * float(values.mean())
