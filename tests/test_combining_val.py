"""VAL against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.val import HEADS, LEVELS, VAL
from tests.support.slow_layers import State, attention, linear, mean, sigmoid, tokens, two_layers, unit
from tests.test_combining_combiner import features


def level(state: State, name: str, count: int, image: Tensor, text: Tensor) -> Tensor:
    places = tokens(state, f"{name}.locations", image, count)
    told = linear(state, f"{name}.text", text)
    joined = [two_layers(state, f"{name}.join", torch.cat([place, told])) for place in places]
    parts = [linear(state, f"{name}.attention_inputs", one).chunk(3) for one in joined]
    queries, keys, values = (list(group) for group in zip(*parts, strict=True))
    changed = [linear(state, f"{name}.attention_output", one) for one in attention(queries, keys, values, HEADS)]
    channels = sigmoid(linear(state, f"{name}.channel_gate", mean(joined)))
    locations = sigmoid(linear(state, f"{name}.location_gate", torch.stack([one.mean() for one in joined])))
    preserve, change = state[f"{name}.weights"]
    composite = [preserve * locations[n] * channels * places[n] + change * changed[n] for n in range(count)]
    return linear(state, f"{name}.output", mean(composite))


def test_levels_preserve_and_change() -> None:
    torch.manual_seed(0)
    val = VAL(6, 18, 7).double().eval()
    for number, part in enumerate(val.levels):
        part.weights.data = torch.tensor([0.7 + number, number - 1.4]).double()
    state = val.state_dict()
    image, text = (part.double() for part in features(3, 6))
    for found, one, words in zip(val(image, text), image, text, strict=True):
        parts = [level(state, f"levels.{number}", count, one, words) for number, count in enumerate(LEVELS)]
        torch.testing.assert_close(found, unit(parts[0] + parts[1] + parts[2]), atol=1e-9, rtol=0)


def test_the_sum_over_levels_is_one_inner_product() -> None:
    """As in the docstring: inner products at each level with linear maps of the target add up to one with the target,
    so the ranking is the same."""
    torch.manual_seed(0)
    val = VAL(6, 18, 7).double().eval()
    for part in val.levels:
        part.output.bias.data.zero_()
    state = val.state_dict()
    (image,), (text,) = (part.double() for part in features(1, 6))
    targets = features(7, 6, seed=1)[0].double()
    scores = torch.zeros(7).double()
    for number, part in enumerate(val.levels):
        composites: list[Tensor] = []
        part.output.register_forward_pre_hook(lambda _, inputs, kept=composites: kept.append(inputs[0][0]))
        part(image[None], text[None])
        scores += torch.stack(
            [(composites[0] * (state[f"levels.{number}.output.weight"].T @ t)).sum() for t in targets]
        )
    found = targets @ val(image[None], text[None])[0]
    torch.testing.assert_close(unit(found), unit(scores.detach()), atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_combining(6, CombiningSettings(function="val", projection=18, hidden=5, dropout_output=0.2))
    assert isinstance(module, VAL)
    assert {part.p for part in module.modules() if isinstance(part, nn.Dropout)} == {0.2}
    widths = [module.state_dict()[f"levels.{number}.join.3.weight"].shape for number in range(len(LEVELS))]
    assert widths == [(4, 5), (6, 5), (10, 5)]  # p / 8, p / 4 and p / 2, rounded up to a multiple of the heads
