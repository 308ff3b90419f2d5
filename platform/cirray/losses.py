"""The contrastive loss over the global batch (paper equation 1).

Shapes: b queries of this worker, B targets of all workers, d feature width. Nothing here communicates: the caller
brings the targets of every worker, and the workers' losses add up to the loss of the whole batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    query: Tensor,
    target: Tensor,
    positives: Tensor,
    scale: Tensor | float,
    target_ids: Tensor | None = None,
) -> Tensor:
    """Returns this worker's share of the batch's mean cross-entropy, query -> target direction.

    Args:
        query: unit query features [b, d].
        target: unit target features of the global batch [B, d].
        positives: int64 [b], the row of `target` that each query wants.
        scale: one over the temperature.
        target_ids: int64 [B], which image each target is. When given, other rows that hold a query's own target image
            are left out of its negatives.

    Returns:
        Scalar: sum over this worker's queries divided by B, so that the sum over workers is the global mean.
    """
    logits = scale * (query.float() @ target.float().T)
    if target_ids is not None:
        same = target_ids[positives].unsqueeze(1) == target_ids.unsqueeze(0)
        same.scatter_(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(same, float("-inf"))
    return F.cross_entropy(logits, positives, reduction="sum") / target.shape[0]


class Temperature(torch.nn.Module):
    """The loss's scale, 1 / temperature: fixed, or learned as its logarithm and held at 100 at most (CLIP, 2021)."""

    def __init__(self, temperature: float, learned: bool) -> None:
        super().__init__()
        logarithm = -torch.tensor(temperature).log()
        self.logarithm = torch.nn.Parameter(logarithm, requires_grad=learned)
        self.learned = learned

    def forward(self) -> Tensor:
        """Returns the scalar scale."""
        if self.learned:
            with torch.no_grad():  # clamping the scale instead would end its gradient for good
                self.logarithm.clamp_(max=math.log(100.0))
        return self.logarithm.exp()
