"""Baselines that use only one part of the query."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cirray.models.combining import CombiningFunction


class ImageOnly(CombiningFunction):
    """The reference image alone."""

    has_text_weight = False

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        return F.normalize(image, dim=-1), None


class TextOnly(CombiningFunction):
    """The relative caption alone."""

    has_text_weight = False

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        return F.normalize(text, dim=-1), None
