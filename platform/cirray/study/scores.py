"""Scores of each variant, computed once for the table and the plots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.study.measures import spectrum
from cirray.study.variants import Variant

# Maximum number of features to measure, and of images to compare a query with; more do not change the results.
_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Scores:
    """One variant's queries compared with their galleries. T triplets, M other images, d feature width.

    Attributes:
        positive: cosine of each query with its target [T].
        negative: cosines of each query with other images of its gallery [T, M].
        rank: rank of each target, int64 [T], 0 = first.
        spectrum: see `measures.spectrum`, of the queries, float64 [min(T, d)].
    """

    positive: Tensor
    negative: Tensor
    rank: Tensor
    spectrum: Tensor


def score(variant: Variant, table: TripletTable, exclude_reference: bool) -> Scores:
    """Compares one variant's queries with their galleries."""
    positive, negative = similarities(variant, table)
    rank = ranks(variant, table, exclude_reference)
    return Scores(positive, negative, rank, spectrum(sampled_rows(variant.query)))


def similarities(variant: Variant, table: TripletTable) -> tuple[Tensor, Tensor]:
    """Returns the cosines of queries with their targets [T], and with other images of their galleries [T, M].

    M is limited by the smallest gallery; the other images of larger galleries are sampled evenly.
    """
    positive = (variant.query * variant.gallery[table.target]).sum(dim=1)
    most = min(min(len(gallery) for _, gallery in table.categories.values()) - 1, _ROWS)
    negative = torch.empty(len(table), most)
    for members, gallery in table.categories.values():
        scores = variant.query[members] @ variant.gallery[gallery].T
        scores[gallery.unsqueeze(0) == table.target[members].unsqueeze(1)] = float("nan")
        others = scores[~scores.isnan()].view(len(members), -1)
        negative[members] = others[:, torch.linspace(0, others.shape[1] - 1, most).long()]
    return positive, negative


def ranks(variant: Variant, table: TripletTable, exclude_reference: bool) -> Tensor:
    """Returns the rank of each query's target in its gallery, int64 [T], 0 = first."""
    retriever = CosineRetriever(table, variant.gallery, variant.query)
    target_rank = torch.empty(len(table), dtype=torch.long)
    for category, (members, _) in table.categories.items():
        target_rank[members] = torch.from_numpy(retriever.rank(category, exclude_reference).best.target)
    return target_rank


def sampled_rows(features: Tensor) -> Tensor:
    """Returns at most _ROWS rows of features [N, d], sampled evenly."""
    return features[torch.linspace(0, len(features) - 1, min(_ROWS, len(features))).long()]
