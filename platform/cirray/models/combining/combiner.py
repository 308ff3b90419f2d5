"""The Combiner network (paper section 3.2, figure 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction


class Combiner(CombiningFunction):
    """A learned mixture plus a convex combination of text and image.

    The state dict has the keys and shapes of the reference implementation, so that its checkpoints load.

    Args:
        dim: d, the width of the features.
        projection: p, the width of each projection.
        hidden: h, the width of the hidden layers.
        dropout_projection: dropout after each projection.
        dropout_output: dropout before the output layer.
        dropout_text_weight: dropout in the text-weight branch.
    """

    has_text_weight = True

    def __init__(
        self,
        dim: int,
        projection: int = 2560,
        hidden: int = 5120,
        dropout_projection: float = 0.5,
        dropout_output: float = 0.5,
        dropout_text_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.text_projection_layer = nn.Linear(dim, projection)
        self.image_projection_layer = nn.Linear(dim, projection)
        self.combiner_layer = nn.Linear(2 * projection, hidden)
        self.output_layer = nn.Linear(hidden, dim)
        self.dynamic_scalar = nn.Sequential(
            nn.Linear(2 * projection, hidden),
            nn.ReLU(),
            nn.Dropout(dropout_text_weight),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.dropout_projection = nn.Dropout(dropout_projection)
        self.dropout_output = nn.Dropout(dropout_output)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`. The text weight is the paper's lambda."""
        joined = self._project(image, text)
        mixture = self.output_layer(self.dropout_output(F.relu(self.combiner_layer(joined))))
        weight: Tensor = self.dynamic_scalar(joined) if text_weight is None else text_weight
        return F.normalize(mixture + weight * text + (1 - weight) * image, dim=-1), weight

    def _project(self, image: Tensor, text: Tensor) -> Tensor:
        """Projects image and text features [B, d] and concatenates them to [B, 2p], text first."""
        text_part = self.dropout_projection(F.relu(self.text_projection_layer(text)))
        image_part = self.dropout_projection(F.relu(self.image_projection_layer(image)))
        return torch.cat([text_part, image_part], dim=-1)


def build(dim: int, settings: CombiningSettings) -> Combiner:
    """Builds the Combiner with the widths and dropouts of `settings`."""
    return Combiner(
        dim,
        settings.projection,
        settings.hidden,
        settings.dropout_projection,
        settings.dropout_output,
        settings.dropout_text_weight,
    )
