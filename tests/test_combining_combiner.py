"""The Combiner against the equations of the paper."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cirray.config.training import CombiningSettings
from cirray.models.combining import build_combining
from cirray.models.combining.combiner import Combiner


def features(count: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    image = 3 * torch.randn(count, dim, generator=random)
    return image, torch.randn(count, dim, generator=random) + 0.2


def small(dim: int = 6, projection: int = 5, hidden: int = 7, dropout: float = 0.5, seed: int = 0) -> Combiner:
    torch.manual_seed(seed)
    return Combiner(dim, projection, hidden, dropout, dropout, dropout)


def by_the_equations(state: dict[str, Tensor], image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """The Combiner of the paper (section 3.2) without dropout; unit query features and lambda."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def relu(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))

    t = relu(linear("text_projection_layer", text))
    v = relu(linear("image_projection_layer", image))
    c = torch.cat((t, v), dim=1)
    text_weight = 1 / (1 + torch.exp(-linear("dynamic_scalar.3", relu(linear("dynamic_scalar.0", c)))))
    out = linear("output_layer", relu(linear("combiner_layer", c))) + text_weight * text + (1 - text_weight) * image
    return out / (out * out).sum(dim=1, keepdim=True).sqrt(), text_weight


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))
def test_combiner_is_the_papers(count: int, dim: int, projection: int, hidden: int, seed: int) -> None:
    combiner = small(dim, projection, hidden, seed=seed).double().eval()
    image, text = (part.double() for part in features(count, dim, seed))
    expected, text_weight = by_the_equations(combiner.state_dict(), image, text)
    found = combiner(image, text)
    assert found.shape == (count, dim)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(combiner.compose(image, text)[1], text_weight, atol=1e-9, rtol=0)
    assert bool(((text_weight > 0) & (text_weight < 1)).all())
    torch.testing.assert_close(found.norm(dim=1), torch.ones(count, dtype=torch.double))


def test_combiner_in_single_precision() -> None:
    combiner = small(16, 24, 48).eval()
    image, text = features(9, 16)
    expected, _ = by_the_equations(combiner.state_dict(), image, text)
    torch.testing.assert_close(combiner(image, text), expected, atol=1e-6, rtol=0)


def test_combiner_has_the_references_keys_and_shapes() -> None:
    with torch.device("meta"):
        combiner = Combiner(640)
    d, p, h = 640, 2560, 5120
    assert {name: tuple(tensor.shape) for name, tensor in combiner.state_dict().items()} == {
        "text_projection_layer.weight": (p, d),
        "text_projection_layer.bias": (p,),
        "image_projection_layer.weight": (p, d),
        "image_projection_layer.bias": (p,),
        "combiner_layer.weight": (h, 2 * p),
        "combiner_layer.bias": (h,),
        "output_layer.weight": (d, h),
        "output_layer.bias": (d,),
        "dynamic_scalar.0.weight": (h, 2 * p),
        "dynamic_scalar.0.bias": (h,),
        "dynamic_scalar.3.weight": (1, h),
        "dynamic_scalar.3.bias": (1,),
    }


def test_dropout_is_where_the_paper_has_it() -> None:
    with torch.device("meta"):
        combiner = Combiner(8, 4, 4, 0.1, 0.2, 0.3)
    assert combiner.dropout_projection.p == 0.1
    assert combiner.dropout_output.p == 0.2
    assert isinstance(combiner.dynamic_scalar[2], nn.Dropout)
    assert combiner.dynamic_scalar[2].p == 0.3


class Halves(nn.Module):
    """Stands in for a dropout layer: multiplies with its factor, so that its effect can be told exactly."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_each_dropout_acts_on_its_own_activations() -> None:
    combiner, (image, text) = small().double().eval(), features(4, 6)
    image, text = image.double(), text.double()
    combiner.dropout_projection, combiner.dropout_output = Halves(2.0), Halves(3.0)  # type: ignore[assignment]
    combiner.dynamic_scalar[2] = Halves(5.0)
    state = {name: tensor.clone() for name, tensor in combiner.state_dict().items()}
    for name in ("text_projection_layer", "image_projection_layer"):  # ReLU is homogeneous
        state[f"{name}.weight"] *= 2.0
        state[f"{name}.bias"] *= 2.0
    state["output_layer.weight"] *= 3.0
    state["dynamic_scalar.3.weight"] *= 5.0
    expected, _ = by_the_equations(state, image, text)
    torch.testing.assert_close(combiner(image, text), expected, atol=1e-9, rtol=0)


def test_dropout_only_while_training() -> None:
    combiner, (image, text) = small(12, 64, 64), features(3, 12)
    torch.manual_seed(1)
    assert not torch.equal(combiner.train()(image, text), combiner(image, text))
    assert torch.equal(combiner.eval()(image, text), combiner(image, text))


def mean_cosine_loss(query: Tensor, target: Tensor) -> Tensor:
    return -(query * target).sum(dim=1).mean()


def test_gradients_reach_all_parameters_and_are_right() -> None:
    combiner, (image, text) = small(8, 16, 32, dropout=0.0).double(), features(5, 8)
    image, text = image.double(), text.double()
    target = torch.nn.functional.normalize(features(5, 8, 1)[0].double(), dim=1)
    copies = {name: p.detach().clone().requires_grad_() for name, p in combiner.named_parameters()}
    mean_cosine_loss(combiner(image, text), target).backward()
    mean_cosine_loss(by_the_equations(copies, image, text)[0], target).backward()
    for name, parameter in combiner.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().sum() > 0), name
        torch.testing.assert_close(parameter.grad, copies[name].grad, atol=1e-10, rtol=1e-8)


def test_one_adam_step_is_that_of_the_equations() -> None:
    combiner, (image, text) = small(8, 16, 32, dropout=0.0).double(), features(5, 8)
    image, text = image.double(), text.double()
    target = torch.nn.functional.normalize(features(5, 8, 1)[0].double(), dim=1)
    copies = {name: p.detach().clone().requires_grad_() for name, p in combiner.named_parameters()}
    mean_cosine_loss(by_the_equations(copies, image, text)[0], target).backward()
    lr, eps = 2e-5, 1e-8
    expected = {}
    for name, copy in copies.items():  # Adam's first step: both moments' bias corrections leave g and |g|
        assert copy.grad is not None
        expected[name] = copy.detach() - lr * copy.grad / (copy.grad.abs() + eps)
    optimizer = torch.optim.Adam(combiner.parameters(), lr=lr, eps=eps)
    mean_cosine_loss(combiner(image, text), target).backward()
    optimizer.step()
    for name, parameter in combiner.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-9, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    dropouts = {"dropout_projection": 0.1, "dropout_output": 0.2, "dropout_text_weight": 0.3}
    settings_ = CombiningSettings.model_validate({"function": "combiner", "projection": 3, "hidden": 5, **dropouts})
    module = build_combining(6, settings_)
    assert isinstance(module, Combiner)
    assert (module.dropout_projection.p, module.dropout_output.p) == (0.1, 0.2)
    assert isinstance(module.dynamic_scalar[2], nn.Dropout) and module.dynamic_scalar[2].p == 0.3
    assert module.text_projection_layer.weight.shape == (3, 6)
    assert module.combiner_layer.weight.shape == (5, 6)
