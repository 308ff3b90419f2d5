"""The interface of rerankers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Reranker(nn.Module, ABC):
    """Scores the candidates of the first stage again, from cached global features.

    The score is the first stage's cosine similarity, times a learned weight, plus an adjustment that is 0 before
    training. So a reranker that is not trained keeps the order. A candidate's score does not depend on the other
    candidates.

    Shapes: B queries, K candidates of each, d feature width.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cosine_weight = nn.Parameter(torch.tensor(1.0))

    def score(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        """Scores each query's candidates; the highest score is the best.

        Args:
            image: raw features of the reference images [B, d].
            text: raw features of the relative captions [B, d].
            query: unit query features [B, d], of the combining function.
            candidates: raw image features [B, K, d].

        Returns:
            Scores [B, K].
        """
        units = F.normalize(candidates, dim=-1)
        # An elementwise sum, because a matrix product may round equal candidates differently.
        cosine = (query.unsqueeze(1) * units).sum(dim=-1)
        return self.cosine_weight * cosine + self.adjustment(image, text, query, units)

    @abstractmethod
    def adjustment(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        """Returns what is added to the weighted cosine similarities, [B, K]; 0 before training.

        Args:
            image, text, query: as in `score`.
            candidates: unit image features [B, K, d].
        """
