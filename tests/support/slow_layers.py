"""Layers in slow, obvious code, one example at a time: the oracles of the combining functions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """Applies the linear layer `name` of a state dict to a vector [n]; without a bias if it has none."""
    weight = state[f"{name}.weight"]
    rows = [sum((w * v for w, v in zip(row, x, strict=True)), torch.zeros(()).to(x)) for row in weight]
    bias = state.get(f"{name}.bias")
    return torch.stack(rows) if bias is None else torch.stack(rows) + bias


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def two_layers(state: State, name: str, x: Tensor, first: int = 0) -> Tensor:
    """Applies the perceptron `name`, whose layers have the numbers `first` and `first` + 3."""
    return linear(state, f"{name}.{first + 3}", relu(linear(state, f"{name}.{first}", x)))


def unit(x: Tensor) -> Tensor:
    return x / (x * x).sum().sqrt()


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(x: Tensor) -> Tensor:
    return torch.exp(x) / torch.exp(x).sum()


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


def tokens(state: State, name: str, x: Tensor, count: int) -> list[Tensor]:
    """Applies the map `name` that splits a vector into `count` tokens."""
    whole = linear(state, f"{name}.0", x)
    width = len(whole) // count
    return [whole[place * width : (place + 1) * width] for place in range(count)]


def attention(queries: list[Tensor], keys: list[Tensor], values: list[Tensor], heads: int) -> list[Tensor]:
    """Scaled dot-product attention: each query's mean of the values, one head after the other."""
    width = len(keys[0]) // heads
    found = []
    for query in queries:
        parts = []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            weights = softmax(torch.stack([dot(query[own], key[own]) / math.sqrt(width) for key in keys]))
            parts.append(sum((w * v[own] for w, v in zip(weights, values, strict=True)), torch.zeros(width).to(query)))
        found.append(torch.cat(parts))
    return found


def mean(vectors: list[Tensor]) -> Tensor:
    return torch.stack(vectors).sum(dim=0) / len(vectors)
