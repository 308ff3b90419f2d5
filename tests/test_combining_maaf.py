"""MAAF against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.maaf import BLOCKS, HEADS, MAAF, TOKENS
from tests.support.slow_layers import State, attention, linear, mean, relu, tokens, unit
from tests.test_combining_combiner import features


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def block(state: State, name: str, sequence: list[Tensor]) -> list[Tensor]:
    inputs = {
        "in.weight": state[f"{name}.self_attn.in_proj_weight"],
        "in.bias": state[f"{name}.self_attn.in_proj_bias"],
    }
    parts = [linear(inputs, "in", layer_norm(state, f"{name}.norm1", token)).chunk(3) for token in sequence]
    queries, keys, values = (list(group) for group in zip(*parts, strict=True))
    attended = attention(queries, keys, values, HEADS)
    sequence = [x + linear(state, f"{name}.self_attn.out_proj", y) for x, y in zip(sequence, attended, strict=True)]
    hidden = [relu(linear(state, f"{name}.linear1", layer_norm(state, f"{name}.norm2", x))) for x in sequence]
    return [x + linear(state, f"{name}.linear2", y) for x, y in zip(sequence, hidden, strict=True)]


def by_the_equations(state: State, image: Tensor, text: Tensor) -> Tensor:
    sequence = [*tokens(state, "image_tokens", image, TOKENS), *tokens(state, "text_tokens", text, TOKENS)]
    for number in range(BLOCKS):
        sequence = block(state, f"blocks.{number}", sequence)
    sequence = [layer_norm(state, f"blocks.{BLOCKS}", token) for token in sequence]
    pooled = (mean(sequence[:TOKENS]) + mean(sequence[TOKENS:])) / 2
    return unit(linear(state, "output", pooled))


def test_image_and_text_tokens_attend_to_each_other() -> None:
    torch.manual_seed(0)
    maaf = MAAF(6, 20, 9).double().eval()
    for parameter in maaf.parameters():  # biases and normalizations that matter
        parameter.data += 0.3 * torch.randn_like(parameter)
    image, text = (part.double() for part in features(3, 6))
    expected = torch.stack([by_the_equations(maaf.state_dict(), *pair) for pair in zip(image, text, strict=True)])
    torch.testing.assert_close(maaf(image, text), expected, atol=1e-9, rtol=0)
    with torch.inference_mode():  # PyTorch has another implementation of the blocks for it
        torch.testing.assert_close(maaf(image, text), expected, atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_combining(6, CombiningSettings(function="maaf", projection=30, hidden=5, dropout_output=0.2))
    assert isinstance(module, MAAF)
    assert {part.p for part in module.modules() if isinstance(part, nn.Dropout)} == {0.2}
    assert module.output.weight.shape == (6, 16)  # p / 2, rounded up to a multiple of the heads
    assert {name: shape for name, shape in shapes(module).items() if "linear1" in name} == {
        f"blocks.{number}.linear1.weight": (5, 16) for number in range(BLOCKS)
    }


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if name.endswith("weight")}
