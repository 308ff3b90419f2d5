"""R@K and R_subset@K by a dataset's protocol (reference facts: clip4cir, "Metrics")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean, harmonic_mean

import torch
from torch import Tensor

from cirray.data.records import Protocol
from cirray.data.table import TripletTable
from cirray.evaluation.ranking import gallery_positions, subset_ranks, target_ranks

AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Recall:
    """Recalls of one category, in percent.

    Attributes:
        queries, gallery: how many queries were ranked among how many images.
        recall: K -> R@K.
        subset: K -> R_subset@K; empty where there are no subsets.
    """

    category: str
    queries: int
    gallery: int
    recall: dict[int, float]
    subset: dict[int, float]


def evaluate(table: TripletTable, protocol: Protocol, images: Tensor, queries: Tensor) -> list[Recall]:
    """Ranks every query within its category's gallery; the average over categories comes last where there are several.

    Args:
        images: unit image features [I, d], rows as in `table`.
        queries: unit query features [T, d].

    Raises:
        ValueError: the split keeps its targets secret, or has no queries.
        FloatingPointError: a feature is not finite.
    """
    if bool((table.target < 0).any()):
        raise ValueError("this split keeps its targets secret: it can be ranked, not scored")
    if not len(table):
        raise ValueError("this split has no queries: there is nothing to score")
    results = [
        _category(name, members, gallery, table, protocol, images, queries)
        for name, (members, gallery) in table.categories.items()
    ]
    return [*results, average(results)] if len(results) > 1 else results


def average(results: Sequence[Recall]) -> Recall:
    """Returns the mean over categories, each counting the same, as the FashionIQ literature reports it."""
    return Recall(
        category=AVERAGE,
        queries=sum(result.queries for result in results),
        gallery=sum(result.gallery for result in results),
        recall={k: fmean(result.recall[k] for result in results) for k in results[0].recall},
        subset={k: fmean(result.subset[k] for result in results) for k in results[0].subset},
    )


def selection_value(results: Sequence[Recall], protocol: Protocol) -> float:
    """Returns the number that picks the best epoch (reference facts, "Choosing the best epoch")."""
    overall = results[-1]
    recalls = [*overall.recall.values(), *overall.subset.values()]
    match protocol.selection:
        case "mean-r10-r50":
            return fmean([overall.recall[10], overall.recall[50]])
        case "headline":
            return fmean([overall.recall[5], overall.subset[1]])
        case "harmonic":
            return harmonic_mean(recalls)
        case "geometric":
            return geometric_mean(recalls) if min(recalls) > 0 else 0.0
        case "arithmetic" | "mean-all":
            return fmean(recalls)


def _category(
    name: str,
    members: Tensor,
    gallery: Tensor,
    table: TripletTable,
    protocol: Protocol,
    images: Tensor,
    queries: Tensor,
) -> Recall:
    place = gallery_positions(gallery, len(images))
    target = place[table.target[members]].to(images.device)
    exclude = place[table.reference[members]].to(images.device) if protocol.exclude_reference else None
    query, ranked = queries[members.to(queries.device)], images[gallery.to(images.device)]
    ranks = target_ranks(query, ranked, target, exclude)
    subset: dict[int, float] = {}
    if protocol.subset_ks:
        rows = table.subset[members]
        within = torch.where(rows >= 0, place[rows.clamp(min=0)], rows).to(images.device)
        subset = _shares(subset_ranks(query, ranked, target, within), protocol.subset_ks)
    return Recall(name, len(members), len(gallery), _shares(ranks, protocol.ks), subset)


def _shares(ranks: Tensor, ks: Sequence[int]) -> dict[int, float]:
    return {k: 100.0 * float((ranks < k).double().mean()) for k in ks}
