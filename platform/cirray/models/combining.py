"""Combining functions: from image and text features to the query feature (paper section 3.2).

Shapes: B queries, d feature width, p projection width, h hidden width. A new combining function is a module with
`forward(image [B, d], text [B, d]) -> [B, d]`, `compose` (the same, with the text's share told or chosen by the
caller), and a line in `build_combining`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.schema import Combining


class Sum(nn.Module):
    """Element-wise sum: normalize(image + text). No parameters; the combining function of stage 1."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Combines raw features [B, d] to unit query features [B, d]."""
        return F.normalize(image + text, dim=-1)

    def compose(self, image: Tensor, text: Tensor, balance: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns (query features [B, d], the text's shares [B, 1]); shares of one half are the sum itself."""
        share = torch.full_like(image[:, :1], 0.5) if balance is None else balance
        return F.normalize(2 * (share * text + (1 - share) * image), dim=-1), share


class Combiner(nn.Module):
    """The Combiner network: a learned mixture plus a convex combination of text and image (paper figure 4).

    The state dict has the reference's keys and shapes, so its checkpoints load.
    """

    def __init__(
        self,
        dim: int,
        projection: int = 2560,
        hidden: int = 5120,
        dropout_projection: float = 0.5,
        dropout_output: float = 0.5,
        dropout_balance: float = 0.5,
    ) -> None:
        super().__init__()
        self.text_projection_layer = nn.Linear(dim, projection)
        self.image_projection_layer = nn.Linear(dim, projection)
        self.combiner_layer = nn.Linear(2 * projection, hidden)
        self.output_layer = nn.Linear(hidden, dim)
        self.dynamic_scalar = nn.Sequential(
            nn.Linear(2 * projection, hidden),
            nn.ReLU(),
            nn.Dropout(dropout_balance),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        self.dropout_projection = nn.Dropout(dropout_projection)
        self.dropout_output = nn.Dropout(dropout_output)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Combines raw features [B, d] to unit query features [B, d]."""
        return self.compose(image, text)[0]

    def compose(self, image: Tensor, text: Tensor, balance: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns (query features [B, d], lambda [B, 1]): lambda is the text's share in the convex combination.

        Args:
            balance: [B, 1], in place of the lambda that the network chooses.
        """
        joined = self._joined(image, text)
        mixture = self.output_layer(self.dropout_output(F.relu(self.combiner_layer(joined))))
        share: Tensor = self.dynamic_scalar(joined) if balance is None else balance
        return F.normalize(mixture + share * text + (1 - share) * image, dim=-1), share

    def _joined(self, image: Tensor, text: Tensor) -> Tensor:
        text_part = self.dropout_projection(F.relu(self.text_projection_layer(text)))
        image_part = self.dropout_projection(F.relu(self.image_projection_layer(image)))
        return torch.cat([text_part, image_part], dim=-1)


class Gated(nn.Module):
    """Residual gating after TIRG (Vo et al., CVPR 2019): the text gates the image and adds a residual."""

    def __init__(self, dim: int, hidden: int, dropout_output: float = 0.5) -> None:
        super().__init__()
        self.gate = _two_layers(2 * dim, hidden, dim, dropout_output)
        self.residual = _two_layers(2 * dim, hidden, dim, dropout_output)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Combines raw features [B, d] to unit query features [B, d]."""
        return self.compose(image, text)[0]

    def compose(self, image: Tensor, text: Tensor, balance: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns (query features [B, d], None): gating has no balance.

        Raises:
            ValueError: a balance was given.
        """
        if balance is not None:
            raise ValueError("the gated combining function has no balance that could be set")
        joined = torch.cat([text, image], dim=-1)
        gated = torch.sigmoid(self.gate(joined)) * image
        return F.normalize(self.weights[0] * gated + self.weights[1] * self.residual(joined), dim=-1), None


def _two_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def build_combining(dim: int, settings: Combining) -> nn.Module:
    """Builds the combining function that `stage2.combining` describes, for features of width `dim`."""
    if settings.function == "sum":
        return Sum()
    if settings.function == "gated":
        return Gated(dim, settings.hidden, settings.dropout_output)
    return Combiner(
        dim,
        settings.projection,
        settings.hidden,
        settings.dropout_projection,
        settings.dropout_output,
        settings.dropout_balance,
    )
