"""Failure cases: the queries with the worst target ranks, and their top hits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cirray.data.records import Dataset
from cirray.data.table import TripletTable
from cirray.evaluation.figures import Example
from cirray.evaluation.ranking import gallery_positions, top_k
from cirray.study.variants import Variant

_SHOWN = 6


def failures(rank: Tensor, names: Sequence[str], most: int) -> list[int]:
    """Returns the rows of up to `most` triplets with the worst target ranks, alternating between groups.

    Args:
        rank: int64 [T], rank of each target, 0 = first; targets at rank 0 are no failures.
        names: the group of each triplet.
    """
    order = rank.argsort(descending=True, stable=True).tolist()
    queues = {name: [row for row in order if names[row] == name and rank[row] > 0] for name in dict.fromkeys(names)}
    cases: list[int] = []
    while len(cases) < most and any(queues.values()):
        for queue in queues.values():
            if queue and len(cases) < most:
                cases.append(queue.pop(0))
    return cases


def examples(
    rows: Sequence[int], rank: Tensor, variant: Variant, dataset: Dataset, table: TripletTable, split: str
) -> list[Example]:
    """Returns the top hits of the triplets `rows`; `rank`, int64 [T], is the rank of each triplet's target."""
    pictures = dataset.images
    ids = list(pictures)
    cases = []
    for row in rows:
        gallery = next(images for members, images in table.categories.values() if row in members)
        hidden = (
            gallery_positions(gallery, len(ids))[table.reference[[row]]] if dataset.protocol.exclude_reference else None
        )
        _, best = top_k(variant.query[[row]], variant.gallery[gallery], _SHOWN, hidden)
        shown = [pictures[ids[image]] for image in gallery[best[0]].tolist()]
        triplet = dataset.splits[split].triplets[row]
        note = f"target: rank {int(rank[row]) + 1:,}"
        target = pictures[triplet.target or ""]
        cases.append(Example(pictures[triplet.reference], " / ".join(triplet.captions), shown, target, note))
    return cases
