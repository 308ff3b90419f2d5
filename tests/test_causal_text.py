"""Batches truncated to their longest caption are encoded exactly as padded ones."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from cirray.models.causal_text import causal_text_tower
from cirray.models.clip import Encoder
from tests.support.encoder_fixtures import TINY, make_encoder, tiny_encoder

BATCHES = {
    "lengths": ["red", "has a floral print and shorter sleeves", "is a bit longer, and has no buttons at all"],
    "one word": ["red"],
    "empty": [""],
    "empty among others": ["", "the same in blue"],
    "too long": ["red", "is much much longer and " * 40],
}
# The text towers of these models as open_clip defines them; image towers shrunk, for they play no part.
TOWERS = ("RN50", "RN50x4", "ViT-B-32", "ViT-B-32-quickgelu")


def shrunk(definition: dict[str, Any], **text: Any) -> dict[str, Any]:
    return {
        **definition,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {**definition["text_cfg"], **text},
    }


@cache
def published(name: str) -> Encoder:
    definition = open_clip.get_model_config(name)
    assert definition is not None
    return make_encoder(shrunk(definition))


@cache
def custom(**changes: Any) -> Encoder:
    return make_encoder({**shrunk(TINY, **changes), "custom_text": True})


def assert_exact(encoder: Encoder, captions: list[str]) -> None:
    tokens = encoder.tokenize(captions)
    assert tokens.shape == (len(captions), encoder.clip.context_length)
    with torch.inference_mode():
        difference = (encoder.encode_text(tokens) - encoder.clip.encode_text(tokens)).abs().max()
    assert float(difference) < 1e-5


@pytest.mark.parametrize("captions", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("name", TOWERS)
def test_cut_is_whole_for_published_text_towers(name: str, captions: list[str]) -> None:
    encoder = published(name)
    assert encoder.cuts_text
    assert_exact(encoder, captions)


@pytest.mark.parametrize("captions", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(
    "changes",
    [{}, {"pool_type": "eos", "eos_id": 49407}, {"pool_type": "first"}, {"proj_bias": True}, {"proj_type": "none"}],
    ids=str,
)
def test_cut_is_whole_for_custom_text_towers(changes: dict[str, Any], captions: list[str]) -> None:
    encoder = custom(**changes)
    assert type(encoder.clip).__name__ == "CustomTextCLIP"
    assert encoder.cuts_text
    assert_exact(encoder, captions)


UNCUT = {
    "not causal, last position (SigLIP)": {"no_causal_mask": True, "pool_type": "last"},
    "not causal, end token": {"no_causal_mask": True},
    "causal, last position": {"pool_type": "last"},
    "class token (CoCa)": {"embed_cls": True, "output_tokens": True},
}


@pytest.mark.parametrize("changes", UNCUT.values(), ids=UNCUT)
def test_other_towers_are_not_truncated(changes: dict[str, Any]) -> None:
    if changes.get("embed_cls"):
        changes = {**changes, "output_tokens": False}
    encoder = custom(**changes)
    assert causal_text_tower(encoder.clip) is None
    assert not encoder.cuts_text
    for captions in BATCHES.values():
        assert_exact(encoder, captions)


def test_coca_is_not_truncated() -> None:
    definition = open_clip.get_model_config("coca_ViT-B-32")
    assert definition is not None
    small = shrunk(definition, layers=2, width=32, heads=2)
    small["vision_cfg"] |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    small["multimodal_cfg"] = {**small["multimodal_cfg"], "layers": 1, "width": 32, "heads": 2}
    small["embed_dim"] = 32
    encoder = make_encoder(small)
    assert type(encoder.clip).__name__ == "CoCa"
    assert not encoder.cuts_text
    tokens = encoder.tokenize(BATCHES["lengths"])
    with torch.inference_mode():
        expected = encoder.clip.encode_text(tokens, normalize=False)
        torch.testing.assert_close(encoder.encode_text(tokens), expected, atol=1e-6, rtol=0)


def gradients(encoder: Encoder, features: Tensor) -> dict[str, Tensor]:
    weights = torch.linspace(-1, 1, features.numel()).reshape(features.shape)
    names, parameters = zip(*encoder.tower_parameters("text"), strict=True)
    found = torch.autograd.grad((features * weights).sum(), parameters)
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("captions", BATCHES.values(), ids=BATCHES)
def test_gradients_are_those_of_the_whole(captions: list[str]) -> None:
    encoder = make_encoder()
    tokens = encoder.tokenize(captions)
    cut = gradients(encoder, encoder.encode_text(tokens))
    whole = gradients(encoder, encoder.clip.encode_text(tokens))
    for name, gradient in cut.items():
        torch.testing.assert_close(gradient, whole[name], atol=2e-5, rtol=1e-4, msg=name)
    assert float(cut["positional_embedding"].abs().sum()) > 0


def test_only_what_is_needed_is_computed() -> None:
    encoder, lengths = tiny_encoder(), []
    hook = encoder.clip.transformer.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    try:
        for captions in (["red", "blue"], ["red", "is dark blue"], ["is much much longer " * 40]):
            encoder.encode_text(encoder.tokenize(captions))
    finally:
        hook.remove()
    assert lengths == [3, 5, 77]  # start, words, end


def test_no_captions() -> None:
    for encoder in (tiny_encoder(), custom(pool_type="eos", eos_id=49407)):
        assert encoder.encode_text(encoder.tokenize([])).shape == (0, encoder.dim)


def test_tokens_are_not_changed() -> None:
    tokens = tiny_encoder().tokenize(BATCHES["lengths"])
    before = deepcopy(tokens)
    tiny_encoder().encode_text(tokens)
    assert torch.equal(tokens, before)
