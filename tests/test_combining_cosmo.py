"""CoSMo against its equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.cosmo import HEADS, TOKENS, CoSMo
from tests.support.slow_layers import State, attention, dot, linear, mean, sigmoid, softmax, tokens, two_layers, unit
from tests.test_combining_combiner import features


def block(state: State, name: str, content: list[Tensor], text: Tensor) -> list[Tensor]:
    """The mean of the values with the sum of two weights: between tokens, and of the text to a token."""
    values = [linear(state, f"{name}.value", linear(state, f"{name}.join", torch.cat([x, text]))) for x in content]
    queries = [linear(state, f"{name}.query", x) for x in content]
    keys = [linear(state, f"{name}.key", x) for x in content]
    between = attention(queries, keys, values, HEADS)
    asked, width = linear(state, f"{name}.text_query", text), len(text_part(values[0], 0))
    by_text = []
    for head in range(HEADS):
        scores = torch.stack([dot(text_part(asked, head), text_part(x, head)) for x in content])
        weights = softmax(scores / math.sqrt(width))
        by_text.append(mean([len(content) * w * text_part(v, head) for w, v in zip(weights, values, strict=True)]))
    return [linear(state, f"{name}.output", x + torch.cat(by_text)) for x in between]


def text_part(x: Tensor, head: int) -> Tensor:
    width = len(x) // HEADS
    return x[head * width : (head + 1) * width]


def by_the_equations(state: State, image: Tensor, text: Tensor) -> Tensor:
    places = tokens(state, "tokens", image, TOKENS)
    mu = mean(places)
    sigma = (mean([(x - mu) * (x - mu) for x in places]) + 1e-5).sqrt()
    content = [(x - mu) / sigma for x in places]
    for number in range(2):
        changes = block(state, f"blocks.{number}", content, text)
        content = [x + state["block_weights"][number] * y for x, y in zip(content, changes, strict=True)]
    more, shift = linear(state, "style", text).chunk(2)
    keep_sigma, keep_mu = sigmoid(linear(state, "style_gate", text)).chunk(2)
    styled = [(keep_sigma * sigma + 1 + more) * x + keep_mu * mu + shift for x in content]
    return unit(two_layers(state, "output", mean(styled)))


def test_content_then_style() -> None:
    torch.manual_seed(0)
    cosmo = CoSMo(6, 30, 7).double().eval()
    cosmo.block_weights.data = torch.tensor([0.7, -0.4]).double()
    image, text = (part.double() for part in features(3, 6))
    expected = torch.stack([by_the_equations(cosmo.state_dict(), *pair) for pair in zip(image, text, strict=True)])
    torch.testing.assert_close(cosmo(image, text), expected, atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_combining(6, CombiningSettings(function="cosmo", projection=30, hidden=5, dropout_output=0.2))
    assert isinstance(module, CoSMo)
    assert {part.p for part in module.modules() if isinstance(part, nn.Dropout)} == {0.2}
    assert module.state_dict()["output.0.weight"].shape == (5, 16)  # p / 2, rounded up to a multiple of the heads
