"""Ranked lists of names, whatever system made them, as a retriever, and what jobs/score.py reports of them.

A list may be cut anywhere. A figure that its lists cannot decide is reported as such, with the bounds that they leave,
and never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cirray.evaluation.metrics import Ranks, by_k
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.retriever import Evaluation, Ranking, Retriever, average, score_ranking

# The worst rank of a target that its list does not hold: past the end of any gallery.
_LAST = 2**62


class RankedLists(Retriever):
    """The rankings of one file, with the annotated pairs that they answer: one category."""

    def __init__(self, pairs: Pairs, rankings: Rankings) -> None:
        self.pairs = pairs
        self.rankings = rankings

    def categories(self) -> Sequence[str]:
        return ("all",)

    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """See `Retriever`. Lists that rank image sets only bound no rank in the gallery."""
        subset_only = self.subset_only()
        targets: list[tuple[int, int]] = []
        within: list[tuple[int, int]] = []
        for key, triplet in self.pairs.triplets.items():
            names = self.rankings.lists[key]
            if exclude_reference:
                names = tuple(name for name in names if name != triplet.reference)
            targets.append((0, _LAST) if subset_only else _bounds(triplet.target, names))
            within.append(_bounds(triplet.target, [name for name in names if name in triplet.subset]))
        has_subsets = any(triplet.subset for triplet in self.pairs.triplets.values())
        best, worst = (
            Ranks(
                np.array([bounds[end] for bounds in targets], dtype=np.int64),
                np.array([bounds[end] for bounds in within], dtype=np.int64) if has_subsets else None,
            )
            for end in (0, 1)
        )
        return Ranking(len({name for names in self.rankings.lists.values() for name in names}), best, worst)

    def subset_only(self) -> bool:
        """Whether the lists rank image sets only: the file says so, or no list names anything else."""
        if not self.pairs.protocol.subset_ks:
            return False
        return self.rankings.metric == "recall_subset" or all(
            set(self.rankings.lists[key]) <= {triplet.reference, *triplet.subset}
            for key, triplet in self.pairs.triplets.items()
        )


@dataclass(frozen=True, slots=True)
class ListScores:
    """What scoring one file of rankings found.

    Attributes:
        dataset: as in `Pairs`.
        keep_reference: whether a query's reference counted as a result.
        found: the metrics.
        undecidable: figure -> why the lists do not decide it.
        notes: what a reader must know.
    """

    dataset: str
    keep_reference: bool
    found: Evaluation
    undecidable: dict[str, str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Returns what jobs/score.py prints of one file; values are null where the lists do not decide them."""
        return {
            "dataset": self.dataset,
            "reference": "kept" if self.keep_reference else "removed",
            **_values(self.found),
            "undecidable": self.undecidable,
            "notes": self.notes,
        }


def score_lists(pairs: Pairs, rankings: Rankings, keep_reference: bool | None = None) -> ListScores:
    """Scores rankings by their dataset's protocol.

    Args:
        keep_reference: whether a query's reference counts as a result; None = as the dataset's protocol has it.
    """
    keep = not pairs.protocol.exclude_reference if keep_reference is None else keep_reference
    retriever = RankedLists(pairs, rankings)
    protocol = replace(pairs.protocol, exclude_reference=not keep)
    (category,) = retriever.categories()
    ranking = retriever.rank(category, protocol.exclude_reference)
    found = score_ranking(category, ranking, protocol)
    undecidable = {
        name.replace("Rs@", "R_subset@"): _reason(name, bounds, ranking, list(pairs.triplets))
        for name, bounds in found.undecided.items()
    }
    return ListScores(pairs.dataset, keep, found, undecidable, _notes(retriever, keep))


def average_json(scores: Sequence[ListScores]) -> dict[str, Any]:
    """Returns what jobs/score.py prints of several files: their mean, each counting the same, as FashionIQ's categories
    do."""
    return _values(average([score.found for score in scores]))


def _values(found: Evaluation) -> dict[str, Any]:
    metrics: dict[str, float | None] = {
        name: round(found.metrics[name], 4) if name in found.metrics else None
        for name in (*found.metrics, *found.undecided)
    }
    subset = by_k(metrics, "Rs")
    return {
        "queries": found.queries,
        "recall": by_k(metrics, "R"),
        **({"recall_subset": subset} if subset else {}),
        "metrics": metrics,
    }


def _bounds(target: str | None, names: Sequence[str]) -> tuple[int, int]:
    """Returns the best and the worst rank that a list allows its target."""
    if target in names:
        return names.index(target), names.index(target)
    return len(names), _LAST


def _reason(name: str, bounds: tuple[float, float], ranking: Ranking, keys: Sequence[str]) -> str:
    """Says which lists end too early to decide a metric, and what they leave open."""
    kind, _, k = name.partition("@")
    best, worst = ranking.best.target, ranking.worst.target
    if kind == "Rs" and ranking.best.subset is not None and ranking.worst.subset is not None:
        best, worst = ranking.best.subset, ranking.worst.subset
    cut = best < np.minimum(worst, int(k)) if k else best < worst
    first = int(cut.argmax())
    return (
        f"{int(cut.sum()):,} of {len(cut):,} lists end {f'before place {k} ' if k else ''}without the target "
        f"(pair {keys[first]} after {best[first]}); the figure is between {bounds[0]:.2f} and {bounds[1]:.2f}"
    )


def _notes(retriever: RankedLists, keep: bool) -> list[str]:
    pairs, rankings = retriever.pairs, retriever.rankings
    total = len(pairs.triplets)
    holding = [key for key, triplet in pairs.triplets.items() if triplet.reference in rankings.lists[key]]
    notes = []
    if holding and not keep:
        notes.append(
            f"{len(holding):,} of {total:,} lists still hold their reference (pair {holding[0]}): it was left out "
            f"before counting, which makes those lists shorter"
        )
    if keep and not holding:
        notes.append(
            "no list holds its reference: if the system removed it, these figures are of another protocol than the "
            "one with the reference kept, and easier"
        )
    if keep == pairs.protocol.exclude_reference:
        usual = "removes" if pairs.protocol.exclude_reference else "keeps"
        notes.append(
            f"the protocol of {pairs.dataset} {usual} the reference: these figures compare with no published one"
        )
    if retriever.subset_only():
        notes.append("the lists rank image sets only: they decide R_subset@K, and nothing of R@K")
    if not any(triplet.target in rankings.lists[key] for key, triplet in pairs.triplets.items()):
        key, triplet = next(iter(pairs.triplets.items()))
        listed = next(iter(rankings.lists[key]), "nothing")
        notes.append(
            f"no list holds its target: are names written as in the annotations? pair {key} lists {listed!r} first, "
            f"and its target is {triplet.target!r}"
        )
    return notes
