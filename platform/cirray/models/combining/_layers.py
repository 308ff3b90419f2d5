"""Layers that combining functions share."""

from __future__ import annotations

from torch import nn


def two_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Returns a perceptron with one hidden layer: [B, inputs] -> [B, outputs]."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))
