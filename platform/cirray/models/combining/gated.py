"""Residual gating after TIRG (Vo et al., CVPR 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import two_layers


class Gated(CombiningFunction):
    """The text gates the image feature and adds a residual.

    Args:
        dim: d, the width of the features.
        hidden: width of the hidden layers.
        dropout_output: dropout before each output layer.
    """

    has_text_weight = False

    def __init__(self, dim: int, hidden: int, dropout_output: float = 0.5) -> None:
        super().__init__()
        self.gate = two_layers(2 * dim, hidden, dim, dropout_output)
        self.residual = two_layers(2 * dim, hidden, dim, dropout_output)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        joined = torch.cat([text, image], dim=-1)
        gated = torch.sigmoid(self.gate(joined)) * image
        return F.normalize(self.weights[0] * gated + self.weights[1] * self.residual(joined), dim=-1), None


def build(dim: int, settings: CombiningSettings) -> Gated:
    """Builds the function with the hidden width and output dropout of `settings`."""
    return Gated(dim, settings.hidden, settings.dropout_output)
