"""R@K and R_subset@K of ranked lists of names, whatever system made them (reference facts: clip4cir, "Metrics").

A list may be cut anywhere. A figure that its lists cannot decide is told as such, with the bounds that they leave, and
never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cirray.data.records import Triplet
from cirray.evaluation.ranking_files import Pairs, Rankings


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where one list has its target.

    Attributes:
        pair: the pair's id.
        place: 0 = first; None where the target is not in the list.
        length: how many names were ranked before the list ended: a target that is not there comes later.
    """

    pair: str
    place: int | None
    length: int

    def hit(self, k: int) -> bool | None:
        """Whether the target is among the first k; None if the list ends too early to tell."""
        if self.place is not None:
            return self.place < k
        return False if self.length >= k else None


def score_lists(pairs: Pairs, rankings: Rankings, keep_reference: bool | None = None) -> dict[str, Any]:
    """Scores rankings.

    Args:
        keep_reference: whether a query's reference counts as a result; None = as the dataset's protocol has it.

    Returns:
        What jobs/score.py prints: "recall" and "recall_subset" in percent by K, None where a figure is undecidable;
        "undecidable": figure -> why; "notes": what a reader must know.
    """
    protocol = pairs.protocol
    keep = not protocol.exclude_reference if keep_reference is None else keep_reference
    lists = {
        key: names if keep else tuple(name for name in names if name != pairs.triplets[key].reference)
        for key, names in rankings.lists.items()
    }
    whole = [_outcome(key, triplet, lists[key]) for key, triplet in pairs.triplets.items()]
    if _subset_only(pairs, rankings):  # ranks within the image set say nothing of the whole gallery
        whole = [Outcome(outcome.pair, None, 0) for outcome in whole]
    within = [_outcome_within(key, triplet, lists[key]) for key, triplet in pairs.triplets.items()]
    undecidable: dict[str, str] = {}
    recall = {str(k): _share(f"R@{k}", whole, k, undecidable) for k in protocol.ks}
    subset = {str(k): _share(f"R_subset@{k}", within, k, undecidable) for k in protocol.subset_ks}
    return {
        "dataset": pairs.dataset,
        "reference": "kept" if keep else "removed",
        "queries": len(whole),
        "recall": recall,
        **({"recall_subset": subset} if subset else {}),
        "undecidable": undecidable,
        "notes": _notes(pairs, rankings, keep),
    }


def average(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the mean of several files' recalls, each counting the same, as FashionIQ's categories do."""
    columns = {k: [result["recall"][k] for result in results] for k in results[0]["recall"]}
    return {
        "queries": sum(result["queries"] for result in results),
        "recall": {k: None if None in values else round(fmean(values), 4) for k, values in columns.items()},
    }


def _outcome(pair: str, triplet: Triplet, names: Sequence[str]) -> Outcome:
    place = names.index(triplet.target) if triplet.target in names else None
    return Outcome(pair, place, len(names))


def _outcome_within(pair: str, triplet: Triplet, names: Sequence[str]) -> Outcome:
    """The same ranking restricted to the other five of the image set."""
    return _outcome(pair, triplet, [name for name in names if name in triplet.subset])


def _share(figure: str, outcomes: Sequence[Outcome], k: int, undecidable: dict[str, str]) -> float | None:
    """Returns the share of hits in percent, or None, and says why in `undecidable`."""
    hits = [outcome.hit(k) for outcome in outcomes]
    open_ = [outcome for outcome, hit in zip(outcomes, hits, strict=True) if hit is None]
    least = 100.0 * hits.count(True) / len(hits)
    if not open_:
        return round(least, 4)
    most = 100.0 * (len(hits) - hits.count(False)) / len(hits)
    undecidable[figure] = (
        f"{len(open_):,} of {len(hits):,} lists end before place {k} without the target (pair {open_[0].pair} after "
        f"{open_[0].length}); the figure is between {least:.2f} and {most:.2f}"
    )
    return None


def _subset_only(pairs: Pairs, rankings: Rankings) -> bool:
    """Whether the lists rank image sets only: the file says so, or no list names anything else."""
    if not pairs.protocol.subset_ks:
        return False
    return rankings.metric == "recall_subset" or all(
        set(rankings.lists[key]) <= {triplet.reference, *triplet.subset} for key, triplet in pairs.triplets.items()
    )


def _notes(pairs: Pairs, rankings: Rankings, keep: bool) -> list[str]:
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
    if _subset_only(pairs, rankings):
        notes.append("the lists rank image sets only: they decide R_subset@K, and nothing of R@K")
    if not any(triplet.target in rankings.lists[key] for key, triplet in pairs.triplets.items()):
        key, triplet = next(iter(pairs.triplets.items()))
        listed = next(iter(rankings.lists[key]), "nothing")
        notes.append(
            f"no list holds its target: are names written as in the annotations? pair {key} lists {listed!r} first, "
            f"and its target is {triplet.target!r}"
        )
    return notes
