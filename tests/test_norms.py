"""Balanced lengths of image and text features: equal means, and the same cosine similarities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cirray.config.backbone import Backbone
from cirray.config.data import Preprocess
from cirray.models.build import build_encoder
from cirray.models.norms import balance_norms

MODELS = ["cirray-tiny", "ViT-S-32"]


@pytest.mark.parametrize("model", MODELS)
def test_features_are_equally_long_and_rank_as_before(model: str) -> None:
    encoder = build_encoder(Backbone(model=model), Preprocess(), 0)
    size = encoder.image_input.size
    pixels = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = encoder.tokenize(["red", "a blue dress", "long sleeves"])
    with torch.inference_mode():
        image, text = encoder.encode_image(pixels), encoder.encode_text(tokens)
        balance_norms(encoder, image, 3.0 * text)
        balanced = encoder.encode_image(pixels)
        assert torch.equal(encoder.encode_text(tokens), text)
    assert balanced.norm(dim=-1).mean() == pytest.approx(3.0 * float(text.norm(dim=-1).mean()), rel=1e-4)
    torch.testing.assert_close(F.normalize(balanced, dim=-1), F.normalize(image, dim=-1), rtol=1e-4, atol=1e-5)


def test_a_tower_without_a_last_projection_stays() -> None:
    encoder = build_encoder(Backbone(model="RN50"), Preprocess(), 0)
    before = {name: tensor.clone() for name, tensor in encoder.clip.state_dict().items()}
    balance_norms(encoder, torch.ones(2, encoder.dim), torch.full((2, encoder.dim), 3.0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.clip.state_dict().items())
