"""A retriever over ranked lists of names, made by any system, and the report of jobs/score.py.

Lists may be truncated. A metric that truncated lists do not determine is reported as undecided, with its bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cirray.evaluation.metrics import Ranks, by_k
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.retriever import Evaluation, Ranking, Retriever, average, score_ranking

# The worst rank of a target that is missing in its list: beyond the end of any gallery.
_LAST = 2**62


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
        gallery_bounds: list[tuple[int, int]] = []
        subset_bounds: list[tuple[int, int]] = []
        for key, triplet in self.pairs.triplets.items():
            names = self.rankings.lists[key]
            if exclude_reference:
                names = tuple(name for name in names if name != triplet.reference)
            gallery_bounds.append((0, _LAST) if subset_only else _bounds(triplet.target, names))
            subset_bounds.append(_bounds(triplet.target, [name for name in names if name in triplet.subset]))
        has_subsets = any(triplet.subset for triplet in self.pairs.triplets.values())
        best, worst = (
            Ranks(
                np.array([bounds[end] for bounds in gallery_bounds], dtype=np.int64),
                np.array([bounds[end] for bounds in subset_bounds], dtype=np.int64) if has_subsets else None,
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


@dataclass(frozen=True, slots=True)
class ListScores:
    """The scores of one ranking file.

    Attributes:
        dataset: as in `Pairs`.
        keep_reference: whether a query's reference counted as a result.
        evaluation: the metrics.
        undecidable: metric -> why the lists do not determine it.
        notes: warnings for the reader.
    """

    dataset: str
    keep_reference: bool
    evaluation: Evaluation
    undecidable: dict[str, str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON of one file in jobs/score.py; undecided values are null."""
        return {
            "dataset": self.dataset,
            "reference": "kept" if self.keep_reference else "removed",
            **_values(self.evaluation),
            "undecidable": self.undecidable,
            "notes": self.notes,
        }


def score_lists(pairs: Pairs, rankings: Rankings, keep_reference: bool | None = None) -> ListScores:
    """Scores rankings by their dataset's protocol.

    Args:
        pairs: the annotations.
        rankings: the rankings of all pairs.
        keep_reference: whether a query's reference counts as a result; None = as the dataset's protocol requires.
    """
    keep = not pairs.protocol.exclude_reference if keep_reference is None else keep_reference
    retriever = RankedLists(pairs, rankings)
    protocol = replace(pairs.protocol, exclude_reference=not keep)
    (category,) = retriever.categories()
    ranking = retriever.rank(category, protocol.exclude_reference)
    evaluation = score_ranking(category, ranking, protocol)
    undecidable = {
        name.replace("Rs@", "R_subset@"): _reason(name, bounds, ranking, list(pairs.triplets))
        for name, bounds in evaluation.undecided.items()
    }
    return ListScores(pairs.dataset, keep, evaluation, undecidable, _notes(retriever, keep))


def average_json(scores: Sequence[ListScores]) -> dict[str, Any]:
    """Returns the JSON of several files in jobs/score.py: their unweighted mean, as over FashionIQ's categories."""
    return _values(average([score.evaluation for score in scores]))


def _values(evaluation: Evaluation) -> dict[str, Any]:
    metrics: dict[str, float | None] = {
        name: round(evaluation.metrics[name], 4) if name in evaluation.metrics else None
        for name in (*evaluation.metrics, *evaluation.undecided)
    }
    subset = by_k(metrics, "Rs")
    return {
        "queries": evaluation.queries,
        "recall": by_k(metrics, "R"),
        **({"recall_subset": subset} if subset else {}),
        "metrics": metrics,
    }


def _bounds(target: str | None, names: Sequence[str]) -> tuple[int, int]:
    """Returns the best and the worst rank of a target that are consistent with a list."""
    if target in names:
        return names.index(target), names.index(target)
    return len(names), _LAST


def _reason(name: str, bounds: tuple[float, float], ranking: Ranking, keys: Sequence[str]) -> str:
    """Returns which lists are too short to determine a metric, and its bounds."""
    kind, _, k = name.partition("@")
    best, worst = ranking.best.target, ranking.worst.target
    if kind == "Rs" and ranking.best.subset is not None and ranking.worst.subset is not None:
        best, worst = ranking.best.subset, ranking.worst.subset
    cut = best < np.minimum(worst, int(k)) if k else best < worst
    first = int(cut.argmax())
    return (
        f"{int(cut.sum()):,} of {len(cut):,} lists end {f'before rank {k} ' if k else ''}without the target "
        f"(pair {keys[first]} after {best[first]}); the value is between {bounds[0]:.2f} and {bounds[1]:.2f}"
    )


def _notes(retriever: RankedLists, keep: bool) -> list[str]:
    pairs, rankings = retriever.pairs, retriever.rankings
    total = len(pairs.triplets)
    holding = [key for key, triplet in pairs.triplets.items() if triplet.reference in rankings.lists[key]]
    notes = []
    if holding and not keep:
        notes.append(
            f"{len(holding):,} of {total:,} lists contain their reference (such as pair {holding[0]}): it was removed "
            f"before scoring, which makes those lists shorter"
        )
    if keep and not holding:
        notes.append(
            "no list contains its reference: if the system removed it, the protocol is easier than the one that keeps "
            "the reference, and the values are not comparable"
        )
    if keep == pairs.protocol.exclude_reference:
        usual = "removes" if pairs.protocol.exclude_reference else "keeps"
        notes.append(
            f"the protocol of {pairs.dataset} {usual} the reference: published values are not comparable with these"
        )
    if retriever.subset_only():
        notes.append("the lists rank image sets only: they determine R_subset@K, but not R@K")
    if not any(triplet.target in rankings.lists[key] for key, triplet in pairs.triplets.items()):
        key, triplet = next(iter(pairs.triplets.items()))
        listed = next(iter(rankings.lists[key]), "nothing")
        notes.append(
            f"no list contains its target: check that names are written as in the annotations; pair {key} lists "
            f"{listed!r} first, and its target is {triplet.target!r}"
        )
    return notes
