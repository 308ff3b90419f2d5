"""Spread over paraphrases: how much the result depends on the wording of a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cirray.data.records import Protocol
from cirray.evaluation.average_precision import average_precision
from cirray.evaluation.ranks import Ranks

SPREAD_K = 10


def paraphrase_spread(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """R-spread@10 and R-std@10, and the same of mAP for datasets with several right answers, in percent.

    The spread of a query is the best minus the worst value of its paraphrases, and std is the values' population
    standard deviation; both are means over the queries with at least two paraphrases. Lower is better. A paraphrase's
    R@10 is 100 or 0. A spread is not monotone in the ranks.
    """
    if ranks.labels.paraphrases is None:
        return {}
    _, query, count = np.unique(ranks.labels.paraphrases, return_inverse=True, return_counts=True)
    repeated = count > 1
    if not repeated.any():
        return {}
    values = {"R": (ranks.target < SPREAD_K).astype(np.float64)}
    if ranks.positives is not None:
        values["mAP"] = average_precision(ranks.positives, SPREAD_K)
    found = {}
    for name, value in values.items():
        spread, deviation = _spread(value, query, count)
        found[f"{name}-spread@{SPREAD_K}"] = 100.0 * float(spread[repeated].mean())
        found[f"{name}-std@{SPREAD_K}"] = 100.0 * float(deviation[repeated].mean())
    return found


def _spread(
    value: NDArray[np.float64], query: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the range and the standard deviation of the values of each of G queries, each float64 [G].

    Args:
        value: float64 [Q].
        query: int64 [Q], from 0 to G - 1.
        count: int64 [G], number of values of each query.
    """
    best, worst = np.full(len(count), -np.inf), np.full(len(count), np.inf)
    np.maximum.at(best, query, value)
    np.minimum.at(worst, query, value)
    mean = np.bincount(query, value) / count
    variance = np.bincount(query, (value - mean[query]) ** 2) / count
    return best - worst, np.sqrt(variance)
