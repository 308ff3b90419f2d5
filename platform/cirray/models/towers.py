"""Image towers that neither open_clip nor timm has. A model definition names one as `timm_model_name`.

    register_towers()
    open_clip.create_model("local-dir:bundle/encoder")

Any program that loads a bundle's encoder with open_clip itself calls `register_towers` first.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

CHANNELS_PER_GROUP = 16

# timm reads it when a model of this module is registered.
default_cfgs = generate_default_cfgs(
    {"cirray_resnet10": {"input_size": (3, 64, 64), "pool_size": (2, 2), "first_conv": "conv1.0", "classifier": "fc"}}
)


def cirray_resnet10(pretrained: bool = False, **options: Any) -> ResNet:
    """A ResNet of four basic blocks for small pictures, trained from random weights (He et al., CVPR 2016).

    Two changes make it train well in minutes. Three 3x3 convolutions replace the 7x7 one of the stem (ResNet-C, He et
    al., "Bag of Tricks", CVPR 2019, section 4.2), so that fine patterns survive. Group norm replaces batch norm (Wu and
    He, ECCV 2018), because encoders keep batch norm statistics frozen.

    Args:
        pretrained: must be False; there are no published weights.
        options: further options of timm's ResNet.
    """
    if pretrained:
        raise ValueError("cirray_resnet10 has no published weights")
    model: ResNet = build_model_with_cfg(
        ResNet,
        "cirray_resnet10",
        pretrained=False,
        **{
            "block": BasicBlock,
            "layers": (1, 1, 1, 1),
            "channels": (32, 64, 128, 256),
            "stem_type": "deep",
            "stem_width": 16,
            "norm_layer": _group_norm,
            **options,
        },
    )
    return model


def register_towers() -> None:
    """Makes the towers of this module known to timm, by which open_clip builds them; may be called again."""
    if not timm.is_model(cirray_resnet10.__name__):
        register_model(cirray_resnet10)


def _group_norm(channels: int, **place: Any) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // CHANNELS_PER_GROUP), channels, **place)
