"""The candidates of stage 3: the images that the first stage ranks best for each train query.

Shapes: I images, T train triplets, N images of the train gallery, K candidates of each, b triplets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.evaluation.ranking import gallery_positions, top_k


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of T queries.

    Attributes:
        images: int64 [T, K], image rows in the first stage's order; the target is among them.
        target: int64 [T], the column of each query's target.
        masked: bool [T, K], candidates that are no negatives: copies of the target, other right answers, and an
            excluded reference.
    """

    images: Tensor
    target: Tensor
    masked: Tensor

    def of(self, rows: Tensor) -> Candidates:
        """Returns the candidates of some queries, int64 [b]."""
        rows = rows.to(self.images.device)
        return Candidates(self.images[rows], self.target[rows], self.masked[rows])


def mine_candidates(
    train: TripletTable,
    images: Tensor,
    queries: Tensor,
    top: int,
    exclude_reference: bool,
    image_keys: Sequence[str] | None,
) -> Candidates:
    """Ranks the train gallery for every train query, and keeps the first `top` images; fewer if the gallery is smaller.

    A target that is not among them replaces the last one.

    Args:
        train: the T triplets, and the train gallery.
        images: unit image features [I, d].
        queries: unit query features [T, d].
        top: K.
        exclude_reference: whether evaluations leave each query's reference out.
        image_keys: content key of each of the I images; images with the target's key are masked. None masks none.
    """
    device = images.device
    gallery, targets = train.gallery.to(device), train.target.to(device).unsqueeze(1)
    exclude = gallery_positions(gallery, len(images))[train.reference.to(device)] if exclude_reference else None
    scores, positions = top_k(queries, images[gallery], top, exclude)
    found = gallery[positions]
    missing = ~(found == targets).any(dim=1)
    found[missing, -1] = targets[missing, 0]
    is_target = found == targets
    masked = torch.isneginf(scores) if exclude is not None else torch.zeros_like(is_target)
    if image_keys is not None:
        number = {key: position for position, key in enumerate(dict.fromkeys(image_keys))}
        content = torch.tensor([number[key] for key in image_keys], device=device)
        masked = masked | (content[found] == content[targets])
    if train.positives is not None:
        masked = masked | (found.unsqueeze(2) == train.positives.to(device).unsqueeze(1)).any(dim=2)
    return Candidates(found, is_target.long().argmax(dim=1), masked & ~is_target)
