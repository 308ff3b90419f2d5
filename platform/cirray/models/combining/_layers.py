"""Layers that combining functions share."""

from __future__ import annotations

from torch import Tensor, nn


def two_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Returns a perceptron with one hidden layer: [B, inputs] -> [B, outputs]."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


def projection(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Returns a projection as in the Combiner: [B, inputs] -> [B, outputs]."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))


def tokens(inputs: int, count: int, width: int) -> nn.Sequential:
    """Returns a linear map that splits a feature into tokens: [B, inputs] -> [B, count, width]."""
    return nn.Sequential(nn.Linear(inputs, count * width), nn.Unflatten(-1, (count, width)))


def head_multiple(width: int, heads: int) -> int:
    """Returns the smallest multiple of `heads` that is at least `width`, so that any width can be configured."""
    return heads * -(-width // heads)


def split_heads(features: Tensor, heads: int) -> Tensor:
    """Splits the features of T tokens into attention heads: [B, T, w] -> [B, heads, T, w / heads]."""
    return features.unflatten(-1, (heads, features.shape[-1] // heads)).transpose(1, 2)


def merge_heads(features: Tensor) -> Tensor:
    """Undoes `split_heads`: [B, heads, T, w / heads] -> [B, T, w]."""
    return features.transpose(1, 2).flatten(-2)
