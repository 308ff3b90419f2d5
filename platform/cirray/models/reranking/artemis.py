"""Text-specific matching, the two scores of ARTEMIS (Delmas et al., "ARTEMIS: Attention-based Retrieval with
Text-Explicit Matching and Implicit Similarity", ICLR 2022).

For a reference image r, a text m and a candidate t, with two attentions over the feature dimensions, A and B, a
transformation T of the text, and n(x) = x / |x|:

    explicit matching:    n(T(m)) . n(A(m) * t)
    implicit similarity:  n(B(m) * r) . n(B(m) * t)

Both normalize the masked candidate, so that they are no inner products with t: no single query vector ranks like them.
(The combining function `artemis` is what remains without that normalization.) Adapted: each score has a learned weight,
0 before training, because they are added to the first stage's similarity. T has a hidden layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.reranking import RerankerSettings
from cirray.models.combining._layers import two_layers
from cirray.models.reranking._interface import Reranker


class Artemis(Reranker):
    """Explicit matching of text and candidate, and similarity of reference and candidate where the text looks.

    Args:
        dim: d, the width of the features.
        hidden: h, the width of the hidden layers.
        dropout: dropout in the hidden layers.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.transform = two_layers(dim, hidden, dim, dropout)
        self.explicit_attention = two_layers(dim, hidden, dim, dropout)
        self.implicit_attention = two_layers(dim, hidden, dim, dropout)
        self.weights = nn.Parameter(torch.zeros(2))

    def adjustment(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor) -> Tensor:
        """See `Reranker`."""
        modification = F.normalize(text, dim=-1)
        explicit = torch.softmax(self.explicit_attention(modification), dim=-1)
        implicit = torch.softmax(self.implicit_attention(modification), dim=-1)
        wanted, kept = self.transform(modification), implicit * F.normalize(image, dim=-1)
        matching = F.cosine_similarity(wanted.unsqueeze(1), explicit.unsqueeze(1) * candidates, dim=-1)
        similarity = F.cosine_similarity(kept.unsqueeze(1), implicit.unsqueeze(1) * candidates, dim=-1)
        return self.weights[0] * matching + self.weights[1] * similarity


def build(dim: int, settings: RerankerSettings) -> Artemis:
    """Builds the reranker with the width and dropout of `settings`."""
    return Artemis(dim, settings.hidden, settings.dropout)
