"""Measures of how a set of features uses the embedding space.

Shapes: N features of width d, of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spectrum(features: Tensor) -> Tensor:
    """Returns the singular values of the centred features [N, d], descending, with sum 1; float64 [min(N, d)]."""
    values = torch.linalg.svdvals((features - features.mean(dim=0)).double())
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)


def effective_rank(values: Tensor) -> float:
    """Returns the effective rank of a `spectrum` [S], 1 to S: exp of its entropy (Roy and Vetterli, 2007)."""
    return float(torch.exp(torch.special.entr(values).sum()))


def uniformity(features: Tensor) -> float:
    """Returns log(mean(exp(-2 |x - y|^2))) over pairs of distinct rows of features [N, d].

    0 if all are equal; lower the more evenly they cover the sphere (Wang and Isola, 2020).
    """
    count = len(features)
    distances = 2 - 2 * (features.double() @ features.double().T)
    kernel = torch.exp(-2 * distances.clamp(min=0))
    return float(torch.log((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))))


def alignment(query: Tensor, target: Tensor) -> float:
    """Returns the mean of |q - t|^2 over queries [N, d] and their targets [N, d], 0 to 4 (Wang and Isola, 2020)."""
    return float((query.double() - target.double()).square().sum(dim=1).mean())


def sparsity(features: Tensor) -> float:
    """Returns the mean sparsity of the rows of features [N, d] (Hoyer, 2004).

    0 if all entries have equal magnitude, 1 if exactly one is nonzero.
    """
    root = features.shape[1] ** 0.5
    ratio = features.double().abs().sum(dim=1) / features.double().norm(dim=1)
    return float(((root - ratio) / (root - 1)).mean())


def separation(positive: Tensor, negative: Tensor) -> float:
    """Returns the mean over queries of the share of their negatives that score lower than the target; ties count half.

    This is the probability that a query is nearer to its target than to a random other image.

    Args:
        positive: [T], similarity of each query to its target.
        negative: [T, M], similarity of each query to other images.
    """
    own = positive.unsqueeze(1)
    return float(((negative < own).double() + 0.5 * (negative == own).double()).mean())
