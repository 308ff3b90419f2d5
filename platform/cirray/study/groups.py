"""Recall by group of queries: by relation and by caption length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cirray.data.records import Split
from cirray.data.table import TripletTable

_LONGEST = 10**6
_LENGTHS = {
    f"{low} to {high} words" if high < _LONGEST else f"{low} words or more": (low, high)
    for low, high in ((1, 3), (4, 6), (7, 9), (10, 14), (15, _LONGEST))
}
LENGTHS = tuple(_LENGTHS)


def relations(split: Split) -> list[str]:
    """Returns the relation of each triplet, or its category if the data has no relations."""
    return [triplet.relation or triplet.category for triplet in split.triplets]


def lengths(table: TripletTable) -> list[str]:
    """Returns the length group of each query's caption, such as "4 to 6 words"."""
    words = [max(len(table.captions[row].split()), 1) for row in table.query.tolist()]
    return [next(name for name, (low, high) in _LENGTHS.items() if low <= count <= high) for count in words]


def recall_by_group(
    rank: Tensor, groups: Sequence[str], k: int, order: Sequence[str] = ()
) -> dict[str, tuple[int, float]]:
    """Returns group -> (number of queries, R@k in percent).

    Args:
        rank: int64 [T], rank of each query's target, 0 = first.
        groups: the group of each query.
        k: K of R@K.
        order: groups that come first; the others follow in order of first use.
    """
    recall = {}
    for name in (name for name in dict.fromkeys((*order, *groups)) if name in groups):
        rows = torch.tensor([group == name for group in groups])
        recall[name] = (int(rows.sum()), 100.0 * float((rank[rows] < k).double().mean()))
    return recall
