"""The element-wise sum, the combining function of stage 1 (paper section 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction


class Sum(CombiningFunction):
    """normalize(image + text), without parameters."""

    has_text_weight = True

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """See `CombiningFunction`."""
        return F.normalize(image + text, dim=-1)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`. A text weight of 0.5 gives the sum."""
        weight = torch.full_like(image[:, :1], 0.5) if text_weight is None else text_weight
        return F.normalize(2 * (weight * text + (1 - weight) * image), dim=-1), weight


def build(dim: int, settings: CombiningSettings) -> Sum:
    """Builds the sum, which has no settings."""
    return Sum()
