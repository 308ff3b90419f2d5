"""Residual gating against its equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.gated import Gated
from tests.test_combining_combiner import features


def test_gated_is_residual_gating() -> None:
    torch.manual_seed(0)
    gated, (image, text) = Gated(4, 9).eval(), features(3, 4)
    gated.weights.data = torch.tensor([0.7, -0.4])
    joined = torch.cat((text, image), dim=1)

    def two_layers(layers: nn.Sequential) -> Tensor:
        first, last = layers[0], layers[3]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        return (joined @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias

    mixed = 0.7 * image / (1 + torch.exp(-two_layers(gated.gate))) - 0.4 * two_layers(gated.residual)
    torch.testing.assert_close(gated(image, text), mixed / mixed.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)
    gated(image, text)[:, 0].sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in gated.parameters())


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_combining(6, CombiningSettings(function="gated", hidden=5, dropout_output=0.2))
    assert isinstance(module, Gated)
    assert isinstance(module.gate[2], nn.Dropout) and module.gate[2].p == 0.2
