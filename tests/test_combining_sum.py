"""The element-wise sum."""

from __future__ import annotations

import torch

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.sum import Sum


def test_sum_adds_raw_features() -> None:
    image, text = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    torch.testing.assert_close(Sum()(image, text), torch.tensor([[0.6, 0.8]]))
    assert not list(Sum().parameters())
    assert not Sum().state_dict()


def test_it_is_a_choice_of_the_configuration() -> None:
    assert isinstance(build_combining(6, CombiningSettings(function="sum")), Sum)
