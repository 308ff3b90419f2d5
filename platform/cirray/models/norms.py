"""Equal lengths of image and text features after stage 0.

The contrastive loss sees unit features only, so the raw features of a model trained from scratch have any length: in
cirray-tiny those of texts are eight times as long. Sum and Combiner add raw features, and the longer one would win.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.models.clip import Encoder


@torch.no_grad()
def balance_norms(encoder: Encoder, image: Tensor, text: Tensor) -> None:
    """Scales the last layer of the image tower so that image features are as long as text features on average.

    Cosine similarities stay as they are. Towers that end in another layer than a linear projection stay too.

    Args:
        encoder: the encoder to change.
        image: raw image features of some pictures [B, d].
        text: raw text features of some texts [B, d].
    """
    scale = float(text.norm(dim=-1).mean() / image.norm(dim=-1).mean())
    for tensor in _last_projection(encoder.clip.visual):
        tensor.mul_(scale)


def _last_projection(visual: nn.Module) -> list[Tensor]:
    """Returns the tensors of an image tower's last linear map: of open_clip's ViT, or of a timm model's head."""
    projection = getattr(visual, "proj", None)
    if projection is None:
        projection = getattr(getattr(visual, "head", None), "proj", None)
    if isinstance(projection, nn.Linear):
        return [projection.weight] if projection.bias is None else [projection.weight, projection.bias]
    return [projection] if isinstance(projection, nn.Parameter) else []
