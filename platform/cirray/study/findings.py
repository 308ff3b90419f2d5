"""What the study finds in each variant, and in what groups of queries it succeeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import pstdev
from typing import Any

import torch
from torch import Tensor

from cirray.data.triplets import Split
from cirray.ranking import places, target_ranks
from cirray.study.measures import alignment, effective_rank, separation, sparsity, uniformity
from cirray.study.variants import Variant
from cirray.tables import TripletTable

# Spread of the rows of a space; pairs of more rows say nothing more.
_ROWS = 2048
LENGTHS = ((1, 3), (4, 6), (7, 9), (10, 14), (15, 10**6))
# Whether more of the measure is more use of the space.
MEASURES = {"rank": True, "uniformity": False, "separation": True, "alignment": False, "sparsity": False}


@dataclass(frozen=True, slots=True)
class Finding:
    """The numbers of one variant.

    Attributes:
        recall: K -> R@K in percent, the average of categories.
        positive, negative: mean cosine of queries with their targets, and with other images of their gallery.
        separation, alignment: see `measures`.
        rank, uniformity, sparsity: of the query features.
        target_rank, target_uniformity: of the target features.
        share, share_deviation: mean and deviation of lambda, None where nothing is balanced.
    """

    name: str
    recall: dict[int, float]
    positive: float
    negative: float
    separation: float
    alignment: float
    rank: float
    uniformity: float
    sparsity: float
    target_rank: float
    target_uniformity: float
    share: float | None
    share_deviation: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns what study.json holds."""
        return asdict(self)


def similarities(variant: Variant, table: TripletTable) -> tuple[Tensor, Tensor]:
    """Returns the cosine of each query and its target [T], and of queries and other images of their galleries, in one
    row of as many as the smallest gallery has [T, M]; images are drawn evenly from larger galleries."""
    positive = (variant.query * variant.gallery[table.target]).sum(dim=1)
    most = min(min(len(gallery) for _, gallery in table.categories.values()) - 1, _ROWS)
    negative = torch.empty(len(table), most)
    for members, gallery in table.categories.values():
        scores = variant.query[members] @ variant.gallery[gallery].T
        scores[gallery.unsqueeze(0) == table.target[members].unsqueeze(1)] = float("nan")
        others = scores[~scores.isnan()].view(len(members), -1)
        negative[members] = others[:, torch.linspace(0, others.shape[1] - 1, most).long()]
    return positive, negative


def find(variant: Variant, table: TripletTable) -> Finding:
    """Measures one variant."""
    positive, negative = similarities(variant, table)
    target = variant.gallery[table.target.unique()]
    query, target = _some(variant.query), _some(target)
    share = variant.share
    return Finding(
        name=variant.name,
        recall=dict(variant.recall[-1].recall),
        positive=float(positive.mean()),
        negative=float(negative.mean()),
        separation=separation(positive, negative),
        alignment=alignment(variant.query, variant.gallery[table.target]),
        rank=effective_rank(query),
        uniformity=uniformity(query),
        sparsity=sparsity(query),
        target_rank=effective_rank(target),
        target_uniformity=uniformity(target),
        share=None if share is None else float(share.mean()),
        share_deviation=None if share is None else float(share.std()),
    )


def ranks(variant: Variant, table: TripletTable, exclude_reference: bool) -> Tensor:
    """Returns each target's place in its query's ranking, int64 [T], 0 = first."""
    found = torch.empty(len(table), dtype=torch.long)
    for members, gallery in table.categories.values():
        place = places(gallery, len(variant.gallery))
        exclude = place[table.reference[members]] if exclude_reference else None
        found[members] = target_ranks(
            variant.query[members], variant.gallery[gallery], place[table.target[members]], exclude
        )
    return found


def by_group(rank: Tensor, groups: Sequence[str], k: int) -> dict[str, tuple[int, float]]:
    """Returns of each group of queries how many it has, and its R@k in percent; in the order of first use."""
    found = {}
    for name in dict.fromkeys(groups):
        rows = torch.tensor([group == name for group in groups])
        found[name] = (int(rows.sum()), 100.0 * float((rank[rows] < k).double().mean()))
    return found


def relations(split: Split) -> list[str]:
    """Returns what each triplet changes: its relation where the data names one, else its category."""
    return [triplet.relation or triplet.category for triplet in split.triplets]


def lengths(table: TripletTable) -> list[str]:
    """Returns the group of each query's caption by its number of words, such as "4 to 6 words"."""
    words = [len(table.captions[row].split()) for row in table.query.tolist()]
    return [next(_length(*bounds) for bounds in LENGTHS if bounds[0] <= max(count, 1) <= bounds[1]) for count in words]


def telling(findings: Sequence[Finding]) -> int:
    """Returns the K whose R@K tells the variants apart best: where recall is near 0 or 100 it says nothing."""
    deviations = {k: pstdev(finding.recall[k] for finding in _combined(findings)) for k in findings[0].recall}
    return max(deviations, key=lambda k: deviations[k])


def agreement(findings: Sequence[Finding], k: int) -> dict[str, tuple[int, int]]:
    """Returns for each measure in how many pairs of variants the one that is better by it also has the higher R@k, and
    how many pairs differ in both: Kendall's tau is 2 x share - 1. Image and text alone are no combinations and are
    left out."""
    found = {}
    for measure, more in MEASURES.items():
        steps = [
            (getattr(b, measure) - getattr(a, measure)) * (1 if more else -1) * (b.recall[k] - a.recall[k])
            for a, b in combinations(_combined(findings), 2)
        ]
        found[measure] = (sum(step > 0 for step in steps), sum(step != 0 for step in steps))
    return found


def failures(rank: Tensor, groups: Mapping[str, tuple[int, float]], names: Sequence[str], most: int) -> list[int]:
    """Returns triplets whose target came last, the worst of each group in turn."""
    order = rank.argsort(descending=True, stable=True).tolist()
    queues = {name: [row for row in order if names[row] == name and rank[row] > 0] for name in groups}
    found: list[int] = []
    while len(found) < most and any(queues.values()):
        for queue in queues.values():
            if queue and len(found) < most:
                found.append(queue.pop(0))
    return found


def _combined(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.name.endswith(" only")]


def _some(features: Tensor) -> Tensor:
    return features[torch.linspace(0, len(features) - 1, min(_ROWS, len(features))).long()]


def _length(low: int, high: int) -> str:
    return f"{low} to {high} words" if high < 10**6 else f"{low} words or more"
