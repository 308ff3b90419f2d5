"""The example queries of a run's picture."""

from __future__ import annotations

import torch
from torch import Tensor

from cirray.data.records import Dataset
from cirray.data.table import TripletTable
from cirray.evaluation.figures import Example
from cirray.evaluation.ranking import gallery_positions, top_k

EXAMPLES, SHOWN = 6, 6


def pick_examples(dataset: Dataset, table: TripletTable, images: Tensor, queries: Tensor) -> list[Example]:
    """Picks evenly spaced queries of every category, successes and failures alike, with their best results.

    Args:
        dataset: the dataset.
        table: the T triplets of its val split.
        images: unit-length image features [I, d].
        queries: unit-length query features [T, d].
    """
    paths = list(dataset.images.values())
    triplets = dataset.splits["val"].triplets
    each = -(-EXAMPLES // len(table.categories))
    examples = []
    for members, gallery in table.categories.values():
        chosen = members[torch.linspace(0, len(members) - 1, min(each, len(members))).long()]
        hidden = (
            gallery_positions(gallery, len(images))[table.reference[chosen]]
            if dataset.protocol.exclude_reference
            else None
        )
        _, best = top_k(queries[chosen], images[gallery], SHOWN, hidden)
        for triplet, rows in zip(chosen.tolist(), best, strict=True):
            examples.append(
                Example(
                    paths[int(table.reference[triplet])],
                    " / ".join(triplets[triplet].captions),
                    [paths[int(gallery[row])] for row in rows],
                    paths[int(table.target[triplet])],
                )
            )
    return examples
