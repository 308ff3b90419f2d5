"""What holds of every combining function that the configuration can choose."""

from __future__ import annotations

import pytest
import torch

from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.training import CombiningSettings
from cirray.models.combining import CombiningFunction, build_combining, is_trainable
from tests.test_combining_combiner import features


@pytest.fixture(params=COMBINING_FUNCTIONS)
def chosen(request: pytest.FixtureRequest) -> CombiningSettings:
    return CombiningSettings(function=request.param, projection=3, hidden=5)


@pytest.fixture
def function(chosen: CombiningSettings) -> CombiningFunction:
    torch.manual_seed(0)
    return build_combining(6, chosen).eval()


def test_query_features_have_unit_length(function: CombiningFunction) -> None:
    image, text = features(4, 6)
    found = function(image, text)
    assert found.shape == (4, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))


def test_a_text_weight_can_be_set_where_there_is_one(function: CombiningFunction) -> None:
    image, text = features(4, 6)
    found, weight = function.compose(image, text)
    assert (weight is not None) == function.has_text_weight
    torch.testing.assert_close(found, function(image, text))
    if weight is None:
        with pytest.raises(ValueError, match="has no text weight to set"):
            function.compose(image, text, torch.full((4, 1), 0.5))
    else:
        torch.testing.assert_close(function.compose(image, text, weight), (found, weight))
        assert not torch.allclose(function.compose(image, text, 1 - weight / 2)[0], found)


def test_trainable_means_that_there_are_parameters(chosen: CombiningSettings, function: CombiningFunction) -> None:
    assert is_trainable(chosen) == function.is_trainable() == bool(list(function.parameters()))


def test_both_kinds_exist() -> None:
    assert {is_trainable(CombiningSettings(function=name)) for name in COMBINING_FUNCTIONS} == {True, False}
