"""What is computed of each variant once: numbers and pictures alike are made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.evaluation.cosine import CosineRetriever
from cirray.study.measures import spectrum
from cirray.study.variants import Variant

# The spread of a space, and the images that a query is compared with; more of them say nothing more.
_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Scores:
    """One variant's queries against their galleries. T triplets, d feature width.

    Attributes:
        positive: cosine of each query and its target [T].
        negative: cosine of each query and other images of its gallery [T, M].
        place: of each target in its query's ranking, int64 [T], 0 = first.
        spectrum: share of each direction in the spread of the queries, largest first [min(T, d)].
    """

    positive: Tensor
    negative: Tensor
    place: Tensor
    spectrum: Tensor


def score(variant: Variant, table: TripletTable, exclude_reference: bool) -> Scores:
    """Compares one variant's queries with their galleries."""
    positive, negative = similarities(variant, table)
    place = ranks(variant, table, exclude_reference)
    return Scores(positive, negative, place, spectrum(some_rows(variant.query)))


def similarities(variant: Variant, table: TripletTable) -> tuple[Tensor, Tensor]:
    """Returns the cosine of each query and its target [T], and of queries and other images of their galleries, in one
    row of as many as the smallest gallery has [T, M]; images are drawn evenly from larger galleries."""
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
    """Returns each target's place in its query's ranking, int64 [T], 0 = first."""
    retriever = CosineRetriever(table, variant.gallery, variant.query)
    found = torch.empty(len(table), dtype=torch.long)
    for category, (members, _) in table.categories.items():
        found[members] = torch.from_numpy(retriever.rank(category, exclude_reference).best.target)
    return found


def some_rows(features: Tensor) -> Tensor:
    """Returns as many rows as a spread is measured on, drawn evenly."""
    return features[torch.linspace(0, len(features) - 1, min(_ROWS, len(features))).long()]
