"""Modality-agnostic attention fusion, MAAF (Dodds et al., "Modality-Agnostic Attention Fusion for visual search with
text feedback", arXiv:2007.00145, 2020).

Image and text tokens form one sequence. Transformer blocks let every token attend to all others, with the same weights
for both modalities; the query feature is the mean of the two modalities' mean tokens.

Adapted to global features: the paper's image tokens are cells of convolutional feature maps and its text tokens are
words. Here a linear map splits each feature into four tokens. The tokens come from different rows of that map, so they
need no position encoding. As in the authors' code, layer normalization comes first in each block, and after the last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import head_multiple, tokens

TOKENS = 4
HEADS = 8
BLOCKS = 2


class MAAF(CombiningFunction):
    """Self-attention over image and text tokens, mean pooled.

    Args:
        dim: d, the width of the features.
        projection: p; a token is p / 2 wide, rounded up to a multiple of the attention heads.
        hidden: h, the width of the blocks' hidden layers.
        dropout: in the blocks.
    """

    has_text_weight = False

    def __init__(self, dim: int, projection: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        width = head_multiple(-(-projection // 2), HEADS)
        self.image_tokens = tokens(dim, TOKENS, width)
        self.text_tokens = tokens(dim, TOKENS, width)
        blocks = (
            nn.TransformerEncoderLayer(width, HEADS, hidden, dropout, batch_first=True, norm_first=True)
            for _ in range(BLOCKS)
        )
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.output = nn.Linear(width, dim)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        sequence = torch.cat([self.image_tokens(image), self.text_tokens(text)], dim=1)
        # Both modalities have the same number of tokens, so this is the mean of the modalities' means.
        pooled = self.blocks(sequence).mean(dim=1)
        return F.normalize(self.output(pooled), dim=-1), None


def build(dim: int, settings: CombiningSettings) -> MAAF:
    """Builds the function with the widths and the output dropout of `settings`."""
    return MAAF(dim, settings.projection, settings.hidden, settings.dropout_output)
