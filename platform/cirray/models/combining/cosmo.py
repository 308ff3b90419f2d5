"""Content and style modulation, CoSMo (Lee, Kim and Han, "CoSMo: Content-Style Modulation for Image Retrieval with Text
Feedback", CVPR 2021).

The image's mean and standard deviation over its locations are its style; what is left after instance normalization is
its content. The content modulator changes the content with disentangled multimodal non-local blocks: attention between
locations plus the text's attention to each location. The style modulator then applies a new mean and deviation, which
the text derives from the old ones.

Adapted to global features: the paper's locations are cells of a feature map. Here a linear map splits the image feature
into four tokens. After the modulators, a perceptron of the mean token gives the query feature. Number of blocks (two)
and gates follow the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining._interface import CombiningFunction
from cirray.models.combining._layers import head_multiple, merge_heads, split_heads, tokens, two_layers

TOKENS = 4
HEADS = 8
_EPS = 1e-5


class NonLocalBlock(nn.Module):
    """The disentangled multimodal non-local block.

    Args:
        dim: d, the width of the text feature.
        width: w, the width of a token.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.text_query = nn.Linear(dim, width)
        self.join = nn.Linear(width + dim, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, content: Tensor, text: Tensor) -> Tensor:
        """Returns the change [B, T, w] of the tokens `content` [B, T, w], given text features [B, d]."""
        repeated = text.unsqueeze(1).expand(-1, content.shape[1], -1)
        value = split_heads(self.value(self.join(torch.cat([content, repeated], dim=-1))), HEADS)
        query, key = split_heads(self.query(content), HEADS), split_heads(self.key(content), HEADS)
        between_tokens = F.scaled_dot_product_attention(query, key, value)
        asked = split_heads(self.text_query(text).unsqueeze(1), HEADS)
        by_text = F.scaled_dot_product_attention(asked, split_heads(content, HEADS), value)  # the same for every token
        change: Tensor = self.output(merge_heads(between_tokens + by_text))
        return change


class CoSMo(CombiningFunction):
    """The text modulates first the content of the image, then its style.

    Args:
        dim: d, the width of the features.
        projection: p; a token is p / 2 wide, rounded up to a multiple of the attention heads.
        hidden: h, the width of the output's hidden layer.
        dropout: of that hidden layer.
    """

    has_text_weight = False

    def __init__(self, dim: int, projection: int, hidden: int, dropout: float = 0.5) -> None:
        super().__init__()
        width = head_multiple(-(-projection // 2), HEADS)
        self.tokens = tokens(dim, TOKENS, width)
        self.blocks = nn.ModuleList(NonLocalBlock(dim, width) for _ in range(2))
        self.block_weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.style = nn.Linear(dim, 2 * width)
        self.style_gate = nn.Linear(dim, 2 * width)
        self.output = two_layers(width, hidden, dim, dropout)

    def compose(self, image: Tensor, text: Tensor, text_weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `CombiningFunction`."""
        self._refuse_text_weight(text_weight)
        places = self.tokens(image)
        mean = places.mean(dim=1, keepdim=True)
        centred = places - mean
        deviation = (centred.square().mean(dim=1, keepdim=True) + _EPS).sqrt()
        content = centred / deviation
        for weight, block in zip(self.block_weights, self.blocks, strict=True):
            content = content + weight * block(content, text)
        new_deviation, new_mean = self.style(text).unsqueeze(1).chunk(2, dim=-1)
        kept_deviation, kept_mean = torch.sigmoid(self.style_gate(text)).unsqueeze(1).chunk(2, dim=-1)
        # The new deviation is one plus a learned part, so that training starts from an unchanged content.
        styled = (kept_deviation * deviation + 1 + new_deviation) * content + kept_mean * mean + new_mean
        return F.normalize(self.output(styled.mean(dim=1)), dim=-1), None


def build(dim: int, settings: CombiningSettings) -> CoSMo:
    """Builds the function with the widths and the output dropout of `settings`."""
    return CoSMo(dim, settings.projection, settings.hidden, settings.dropout_output)
