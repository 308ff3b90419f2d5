"""The contrastive loss over the global batch (paper equation 1).

Shapes: b queries of this worker, B queries of all workers, M candidates, H hard negatives per query, d feature width.
Nothing here communicates: the caller gathers the targets of all workers, and the workers' losses sum to the loss of the
global batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    query: Tensor,
    target: Tensor,
    positives: Tensor,
    scale: Tensor | float,
    target_ids: Tensor | None = None,
    hard: Tensor | None = None,
    batch: int | None = None,
    excluded: Tensor | None = None,
) -> Tensor:
    """Returns this worker's share of the batch's mean cross-entropy, query -> target direction.

    Args:
        query: unit query features [b, d].
        target: unit features of the candidates [M, d]: the targets of the global batch (M = B), or a whole gallery.
        positives: int64 [b], the row of each query's target in `target`.
        scale: 1 / temperature.
        target_ids: int64 [M], the image id of each candidate. If given, duplicates of a query's target image are
            masked out of its negatives.
        hard: unit features [b, H, d] of additional hard negatives, each used by its own query only.
        batch: B, the number of queries of all workers; None if it equals M.
        excluded: bool [b, M], the candidates that are no negatives of each query; a query's own target never is one.

    Returns:
        Scalar: the sum over this worker's queries divided by B, so that the sum over workers is the global mean.
    """
    logits = scale * (query.float() @ target.float().T)
    if target_ids is not None:
        same = target_ids[positives].unsqueeze(1) == target_ids.unsqueeze(0)
        same.scatter_(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(same, float("-inf"))
    if excluded is not None:
        others = excluded.scatter(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(others, float("-inf"))
    if hard is not None:
        logits = torch.cat([logits, scale * torch.einsum("bd,bhd->bh", query.float(), hard.float())], dim=1)
    return F.cross_entropy(logits, positives, reduction="sum") / (target.shape[0] if batch is None else batch)


def attribute_loss(
    image: Tensor, classes: Tensor, labels: Tensor, sizes: Sequence[int], scale: Tensor | float, batch: int
) -> Tensor:
    """Returns this worker's share of the mean cross-entropy of classifying images by the texts of attribute values.

    Each attribute is a classification of its own, as in CLIP's zero-shot classification (Radford et al., 2021,
    section 3.1), with C classes over all A attributes.

    Args:
        image: unit image features of this worker [b, d].
        classes: unit text features of all classes [C, d], those of an attribute next to each other.
        labels: int64 [b, A], the class of each image within each attribute, -1 if it has none.
        sizes: number of classes of each attribute [A].
        scale: 1 / temperature.
        batch: B, the number of images of all workers.

    Returns:
        Scalar: the sum over this worker's images and all attributes, divided by A B.
    """
    logits = (scale * (image.float() @ classes.float().T)).split(list(sizes), dim=1)
    losses = [
        F.cross_entropy(logits[column], labels[:, column], ignore_index=-1, reduction="sum")
        for column in range(len(sizes))
    ]
    return torch.stack(losses).sum() / (batch * len(sizes))


class Temperature(torch.nn.Module):
    """The scale of the loss, 1 / temperature: fixed, or learned as its logarithm and clamped to 100 (CLIP, 2021)."""

    def __init__(self, temperature: float, learned: bool) -> None:
        super().__init__()
        logarithm = -torch.tensor(temperature).log()
        self.logarithm = torch.nn.Parameter(logarithm, requires_grad=learned)
        self.learned = learned

    def forward(self) -> Tensor:
        """Returns the scalar scale."""
        if self.learned:
            with torch.no_grad():  # not clamp(exp()): its gradient would be zero above the limit
                self.logarithm.clamp_(max=math.log(100.0))
        return self.logarithm.exp()
