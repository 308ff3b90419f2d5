"""One query feature from several references, and from what a query should not find.

    several references:  q = unit(w_1 q_1 + ... + w_R q_R)
    something unwanted:  q' = unit(q - UNWANTED_WEIGHT * unit(n_1 + ... + n_N))

q_r is the unit query feature of one reference with its own caption, and w_r its weight. n_i is the unit feature of an
unwanted image, or the direction of an unwanted text (`text_directions`). The second rule is that of Rocchio ("Relevance
Feedback in Information Retrieval", 1971) with one unwanted direction, so that a thing that is named twice counts once.
docs/exam.md compares both rules with others.

Shapes: R references, N unwanted things, d feature width; "..." are any leading dimensions.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Weight of the unwanted direction against the query. On the exam, 0.5 is best for texts and 0.2 to 0.3 for images.
UNWANTED_WEIGHT = 0.4
# The text that an unwanted text is compared with: see `text_directions`.
NEUTRAL_TEXT = ""


def compose_references(queries: Tensor, weights: Tensor | None = None, unwanted: Tensor | None = None) -> Tensor:
    """Returns one unit query feature [..., d].

    A single reference without anything unwanted is returned as it is, bit for bit.

    Args:
        queries: unit query features of the references [..., R, d], R >= 1.
        weights: positive weights of the references [..., R]; only their ratios matter. None: all are equal.
        unwanted: unit features of what is not wanted [..., N, d]; None or N = 0: nothing.
    """
    query = queries[..., 0, :] if queries.shape[-2] == 1 else _weighted_sum(queries, weights)
    if unwanted is None or unwanted.shape[-2] == 0:
        return query
    direction = F.normalize(unwanted.sum(dim=-2), dim=-1)
    return F.normalize(query - UNWANTED_WEIGHT * direction, dim=-1)


def text_directions(texts: Tensor, neutral: Tensor) -> Tensor:
    """Returns the directions of unwanted texts, unit length [..., d]: what they say beyond a neutral text.

    All text features share a large component, which says nothing about an image. Without it, the same weight removes
    more of what the text names.

    Args:
        texts: unit text features [..., d], of `Model.encode_text`.
        neutral: the unit text feature of NEUTRAL_TEXT [d].
    """
    return F.normalize(texts - neutral, dim=-1)


def _weighted_sum(queries: Tensor, weights: Tensor | None) -> Tensor:
    weighted = queries if weights is None else queries * weights[..., None].to(queries)
    return F.normalize(weighted.sum(dim=-2), dim=-1)
