"""Explicit matching and implicit similarity, ARTEMIS (Delmas et al., "ARTEMIS: Attention-based Retrieval with
Text-Explicit Matching and Implicit Similarity", ICLR 2022).

The paper scores a target t for a reference image r and a text m with two attentions over the feature dimensions, A and
B, a transformation T of the text, and n(x) = x / |x|: n(T(m)) . n(A(m) * t) + n(B(m) * r) . n(B(m) * t). Without the
normalization of the target's side, each term is an inner product with t, and so is their sum:

    n(T(m)) . (A(m) * t) + n(B(m) * r) . (B(m) * t) = (A(m) * n(T(m)) + B(m) * n(B(m) * r)) . t

Adapted to one query vector: the bracket on the right, at unit length, is the query feature. Its second term is
B(m)^2 * r up to a positive factor per query. The text first passes a projection of the width p, which the paper does
not have.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import projection as projected
from cirray.models.combining._layers import two_layers


class Artemis(CombiningFunction):
    """The text says what to match, and which of the image's dimensions to keep.

    Args:
        dim: d, the width of the features.
        projection: p, the width of the text's projection.
        hidden: h, the width of the attentions' hidden layers.
        dropout_projection: dropout after the projection.
        dropout_output: dropout in the attentions.
    """

    has_text_weight = False

    def __init__(
        self, dim: int, projection: int, hidden: int, dropout_projection: float = 0.5, dropout_output: float = 0.5
    ) -> None:
        super().__init__()
        self.text_projection = projected(dim, projection, dropout_projection)
        self.transform = nn.Linear(projection, dim)
        self.explicit_attention = two_layers(projection, hidden, dim, dropout_output)
        self.implicit_attention = two_layers(projection, hidden, dim, dropout_output)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        modification = self.text_projection(text)
        explicit = torch.softmax(self.explicit_attention(modification), dim=-1)
        implicit = torch.softmax(self.implicit_attention(modification), dim=-1)
        wanted = F.normalize(self.transform(modification), dim=-1)
        kept = F.normalize(implicit * image, dim=-1)
        return F.normalize(explicit * wanted + implicit * kept, dim=-1), None


def build(dim: int, settings: CombiningSettings) -> Artemis:
    """Builds the function with the widths and dropouts of `settings`."""
    return Artemis(dim, settings.projection, settings.hidden, settings.dropout_projection, settings.dropout_output)
