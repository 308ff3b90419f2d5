"""Scores ranking files, made by any system: the report of jobs/score.py.

Lists may be truncated. A metric that truncated lists do not determine is reported as undecided, with its bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cirray.evaluation.metrics import by_k, kind_of, ranks_behind
from cirray.evaluation.ranked_lists import RankedLists
from cirray.evaluation.ranking_files import Pairs, Rankings
from cirray.evaluation.retriever import Evaluation, Ranking, average, score_ranking

# What a list that is too short lacks, by kind of metric; other kinds lack the target.
_MISSING = {"mAP": "a right answer", "HN": "a hard negative", "HNR": "a hard negative"}


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


def _reason(name: str, bounds: tuple[float, float], ranking: Ranking, keys: Sequence[str]) -> str:
    """Returns which lists are too short to determine a metric, and its bounds."""
    k = name.partition("@")[2]
    best, worst = ranks_behind(name, ranking.best), ranks_behind(name, ranking.worst)
    open_ranks = best < (np.minimum(worst, int(k)) if k else worst)
    cut = np.flatnonzero(open_ranks.any(axis=1))
    first = int(cut[0])
    missing, end = _MISSING.get(kind_of(name), "the target"), best[first][open_ranks[first]].min()
    return (
        f"{len(cut):,} of {len(open_ranks):,} lists end {f'before rank {k} ' if k else ''}without {missing} "
        f"(pair {keys[first]} after {end}); the value is between {bounds[0]:.2f} and {bounds[1]:.2f}"
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
