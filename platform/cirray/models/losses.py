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
    hard: Tensor | None = None,
    batch: int | None = None,
) -> Tensor:
    """Returns this worker's share of the batch's mean cross-entropy, query -> target direction.

    Args:
        query: unit query features [b, d].
        target: unit features that all queries are told from [M, d]: the targets of the global batch (M = B), or a
            whole gallery.
        positives: int64 [b], the row of `target` that each query wants.
        scale: one over the temperature.
        target_ids: int64 [M], which image each target is. When given, other rows that hold a query's own target image
            are left out of its negatives.
        hard: unit features [b, H, d] of further negatives of each query alone.
        batch: B, the queries of all workers; None where it is M.

    Returns:
        Scalar: sum over this worker's queries divided by B, so that the sum over workers is the global mean.
    """
    logits = scale * (query.float() @ target.float().T)
    if target_ids is not None:
        same = target_ids[positives].unsqueeze(1) == target_ids.unsqueeze(0)
        same.scatter_(1, positives.unsqueeze(1), False)
        logits = logits.masked_fill(same, float("-inf"))
    if hard is not None:
        logits = torch.cat([logits, scale * torch.einsum("bd,bhd->bh", query.float(), hard.float())], dim=1)
    return F.cross_entropy(logits, positives, reduction="sum") / (target.shape[0] if batch is None else batch)


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
