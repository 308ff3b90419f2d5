"""Ranks a gallery for queries, in chunks on the device and without a full sort.

Shapes: Q queries, M gallery rows, d feature width. Ties are always broken by gallery order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Scores per chunk: 128 MiB of float32, about 0.7 GiB with the tensors derived from them.
MAX_SCORES = 2**25


def gallery_positions(gallery: Tensor, images: int) -> Tensor:
    """Returns the position of each image row in a gallery, int64 [images]; -1 for images that are not in it.

    Args:
        gallery: int64 [M], image rows.
        images: number of rows of the image table.
    """
    positions = torch.full((images,), -1, dtype=torch.long, device=gallery.device)
    positions[gallery] = torch.arange(len(gallery), device=gallery.device)
    return positions


def target_ranks(
    query: Tensor, gallery: Tensor, target: Tensor, exclude: Tensor | None = None, max_scores: int = MAX_SCORES
) -> Tensor:
    """Returns the rank of each target in its query's ranking, int64 [Q], 0 = first.

    The rank is the number of better scores, which is exact and needs no top-k. R@K is the fraction of ranks < K.

    Args:
        query: [Q, d]; gallery: [M, d], both unit length.
        target: int64 [Q], gallery row of each query's target.
        exclude: int64 [Q], gallery row excluded from each query's ranking (its reference), -1 for none.
        max_scores: maximum number of scores per chunk of queries (chunk x M), which bounds the memory; a chunk has at
            least one query.

    Raises:
        FloatingPointError: a feature is not finite; NaN compares as "not better" and would rank every target first.
    """
    return answer_ranks(query, gallery, target.unsqueeze(1), exclude, max_scores).squeeze(1)


def answer_ranks(
    query: Tensor, gallery: Tensor, answers: Tensor, exclude: Tensor | None = None, max_scores: int = MAX_SCORES
) -> Tensor:
    """Returns the rank of each of a query's answers in its ranking, int64 [Q, n], 0 = first; -1 for padding.

    The scores of a chunk are computed once for all answers. Other arguments and errors are as in `target_ranks`.

    Args:
        answers: int64 [Q, n], gallery rows, such as right answers or hard negatives; -1 pads short lists.
    """
    _check_finite(query, gallery)
    order = torch.arange(gallery.shape[0], device=gallery.device)
    ranks = torch.full_like(answers, -1, device=gallery.device)
    for rows in _chunks(query, gallery, max_scores):
        scores = query[rows] @ gallery.T
        excluded = None if exclude is None else exclude[rows].unsqueeze(1)
        for answer, rank in zip(answers[rows].unbind(1), ranks[rows].unbind(1), strict=True):
            known = (answer >= 0).nonzero().squeeze(1)
            if len(known) == len(answer):
                rank.copy_(_count_better(scores, answer.unsqueeze(1), order, excluded))
            elif len(known):
                hidden = None if excluded is None else excluded[known]
                rank[known] = _count_better(scores[known], answer[known].unsqueeze(1), order, hidden)
    return ranks


def _count_better(scores: Tensor, row: Tensor, order: Tensor, excluded: Tensor | None) -> Tensor:
    """Returns how many gallery rows precede `row`, int64 [Q].

    Args:
        scores: [Q, M].
        row: int64 [Q, 1].
        order: int64 [M], 0, 1, ...
        excluded: int64 [Q, 1], the row that does not count; -1 for none.
    """
    score = scores.gather(1, row)
    better = (scores > score) | ((scores == score) & (order < row))
    if excluded is not None:
        better &= order != excluded
    return better.sum(dim=1)


def subset_ranks(query: Tensor, gallery: Tensor, target: Tensor, subset: Tensor) -> Tensor:
    """Returns the rank of each target among its query's subset only, int64 [Q], 0 = first (CIRR's R_subset).

    Args:
        query: [Q, d]; gallery: [M, d], both unit length.
        target: int64 [Q], gallery row of each query's target.
        subset: int64 [Q, n], gallery rows of the query's image set without the reference; -1 pads short sets.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    target_row = target.unsqueeze(1)
    rows = torch.cat([target_row, subset.clamp(min=0)], dim=1)
    # An elementwise sum, because a matrix product may round the same row differently in different columns.
    scores = (query.unsqueeze(1) * gallery[rows]).sum(dim=2)
    target_score, scores = scores[:, :1], scores[:, 1:]
    better = (scores > target_score) | ((scores == target_score) & (subset < target_row))
    return (better & (subset != target_row) & (subset >= 0)).sum(dim=1)


def top_k(
    query: Tensor, gallery: Tensor, k: int, exclude: Tensor | None = None, max_scores: int = MAX_SCORES
) -> tuple[Tensor, Tensor]:
    """Returns the k best gallery rows of each query, best first: scores [Q, k] and rows, int64 [Q, k].

    k is at most M. `exclude` and `max_scores` are as in `target_ranks`; an excluded row scores -inf.

    Args:
        query: [Q, d]; gallery: [M, d], both unit length.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    k = min(k, gallery.shape[0])
    scores, rows = [], []
    for chunk in _chunks(query, gallery, max_scores):
        part = query[chunk] @ gallery.T
        if exclude is not None:
            excluded = exclude[chunk]
            has_excluded = excluded >= 0
            part[has_excluded.nonzero().squeeze(1), excluded[has_excluded]] = float("-inf")
        best_scores, best_rows = _stable_top_k(part, k)
        scores.append(best_scores)
        rows.append(best_rows)
    if not scores:
        return torch.zeros(0, k), torch.zeros(0, k, dtype=torch.long)
    return torch.cat(scores), torch.cat(rows)


def order_subset(query: Tensor, gallery: Tensor, subset: Tensor) -> Tensor:
    """Returns each query's subset rows, best first, int64 [Q, n]: the ranking behind `subset_ranks`.

    Args:
        query: [Q, d]; gallery: [M, d], both unit length.
        subset: int64 [Q, n] as in `subset_ranks`; the padding, -1, is moved to the end.

    Raises:
        FloatingPointError: a feature is not finite.
    """
    _check_finite(query, gallery)
    rows = subset.sort(dim=1).values  # so that the stable sort below breaks ties by gallery order
    scores = (query.unsqueeze(1) * gallery[rows.clamp(min=0)]).sum(dim=2).masked_fill(rows < 0, float("-inf"))
    return rows.gather(1, scores.sort(dim=1, descending=True, stable=True).indices)


def _chunks(query: Tensor, gallery: Tensor, max_scores: int) -> Iterator[slice]:
    size = max(1, max_scores // max(1, len(gallery)))
    return (slice(start, start + size) for start in range(0, len(query), size))


def _stable_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns the k best scores and columns of each row. torch.topk does not order ties, so rows with ties among their
    best scores are sorted completely."""
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
            raise FloatingPointError(f"{name} features contain NaN or infinity: they cannot be ranked")
