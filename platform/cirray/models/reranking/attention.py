"""Cross-attention: candidates attend to the tokens of reference image, relative caption and query.

A linear map splits each of the three features into four tokens, which replace the words and image regions of
cross-encoders (e.g. Liu et al., "Candidate Set Re-ranking for Composed Image Retrieval with Dual Multi-modal Encoder",
TMLR 2024): only global features are cached. A candidate is one token, made of its feature, its product with the query
and its difference to the reference. One block of a transformer decoder without self-attention follows, so candidates
do not see each other; layer normalization comes first, as in `models/combining/maaf.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.reranking import RerankerSettings
from cirray.models.combining._layers import head_multiple, tokens, two_layers
from cirray.models.reranking._interface import Reranker

TOKENS = 4
HEADS = 4


class CrossAttention(Reranker):
    """One cross-attention block from candidates to the query's parts.

    Args:
        dim: d, the width of the features.
        hidden: h, the width of a token, rounded up to a multiple of the attention heads.
        dropout: dropout in the block.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        width = head_multiple(hidden, HEADS)
        self.context = nn.ModuleList(tokens(dim, TOKENS, width) for _ in range(3))
        self.candidate = nn.Linear(3 * dim, width)
        self.first_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, HEADS, dropout, batch_first=True)
        self.second_norm = nn.LayerNorm(width)
        self.feedforward = two_layers(width, 2 * width, width, dropout)
        self.last_norm = nn.LayerNorm(width, bias=False)  # biases from here on would not change the order
        self.output = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.output.weight)

    def adjustment(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        """See `Reranker`."""
        reference, modification = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
        parts = (reference, modification, query)
        context = torch.cat([split(part) for split, part in zip(self.context, parts, strict=True)], dim=1)
        # Numbers of unit vectors are about 1 / sqrt(d), and those of their products 1 / d.
        product = query.unsqueeze(1) * candidates * candidates.shape[-1] ** 0.5
        joined = torch.cat([candidates, product, candidates - reference.unsqueeze(1)], dim=-1)
        seen = self.candidate(joined)
        attended, _ = self.attention(self.first_norm(seen), context, context, need_weights=False)
        seen = seen + attended
        seen = seen + self.feedforward(self.second_norm(seen))
        scores: Tensor = self.output(self.last_norm(seen)).squeeze(-1)
        return scores


def build(dim: int, settings: RerankerSettings) -> CrossAttention:
    """Builds the reranker with the width and dropout of `settings`."""
    return CrossAttention(dim, settings.hidden, settings.dropout)
