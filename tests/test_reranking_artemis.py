"""The reranker `artemis` against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.reranking import RerankerSettings
from cirray.models.reranking import build_reranker
from cirray.models.reranking.artemis import Artemis
from tests.support.slow_layers import State, dot, softmax, two_layers, unit
from tests.test_reranking import inputs, shaken


def score(state: State, image: Tensor, text: Tensor, query: Tensor, candidate: Tensor) -> Tensor:
    m, r, t = unit(text), unit(image), unit(candidate)
    explicit = softmax(two_layers(state, "explicit_attention", m))
    implicit = softmax(two_layers(state, "implicit_attention", m))
    matching = dot(unit(two_layers(state, "transform", m)), unit(explicit * t))
    similarity = dot(unit(implicit * r), unit(implicit * t))
    first, second = state["weights"]
    return state["cosine_weight"] * dot(query, t) + first * matching + second * similarity


def test_scores_are_matching_and_similarity_and_the_first_stages() -> None:
    artemis = shaken(Artemis(6, 9, 0.1)).double().eval()
    parts = [part.double() for part in inputs()]
    expected = [
        [score(artemis.state_dict(), *query, candidate) for candidate in candidates]
        for *query, candidates in zip(*parts, strict=True)
    ]
    torch.testing.assert_close(artemis.score(*parts), torch.tensor(expected).double(), atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_reranker(6, RerankerSettings(function="artemis", hidden=5, dropout=0.2))
    assert isinstance(module, Artemis)
    assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.2] * 3
    assert module.state_dict()["explicit_attention.0.weight"].shape == (5, 6)
