"""Ranking a gallery for queries: chunked on the device, never a full sort.

Shapes: Q queries, M gallery rows, d feature width. Equal scores keep the gallery's order, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Scores that are held at a time: 128 MiB of float32, and about 0.7 GiB with what is derived from them.
SCORES = 2**25


def gallery_positions(gallery: Tensor, images: int) -> Tensor:
    """Returns where each of `images` image rows lies in a gallery of rows [M], int64 [images]; -1 where it does not."""
    found = torch.full((images,), -1, dtype=torch.long, device=gallery.device)
    found[gallery] = torch.arange(len(gallery), device=gallery.device)
    return found


def target_ranks(
    query: Tensor, gallery: Tensor, target: Tensor, exclude: Tensor | None = None, scores_at_once: int = SCORES
) -> Tensor:
    """Returns each target's place in its query's ranking, int64 [Q], 0 = first.

    R@K needs nothing else: the share of queries with rank < K. Counting better scores is exact and needs no top-k.

    Args:
        query: [Q, d]; gallery: [M, d], both unit length.
        target: int64 [Q], gallery row of each query's target.
        exclude: int64 [Q], gallery row left out of each query's ranking (its reference), -1 for none.
        scores_at_once: bounds the memory: a chunk of queries has at most so many scores (chunk x M), or is one query.

    Raises:
        FloatingPointError: a feature is not finite; NaN compares as "not better" and would rank every target first.
    """
    _check_finite(query, gallery)
    order = torch.arange(gallery.shape[0], device=gallery.device)
    ranks = []
    for rows in _chunks(query, gallery, scores_at_once):
        scores = query[rows] @ gallery.T
        wanted = target[rows].unsqueeze(1)
        own = scores.gather(1, wanted)
        better = (scores > own) | ((scores == own) & (order < wanted))
        if exclude is not None:
            better &= order != exclude[rows].unsqueeze(1)
        ranks.append(better.sum(dim=1))
    return torch.cat(ranks) if ranks else torch.zeros(0, dtype=torch.long)


def subset_ranks(query: Tensor, gallery: Tensor, target: Tensor, subset: Tensor) -> Tensor:
    """Returns each target's place among its query's subset rows only, int64 [Q] (CIRR's R_subset).

    Args:
        query: [Q, d]; gallery: [M, d]; target: int64 [Q].
        subset: int64 [Q, n], gallery rows of the image set, reference left out; -1 pads short sets.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    wanted = target.unsqueeze(1)
    rows = torch.cat([wanted, subset.clamp(min=0)], dim=1)
    scores = (query.unsqueeze(1) * gallery[rows]).sum(dim=2)  # unlike a product, the same sum in every place
    own, scores = scores[:, :1], scores[:, 1:]
    better = (scores > own) | ((scores == own) & (subset < wanted))
    return (better & (subset != wanted) & (subset >= 0)).sum(dim=1)


def top_k(
    query: Tensor, gallery: Tensor, k: int, exclude: Tensor | None = None, scores_at_once: int = SCORES
) -> tuple[Tensor, Tensor]:
    """Returns the k best gallery rows of each query: scores [Q, k] and int64 rows [Q, k], best first.

    `exclude` and `scores_at_once` are as in `target_ranks`; an excluded row scores -inf and comes last.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    k = min(k, gallery.shape[0])
    scores, rows = [], []
    for chunk in _chunks(query, gallery, scores_at_once):
        part = query[chunk] @ gallery.T
        if exclude is not None:
            which = exclude[chunk]
            found = which >= 0
            part[found.nonzero().squeeze(1), which[found]] = float("-inf")
        best, where = _stable_top_k(part, k)
        scores.append(best)
        rows.append(where)
    if not scores:
        return torch.zeros(0, k), torch.zeros(0, k, dtype=torch.long)
    return torch.cat(scores), torch.cat(rows)


def order_subset(query: Tensor, gallery: Tensor, subset: Tensor) -> Tensor:
    """Returns each query's subset rows, best first, int64 [Q, n]; the ranking that `subset_ranks` counts in.

    Args:
        query: [Q, d]; gallery: [M, d].
        subset: int64 [Q, n] as in `subset_ranks`; its -1 come last.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    rows = subset.sort(dim=1).values  # so that a stable sort leaves equal scores in the gallery's order
    scores = (query.unsqueeze(1) * gallery[rows.clamp(min=0)]).sum(dim=2).masked_fill(rows < 0, float("-inf"))
    return rows.gather(1, scores.sort(dim=1, descending=True, stable=True).indices)


def _chunks(query: Tensor, gallery: Tensor, scores_at_once: int) -> Iterator[slice]:
    size = max(1, scores_at_once // max(1, len(gallery)))
    return (slice(start, start + size) for start in range(0, len(query), size))


def _stable_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """torch.topk leaves the order of ties open, so only rows with ties among their best are sorted in full."""
    best, rows = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = (best[:, 1:] == best[:, :-1]).any(dim=1)
    best, rows = best[:, :k].clone(), rows[:, :k].clone()
    if bool(tied.any()):
        exact = scores[tied].sort(dim=1, descending=True, stable=True)
        best[tied], rows[tied] = exact.values[:, :k], exact.indices[:, :k]
    return best, rows


def _check_finite(query: Tensor, gallery: Tensor) -> None:
    for name, features in (("query", query), ("gallery", gallery)):
        if not bool(torch.isfinite(features).all()):
            raise FloatingPointError(f"{name} features hold NaN or infinity: no ranking means anything")
