"""A multilayer perceptron: the baseline that knows nothing of how text and image belong together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import two_layers


class MLP(CombiningFunction):
    """One hidden layer on text and image features side by side.

    Args:
        dim: d, the width of the features.
        hidden: h, the width of the hidden layer.
        dropout: of the hidden layer.
    """

    has_text_weight = False

    def __init__(self, dim: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = two_layers(2 * dim, hidden, dim, dropout)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        return F.normalize(self.layers(torch.cat([text, image], dim=-1)), dim=-1), None


def build(dim: int, settings: CombiningSettings) -> MLP:
    """Builds the perceptron, `settings.hidden` wide, with the dropout `settings.dropout_output`."""
    return MLP(dim, settings.hidden, settings.dropout_output)
