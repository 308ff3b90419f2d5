"""In what groups of queries a variant succeeds."""

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
    """Returns what each triplet changes: its relation where the data names one, else its category."""
    return [triplet.relation or triplet.category for triplet in split.triplets]


def lengths(table: TripletTable) -> list[str]:
    """Returns the group of each query's caption by its number of words, such as "4 to 6 words"."""
    words = [max(len(table.captions[row].split()), 1) for row in table.query.tolist()]
    return [next(name for name, (low, high) in _LENGTHS.items() if low <= count <= high) for count in words]


def by_group(rank: Tensor, groups: Sequence[str], k: int, order: Sequence[str] = ()) -> dict[str, tuple[int, float]]:
    """Returns of each group of queries how many it has, and its R@k in percent; those in `order` come first, as they
    stand there, the others in the order of first use."""
    found = {}
    for name in (name for name in dict.fromkeys((*order, *groups)) if name in groups):
        rows = torch.tensor([group == name for group in groups])
        found[name] = (int(rows.sum()), 100.0 * float((rank[rows] < k).double().mean()))
    return found
