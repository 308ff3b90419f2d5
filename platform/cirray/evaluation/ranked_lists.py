"""A retriever over ranked lists of names, made by any system.

Lists may be truncated; then only bounds of the ranks of missing answers are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cirray.data.labels import QueryLabels
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.ranks import Ranks
from cirray.evaluation.retriever import Ranking, Retriever

# The worst rank of an answer that is missing in its list: beyond the end of any gallery.
_LAST = 2**62

# The best and the worst rank of each answer of a query.
_Bounds = list[tuple[int, int]]


class RankedLists(Retriever):
    """The rankings of one ranking file, with their annotated pairs. It has one category."""

    def __init__(self, pairs: Pairs, rankings: Rankings) -> None:
        self.pairs = pairs
        self.rankings = rankings

    def categories(self) -> Sequence[str]:
        return ("all",)

    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """See `Retriever`. Lists of image sets only leave the ranks in the gallery unbounded."""
        subset_only = self.subset_only()
        target: list[_Bounds] = []
        subset: list[_Bounds] = []
        positives: list[_Bounds] = []
        negatives: list[_Bounds] = []
        for key, triplet in self.pairs.triplets.items():
            excluded = triplet.reference if exclude_reference else None
            names = [name for name in self.rankings.lists[key] if name != excluded]
            targets = (triplet.target,)
            target.append([(0, _LAST)] if subset_only else _bounds(targets, names))
            subset.append(_bounds(targets, [name for name in names if name in triplet.subset]))
            positives.append(_bounds(triplet.answers, names))
            negatives.append(_bounds([name for name in triplet.hard_negatives if name != excluded], names))
        triplets = list(self.pairs.triplets.values())
        labels = QueryLabels.of(triplets)
        best, worst = (
            Ranks(
                _array(target, end)[:, 0],
                _array(subset, end)[:, 0] if any(triplet.subset for triplet in triplets) else None,
                _array(positives, end) if any(triplet.positives for triplet in triplets) else None,
                _array(negatives, end) if any(triplet.hard_negatives for triplet in triplets) else None,
                labels,
            )
            for end in (0, 1)
        )
        return Ranking(len({name for names in self.rankings.lists.values() for name in names}), best, worst)

    def subset_only(self) -> bool:
        """Whether the lists rank image sets only: the file declares it, or no list contains other images."""
        if not self.pairs.protocol.subset_ks:
            return False
        return self.rankings.metric == "recall_subset" or all(
            set(self.rankings.lists[key]) <= {triplet.reference, *triplet.subset}
            for key, triplet in self.pairs.triplets.items()
        )


def _bounds(answers: Sequence[str | None], names: Sequence[str]) -> _Bounds:
    """Returns the best and the worst rank of each of a query's answers that are consistent with a list."""
    places: dict[str | None, int] = {name: place for place, name in enumerate(names)}
    bounds: _Bounds = []
    after = len(names)
    for answer in answers:
        if answer in places:
            bounds.append((places[answer], places[answer]))
        else:
            bounds.append((after, _LAST))
            after += 1
    return bounds


def _array(bounds: Sequence[_Bounds], end: int) -> NDArray[np.int64]:
    """Returns one end of the bounds, int64 [queries, most answers], padded with -1."""
    width = max(map(len, bounds), default=0)
    rows = [[pair[end] for pair in query] + [-1] * (width - len(query)) for query in bounds]
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)
