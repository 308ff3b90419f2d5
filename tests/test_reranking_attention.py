"""The reranker `attention` against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.reranking import RerankerSettings
from cirray.models.reranking import build_reranker
from cirray.models.reranking.attention import HEADS, TOKENS, CrossAttention
from tests.support.slow_layers import State, attention, dot, linear, tokens, two_layers, unit
from tests.test_combining_maaf import layer_norm
from tests.test_reranking import inputs, shaken


def score(state: State, image: Tensor, text: Tensor, query: Tensor, candidate: Tensor) -> Tensor:
    state = {**state, "last_norm.bias": torch.zeros(())}
    r, t = unit(image), unit(candidate)
    parts = (r, unit(text), query)
    context = [token for number, part in enumerate(parts) for token in tokens(state, f"context.{number}", part, TOKENS)]
    x = linear(state, "candidate", torch.cat([t, len(t) ** 0.5 * query * t, t - r]))
    q, k, v = (
        {"in.weight": w, "in.bias": b}
        for w, b in zip(
            state["attention.in_proj_weight"].chunk(3), state["attention.in_proj_bias"].chunk(3), strict=True
        )
    )
    asked = [linear(q, "in", layer_norm(state, "first_norm", x))]
    keys, values = ([linear(projection, "in", token) for token in context] for projection in (k, v))
    x = x + linear(state, "attention.out_proj", attention(asked, keys, values, HEADS)[0])
    x = x + two_layers(state, "feedforward", layer_norm(state, "second_norm", x))
    return state["cosine_weight"] * dot(query, t) + linear(state, "output", layer_norm(state, "last_norm", x))[0]


def test_candidates_attend_to_reference_text_and_query() -> None:
    reranker = shaken(CrossAttention(6, 10, 0.1)).double().eval()
    parts = [part.double() for part in inputs()]
    expected = [
        [score(reranker.state_dict(), *query, candidate) for candidate in candidates]
        for *query, candidates in zip(*parts, strict=True)
    ]
    torch.testing.assert_close(reranker.score(*parts), torch.tensor(expected).double(), atol=1e-9, rtol=0)
    with torch.inference_mode():  # PyTorch has another implementation of attention for it
        torch.testing.assert_close(reranker.score(*parts), torch.tensor(expected).double(), atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_reranker(6, RerankerSettings(function="attention", hidden=10, dropout=0.2))
    assert isinstance(module, CrossAttention)
    assert module.attention.dropout == 0.2
    assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.2]
    assert module.output.weight.shape == (1, 12)  # h, rounded up to a multiple of the heads
