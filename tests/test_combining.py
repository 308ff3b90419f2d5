"""What holds of every combining function that the configuration can choose."""

from __future__ import annotations

import pytest
import torch

from cirray.config.registry import COMBINING_FUNCTIONS
from cirray.config.training import CombiningSettings
from cirray.models.combining import CombiningFunction, WithAuxiliaryLoss, build_combining, is_trainable
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


@pytest.mark.parametrize(("dim", "projection", "hidden"), [(5, 1, 1), (7, 13, 3), (16, 10, 12)])
def test_any_widths_fit(dim: int, projection: int, hidden: int, chosen: CombiningSettings) -> None:
    settings = chosen.model_copy(update={"projection": projection, "hidden": hidden})
    torch.manual_seed(0)
    function = build_combining(dim, settings).eval()
    torch.testing.assert_close(function(*features(4, dim)).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4])
def test_extreme_features_give_finite_queries_and_gradients(scale: float, function: CombiningFunction) -> None:
    image, text = features(4, 6)
    for inputs in [(image, scale * text), (scale * image, text), (scale * image, scale * text)]:
        function.zero_grad()
        found = function(*inputs)
        assert bool(found.isfinite().all())
        if function.is_trainable():
            found.square().sum(dim=1).sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in function.parameters() if p.grad is not None)


def test_a_query_depends_on_nothing_but_its_own_features(function: CombiningFunction) -> None:
    image, text = features(4, 6)
    found = function(image, text)
    assert torch.equal(function(image, text), found)
    alone = torch.cat([function(image[row : row + 1], text[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(alone, found)
    other = features(4, 6, seed=1)
    assert not torch.allclose(function(other[0], text), found)
    assert not torch.allclose(function(image, other[1]), found)


def test_no_queries_give_no_features(function: CombiningFunction) -> None:
    """The share of a worker may be empty."""
    none = torch.zeros(0, 6)
    assert function.train()(none, none).shape == (0, 6)
    assert function.eval()(none, none).shape == (0, 6)


def test_gradients_reach_every_parameter(chosen: CombiningSettings) -> None:
    torch.manual_seed(0)
    wide = chosen.model_copy(update={"projection": 20, "hidden": 30})
    function = build_combining(6, wide).double().eval()
    image, text = (part.double() for part in features(40, 6))
    target, wanted = (part.double() for part in features(40, 6, seed=1))
    loss = (function(image, text) * wanted).sum()
    if isinstance(function, WithAuxiliaryLoss):
        compared, counterparts = function.auxiliary(image, text, target)
        torch.testing.assert_close(compared.norm(dim=1), torch.ones(40).double())
        torch.testing.assert_close(counterparts.norm(dim=1), torch.ones(40).double())
        loss = loss + (compared * counterparts).sum()
    if function.is_trainable():
        loss.backward()
    for name, parameter in function.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 1e-9, name


def test_dropout_acts_in_training_only(chosen: CombiningSettings) -> None:
    image, text = features(4, 6)
    rates = ("dropout_projection", "dropout_output", "dropout_text_weight")
    for rate in (0.0, 0.5):
        settings = chosen.model_copy(update={"projection": 20, "hidden": 30, **dict.fromkeys(rates, rate)})
        torch.manual_seed(0)
        function = build_combining(6, settings)
        trained, used = function.train()(image, text), function.eval()(image, text)
        same = rate == 0.0 or not is_trainable(chosen)
        assert torch.allclose(trained, used, atol=1e-5) == same


def test_trainable_means_that_there_are_parameters(chosen: CombiningSettings, function: CombiningFunction) -> None:
    assert is_trainable(chosen) == function.is_trainable() == bool(list(function.parameters()))


def test_both_kinds_exist() -> None:
    assert {is_trainable(CombiningSettings(function=name)) for name in COMBINING_FUNCTIONS} == {True, False}
