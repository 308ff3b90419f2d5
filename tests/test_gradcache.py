"""Cached gradients: any chunk gives the loss and the gradients of the whole batch."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cirray.training.gradcache import backward_in_chunks


def network(dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def coupled(features: tuple[Tensor, ...]) -> Tensor:
    """A loss in which every row matters to every other."""
    first, last = features[0], features[-1]
    return torch.logsumexp(first @ last.T, dim=1).mean() + (first**2).sum(dim=1).mean() * 0.1


def gradients(model: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def inputs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


Encode = Callable[[slice], tuple[Tensor, ...]]


def assert_chunked_is_whole(make: Callable[[nn.Module], Encode], model: nn.Module, count: int, chunk: int) -> None:
    other = copy.deepcopy(model)
    whole = coupled(make(model)(slice(0, count)))
    whole.backward()
    found = backward_in_chunks(make(other), count, chunk, coupled)
    assert not found.requires_grad
    torch.testing.assert_close(found, whole.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients(other), gradients(model), atol=1e-5, rtol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 13), st.integers(1, 15))
def test_chunked_is_whole(count: int, chunk: int) -> None:
    x = inputs(count)
    assert_chunked_is_whole(lambda model: lambda rows: (model(x[rows]),), network(), count, chunk)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 13), st.integers(1, 15))
def test_two_outputs_of_which_both_are_trained(count: int, chunk: int) -> None:
    x, y = inputs(count), inputs(count, 1)
    assert_chunked_is_whole(lambda model: lambda rows: (model(x[rows]), model(y[rows])), network(), count, chunk)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 13), st.integers(1, 15))
def test_two_outputs_of_which_one_is_frozen(count: int, chunk: int) -> None:
    x, frozen = inputs(count), inputs(count, 1)[:, :3]
    assert_chunked_is_whole(lambda model: lambda rows: (model(x[rows]), frozen[rows]), network(), count, chunk)


def test_no_chunk_is_the_whole() -> None:
    x, model, other = inputs(5), network(), network()
    backward_in_chunks(lambda rows: (model(x[rows]),), 5, None, coupled)
    coupled((other(x),)).backward()
    torch.testing.assert_close(gradients(model), gradients(other), atol=0, rtol=0)


def test_dropout_draws_the_same_numbers_in_both_passes() -> None:
    x, model, chunk = inputs(7), network(dropout=0.5).train(), 3
    seen: dict[tuple[int, int], list[Tensor]] = {}

    def encode(rows: slice) -> tuple[Tensor, ...]:
        out = model(x[rows])
        seen.setdefault((rows.start, rows.stop), []).append(out.detach().clone())
        return (out,)

    torch.manual_seed(3)
    loss = backward_in_chunks(encode, 7, chunk, coupled)
    found, after = gradients(model), torch.rand(4)
    assert sorted(seen) == [(0, 3), (3, 6), (6, 7)]
    for first, second in seen.values():
        assert torch.equal(first, second)
    # the oracle runs the chunks once, one after the other, with a graph
    model.zero_grad()
    torch.manual_seed(3)
    pieces = [model(x[start : start + chunk]) for start in range(0, 7, chunk)]
    expected = coupled((torch.cat(pieces),))
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found, gradients(model), atol=1e-5, rtol=1e-5)
    assert torch.equal(after, torch.rand(4))  # and what comes later draws on as if there had been one pass


@pytest.mark.parametrize("chunk", [None, 2])
def test_the_scale_of_the_gradients_is_not_in_the_loss(chunk: int | None) -> None:
    x, model, other = inputs(5), network(), network()
    scaled = backward_in_chunks(lambda rows: (model(x[rows]),), 5, chunk, coupled, lambda loss: loss * 1024.0)
    plain = backward_in_chunks(lambda rows: (other(x[rows]),), 5, chunk, coupled)
    torch.testing.assert_close(scaled, plain)
    torch.testing.assert_close(gradients(model), [1024.0 * g for g in gradients(other)], atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("chunk", [None, 2])
def test_parameters_of_the_loss_itself_get_their_gradient_once(chunk: int | None) -> None:
    x, model, scale = inputs(5), network(), nn.Parameter(torch.tensor(2.0))
    backward_in_chunks(lambda rows: (model(x[rows]),), 5, chunk, lambda f: scale * coupled(f))
    assert scale.grad is not None
    torch.testing.assert_close(scale.grad, coupled((model(x),)).detach(), atol=1e-5, rtol=1e-5)


def test_at_most_a_chunk_has_activations_at_a_time() -> None:
    x, model = inputs(9), network()
    with_graph = []

    def encode(rows: slice) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            with_graph.append(rows.stop - rows.start)
        return (model(x[rows]),)

    backward_in_chunks(encode, 9, 4, coupled)
    assert with_graph == [4, 4, 1]
