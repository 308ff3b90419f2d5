"""Hard negatives: how often known wrong answers are among the first results."""

from __future__ import annotations

from cirray.data.records import Protocol
from cirray.evaluation.ranks import Ranks

ANY_KS = (1, 5, 10)
SHARE_KS = (10,)


def hard_negatives(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """HN@K and HNR@K, in percent; lower is better. Queries without hard negatives do not count.

    HN@K is the percentage of queries with at least one hard negative among the first K. HNR@K, negative recall, is the
    mean over queries of the percentage of a query's hard negatives that are among the first K.
    """
    if ranks.hard_negatives is None:
        return {}
    known = ranks.hard_negatives >= 0
    queries = known.any(axis=1)
    if not queries.any():
        return {}
    known, negatives = known[queries], ranks.hard_negatives[queries]

    def retrieved(k: int) -> float:
        return 100.0 * float(((negatives < k) & known).any(axis=1).mean())

    def share(k: int) -> float:
        return 100.0 * float((((negatives < k) & known).sum(axis=1) / known.sum(axis=1)).mean())

    return {f"HN@{k}": retrieved(k) for k in ANY_KS} | {f"HNR@{k}": share(k) for k in SHARE_KS}
