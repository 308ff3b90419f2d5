"""Composition with a correction network, DCNet (Kim et al., "Dual Compositional Learning in Interactive Image
Retrieval", AAAI 2021).

The composition network is residual gating (as in `gated`) on the projected features and their product. The correction
network looks at the same triplet from the other side: it describes the change from reference to target, which an
auxiliary loss compares with the text. Both share the projections.

Adapted to global features: the paper composes at several depths of the image network, here at one. The authors' code
compares each text with the corrections from its reference to every target of the batch, B^2 of them; here with the
corrections of the batch's B triplets. The correction serves training only: the authors also add its score in a search,
but a query here is one vector. Batch normalization and the joint loss of the authors' code are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import WithAuxiliaryLoss
from cirray.models.combining._layers import projection as projected
from cirray.models.combining._layers import two_layers


class Correction(nn.Module):
    """Describes the difference of two images.

    Args:
        width: p, the width of the projected features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.after = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.difference = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU())

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Returns features [B, p] of the change from `image` to `target`, both [B, p]."""
        common = image * target
        before = self.before(torch.cat([common, image], dim=-1))
        after = self.after(torch.cat([common, target], dim=-1))
        change: Tensor = self.difference(torch.cat([image, after - before, target], dim=-1))
        return change


class DCNet(WithAuxiliaryLoss):
    """Residual gating, trained together with a correction network.

    Args:
        dim: d, the width of the features.
        projection: p, the width of the projections.
        hidden: h, the width of the residual's hidden layer.
        dropout_projection: dropout after each projection.
        dropout_output: dropout of that hidden layer.
    """

    has_text_weight = False

    def __init__(
        self, dim: int, projection: int, hidden: int, dropout_projection: float = 0.5, dropout_output: float = 0.5
    ) -> None:
        super().__init__()
        self.image_projection = projected(dim, projection, dropout_projection)
        self.text_projection = projected(dim, projection, dropout_projection)
        self.gate = nn.Linear(3 * projection, dim)
        self.residual = two_layers(3 * projection, hidden, dim, dropout_output)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.correction = Correction(projection)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        seen, asked = self.image_projection(image), self.text_projection(text)
        joined = torch.cat([seen, asked, seen * asked], dim=-1)
        gated = torch.sigmoid(self.gate(joined)) * image
        return F.normalize(self.weights[0] * gated + self.weights[1] * self.residual(joined), dim=-1), None

    def auxiliary(self, image: Tensor, text: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """See `WithAuxiliaryLoss`: projected texts, and the corrections from references to targets."""
        change = self.correction(self.image_projection(image), self.image_projection(target))
        return F.normalize(self.text_projection(text), dim=-1), F.normalize(change, dim=-1)


def build(dim: int, settings: CombiningSettings) -> DCNet:
    """Builds the function with the widths and dropouts of `settings`."""
    return DCNet(dim, settings.projection, settings.hidden, settings.dropout_projection, settings.dropout_output)
