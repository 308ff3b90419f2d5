"""The image tower of cirray-tiny: made for small pictures, and loadable by name."""

from __future__ import annotations

import pytest
import timm
import torch

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.models.build import build_encoder
from cirray.models.towers import cirray_resnet10, register_towers


def test_timm_builds_a_registered_tower_by_name() -> None:
    register_towers()
    register_towers()  # a second call does not warn that the name is taken
    tower = timm.create_model("cirray_resnet10", num_classes=0)
    assert tower(torch.zeros(2, 3, 64, 64)).shape == (2, 256)


def test_cirray_tiny_has_no_batch_norm_and_sees_fine_patterns() -> None:
    encoder = build_encoder(Backbone(model="cirray-tiny"), Preprocess(), 0)
    assert not encoder.has_batch_norm()
    assert encoder.image_input.size == 64
    convolutions = [m for m in encoder.clip.visual.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.kernel_size for m in convolutions[:3]] == [(3, 3)] * 3


def test_features_of_a_picture_do_not_depend_on_its_batch() -> None:
    register_towers()
    torch.manual_seed(0)
    tower = timm.create_model("cirray_resnet10", num_classes=0).eval()
    pictures = torch.randn(5, 3, 64, 64)
    with torch.inference_mode():
        together, alone = tower(pictures), torch.cat([tower(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_there_are_no_published_weights() -> None:
    with pytest.raises(ValueError, match="no published weights"):
        cirray_resnet10(pretrained=True)
