"""Complex-valued composition, ComposeAE (Anwaar, Labintcev and Kleinsteuber, "Compositional Learning of Image-Text
Query for Image Retrieval", WACV 2021).

The text is a rotation of the image in a complex space: phi = exp(i gamma(text)) * eta(image), element by element. Two
mappings lead back to the space of images, and a learned mixture of both is the query feature: rho, a perceptron of the
real and imaginary parts, and rho_conv, a convolution over these parts and both inputs.

Adapted to global features: the complex space is p wide, so rho_conv sees eta(image) and gamma(text) instead of the raw
features. Left out: batch normalization, because a query would depend on the others of its batch, and the losses of
reconstruction and of rotational symmetry.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import two_layers

CHANNELS = 64
POSITIONS = 16


class ComposeAE(CombiningFunction):
    """The text rotates the image feature in a complex space.

    Args:
        dim: d, the width of the features.
        projection: p, the width of the complex space.
        hidden: h, the width of the hidden layers.
        dropout_projection: dropout in the maps to the complex space.
        dropout_output: dropout in the maps back.
    """

    has_text_weight = False

    def __init__(
        self, dim: int, projection: int, hidden: int, dropout_projection: float = 0.5, dropout_output: float = 0.5
    ) -> None:
        super().__init__()
        self.gamma = two_layers(dim, hidden, projection, dropout_projection)
        self.eta = two_layers(dim, hidden, projection, dropout_projection)
        self.rho = two_layers(2 * projection, hidden, dim, dropout_output)
        self.rho_conv = nn.Sequential(
            nn.Conv1d(4, CHANNELS, kernel_size=3, padding=1),
            nn.AdaptiveMaxPool1d(POSITIONS),
            nn.Flatten(),
            *two_layers(CHANNELS * POSITIONS, hidden, dim, dropout_output),
        )
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        angle, amplitude = self.gamma(text), self.eta(image)
        real, imaginary = amplitude * torch.cos(angle), amplitude * torch.sin(angle)
        linear = self.rho(torch.cat([real, imaginary], dim=-1))
        convolved = self.rho_conv(torch.stack([amplitude, angle, real, imaginary], dim=1))
        return F.normalize(self.weights[0] * linear + self.weights[1] * convolved, dim=-1), None


def build(dim: int, settings: CombiningSettings) -> ComposeAE:
    """Builds the function with the widths and dropouts of `settings`."""
    return ComposeAE(dim, settings.projection, settings.hidden, settings.dropout_projection, settings.dropout_output)
