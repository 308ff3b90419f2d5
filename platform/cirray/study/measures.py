"""Numbers that say how a set of features uses its space.

Shapes: N features of width d, unit length unless said otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spectrum(features: Tensor) -> Tensor:
    """Returns the share of each direction in the spread of the features, the mean removed: their singular values,
    largest first, of sum 1; float64 [min(N, d)]."""
    values = torch.linalg.svdvals((features - features.mean(dim=0)).double())
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)


def effective_rank(shares: Tensor) -> float:
    """Returns how many directions the features of a `spectrum` spread over, 1 to min(N, d): exp of the entropy of the
    shares (Roy and Vetterli, 2007)."""
    return float(torch.exp(torch.special.entr(shares).sum()))


def uniformity(features: Tensor) -> float:
    """Returns log of the mean of exp(-2 |x - y|^2) over pairs of different rows: 0 where all are one point, lower
    the more evenly they cover the sphere (Wang and Isola, 2020)."""
    count = len(features)
    distances = 2 - 2 * (features.double() @ features.double().T)
    kernel = torch.exp(-2 * distances.clamp(min=0))
    return float(torch.log((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))))


def alignment(query: Tensor, target: Tensor) -> float:
    """Returns the mean of |q - t|^2 of queries and their own targets, 0 to 4 (Wang and Isola, 2020)."""
    return float((query.double() - target.double()).square().sum(dim=1).mean())


def sparsity(features: Tensor) -> float:
    """Returns the mean sparsity of the rows: 0 where all entries are of one size, 1 where one alone is not zero
    (Hoyer, 2004)."""
    root = features.shape[1] ** 0.5
    ratio = features.double().abs().sum(dim=1) / features.double().norm(dim=1)
    return float(((root - ratio) / (root - 1)).mean())


def separation(positive: Tensor, negative: Tensor) -> float:
    """Returns the probability that a query is nearer to its target than to another image: the mean over queries of
    the share of their negatives that score lower; ties count half.

    Args:
        positive: [T] similarity of each query and its target.
        negative: [T, M] similarity of each query and other images.
    """
    own = positive.unsqueeze(1)
    return float(((negative < own).double() + 0.5 * (negative == own).double()).mean())
