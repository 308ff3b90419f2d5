"""ComposeAE against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.composeae import CHANNELS, POSITIONS, ComposeAE
from tests.support.slow_layers import State, two_layers, unit
from tests.test_combining_combiner import features


def convolution(state: State, rows: list[Tensor]) -> Tensor:
    """Kernels of three places over `rows`, with zeros beyond both ends: [CHANNELS, places]."""
    places = len(rows[0])
    result = torch.zeros(CHANNELS, places).to(rows[0])
    for channel in range(CHANNELS):
        for place in range(places):
            total = state["rho_conv.0.bias"][channel].clone()
            for number, row in enumerate(rows):
                for offset in (-1, 0, 1):
                    if 0 <= place + offset < places:
                        total += state["rho_conv.0.weight"][channel, number, offset + 1] * row[place + offset]
            result[channel, place] = total
    return result


def maxima(rows: Tensor) -> Tensor:
    """The largest value in each of POSITIONS windows that cover the places."""
    places = rows.shape[1]
    windows = [(n * places // POSITIONS, -(-(n + 1) * places // POSITIONS)) for n in range(POSITIONS)]
    return torch.stack([rows[:, start:stop].max(dim=1).values for start, stop in windows], dim=1)


def by_the_equations(state: State, image: Tensor, text: Tensor) -> Tensor:
    gamma, eta = two_layers(state, "gamma", text), two_layers(state, "eta", image)
    phi = torch.exp(1j * gamma) * eta
    linear = two_layers(state, "rho", torch.cat([phi.real, phi.imag]))
    pooled = maxima(convolution(state, [eta, gamma, phi.real, phi.imag]))
    convolved = two_layers(state, "rho_conv", pooled.flatten(), first=3)
    return unit(state["weights"][0] * linear + state["weights"][1] * convolved)


def test_the_text_rotates_the_image() -> None:
    torch.manual_seed(0)
    composed = ComposeAE(5, 19, 7).double().eval()
    composed.weights.data = torch.tensor([0.7, -0.4]).double()
    image, text = (part.double() for part in features(2, 5))
    expected = torch.stack([by_the_equations(composed.state_dict(), *pair) for pair in zip(image, text, strict=True)])
    torch.testing.assert_close(composed(image, text), expected.detach(), atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    dropouts = {"dropout_projection": 0.1, "dropout_output": 0.2}
    settings = CombiningSettings.model_validate({"function": "composeae", "projection": 3, "hidden": 5, **dropouts})
    module = build_combining(6, settings)
    assert isinstance(module, ComposeAE)
    rates = {name: part.p for name, part in module.named_modules() if isinstance(part, nn.Dropout)}
    assert rates == {"gamma.2": 0.1, "eta.2": 0.1, "rho.2": 0.2, "rho_conv.5": 0.2}
    assert module.state_dict()["gamma.3.weight"].shape == (3, 5)
