"""The queries whose target came last, and what came back instead."""

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
    """Returns triplets whose target came last, the worst of each group in turn."""
    order = rank.argsort(descending=True, stable=True).tolist()
    queues = {name: [row for row in order if names[row] == name and rank[row] > 0] for name in dict.fromkeys(names)}
    found: list[int] = []
    while len(found) < most and any(queues.values()):
        for queue in queues.values():
            if queue and len(found) < most:
                found.append(queue.pop(0))
    return found


def examples(
    rows: Sequence[int], rank: Tensor, variant: Variant, dataset: Dataset, table: TripletTable, split: str
) -> list[Example]:
    """Returns what came back for the triplets `rows`; `rank` is the place of each triplet's target."""
    pictures = dataset.images
    ids = list(pictures)
    found = []
    for row in rows:
        gallery = next(images for members, images in table.categories.values() if row in members)
        hidden = (
            gallery_positions(gallery, len(ids))[table.reference[[row]]] if dataset.protocol.exclude_reference else None
        )
        _, best = top_k(variant.query[[row]], variant.gallery[gallery], _SHOWN, hidden)
        shown = [pictures[ids[image]] for image in gallery[best[0]].tolist()]
        triplet = dataset.splits[split].triplets[row]
        note = f"target: place {int(rank[row]) + 1:,}"
        target = pictures[triplet.target or ""]
        found.append(Example(pictures[triplet.reference], " / ".join(triplet.captions), shown, target, note))
    return found
