"""Visiolinguistic attention at several levels, after VAL (Chen, Gong and Bazzani, "Image Search with Text Feedback by
Visiolinguistic Attention Learning", CVPR 2020).

At each level, the text joins the image's locations. Self-attention over the joined features says what changes, and a
gate over locations and channels, the joint attention, says what stays; a learned mixture of both is the level's
composite feature.

Adapted to global features: the paper's levels are feature maps of an image network. Here three linear maps split the
image feature into 8, 4 and 2 locations of about p / 8, p / 4 and p / 2 channels. The paper sums, over the levels, inner
products of the composite feature c with the target's feature there. If the latter is a linear map W of the target t,
the sum is one inner product, sum(c . W t) = sum(W^T c) . t, so a linear layer per level and their sum give the query
feature. The perceptron that joins image and text is one layer in the authors' code. The auxiliary matching of
images with their descriptions is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import head_multiple, merge_heads, split_heads, tokens, two_layers

LEVELS = (8, 4, 2)
HEADS = 2


class Level(nn.Module):
    """The composite feature of one level.

    Args:
        dim: d, the width of the features.
        locations: L, the number of locations of the image.
        width: w, the channels of each location.
        hidden: the width of the hidden layer that joins image and text.
        dropout: of that hidden layer.
    """

    def __init__(self, dim: int, locations: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.locations = tokens(dim, locations, width)
        self.text = nn.Linear(dim, width)
        self.join = two_layers(2 * width, hidden, width, dropout)
        self.attention_inputs = nn.Linear(width, 3 * width, bias=False)
        self.attention_output = nn.Linear(width, width)
        self.channel_gate = nn.Linear(width, width)
        self.location_gate = nn.Linear(locations, locations)
        self.weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.output = nn.Linear(width, dim)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Composes image and text [B, d], averages over the locations, and maps back to [B, d]."""
        places = self.locations(image)
        repeated = self.text(text).unsqueeze(1).expand_as(places)
        joined = self.join(torch.cat([places, repeated], dim=-1))
        composite = self.weights[0] * self._preserved(joined) * places + self.weights[1] * self._changed(joined)
        mapped: Tensor = self.output(composite.mean(dim=1))
        return mapped

    def _preserved(self, joined: Tensor) -> Tensor:
        """Returns the joint attention [B, L, w], each value in (0, 1)."""
        channels = torch.sigmoid(self.channel_gate(joined.mean(dim=1, keepdim=True)))
        places = torch.sigmoid(self.location_gate(joined.mean(dim=2))).unsqueeze(-1)
        return channels * places

    def _changed(self, joined: Tensor) -> Tensor:
        """Returns the self-attention [B, L, w]."""
        query, key, value = (split_heads(part, HEADS) for part in self.attention_inputs(joined).chunk(3, dim=-1))
        changed: Tensor = self.attention_output(merge_heads(F.scaled_dot_product_attention(query, key, value)))
        return changed


class VAL(CombiningFunction):
    """The sum of the levels' composite features.

    Args:
        dim: d, the width of the features.
        projection: p; a level with L locations has p / L channels, rounded up to a multiple of the attention heads.
        hidden: h, the width of the hidden layers.
        dropout: of the hidden layers.
    """

    has_text_weight = False

    def __init__(self, dim: int, projection: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        widths = {locations: head_multiple(-(-projection // locations), HEADS) for locations in LEVELS}
        self.levels = nn.ModuleList(Level(dim, count, width, hidden, dropout) for count, width in widths.items())

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        return F.normalize(torch.stack([level(image, text) for level in self.levels]).sum(dim=0), dim=-1), None


def build(dim: int, settings: CombiningSettings) -> VAL:
    """Builds the function with the widths and the output dropout of `settings`."""
    return VAL(dim, settings.projection, settings.hidden, settings.dropout_output)
