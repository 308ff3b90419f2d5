"""ARTEMIS against its scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.artemis import Artemis
from tests.support.slow_layers import State, dot, linear, relu, softmax, two_layers, unit
from tests.test_combining_combiner import features


def score(state: State, image: Tensor, text: Tensor, target: Tensor) -> Tensor:
    """Explicit matching plus implicit similarity, without the normalization of the target's side."""
    m = relu(linear(state, "text_projection.0", text))
    explicit = softmax(two_layers(state, "explicit_attention", m))
    implicit = softmax(two_layers(state, "implicit_attention", m))
    transformed = unit(linear(state, "transform", m))
    return dot(transformed, explicit * target) + dot(unit(implicit * image), implicit * target)


def test_one_inner_product_is_both_scores() -> None:
    """Scores of a query for all targets, up to the length of the query feature, which is one factor per query."""
    torch.manual_seed(0)
    artemis = Artemis(6, 8, 9).double().eval()
    image, text = (part.double() for part in features(3, 6))
    targets = features(7, 6, seed=1)[0].double()
    state = artemis.state_dict()
    for query, r, m in zip(artemis(image, text).detach(), image, text, strict=True):
        expected = torch.stack([score(state, r, m, target) for target in targets])
        found = targets @ query
        assert float(dot(found, expected)) > 0
        torch.testing.assert_close(unit(found), unit(expected), atol=1e-9, rtol=0)


def test_the_implicit_part_is_the_squared_attention() -> None:
    """As in the docstring: up to a positive factor, what the query keeps of the image is B(m)^2 * r."""
    torch.manual_seed(0)
    artemis = Artemis(6, 8, 9).double().eval()
    state = artemis.state_dict()
    (image,), (text,) = (part.double() for part in features(1, 6))
    m = relu(linear(state, "text_projection.0", text))
    explicit = softmax(two_layers(state, "explicit_attention", m)) * unit(linear(state, "transform", m))
    implicit = softmax(two_layers(state, "implicit_attention", m))
    factor = 1 / (implicit * image).norm()
    expected = unit(explicit + factor * implicit * implicit * image)
    torch.testing.assert_close(artemis(image[None], text[None])[0], expected, atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    dropouts = {"dropout_projection": 0.1, "dropout_output": 0.2}
    settings = CombiningSettings.model_validate({"function": "artemis", "projection": 3, "hidden": 5, **dropouts})
    module = build_combining(6, settings)
    assert isinstance(module, Artemis)
    rates = {name: part.p for name, part in module.named_modules() if isinstance(part, nn.Dropout)}
    assert rates == {"text_projection.2": 0.1, "explicit_attention.2": 0.2, "implicit_attention.2": 0.2}
    assert module.state_dict()["explicit_attention.0.weight"].shape == (5, 3)
