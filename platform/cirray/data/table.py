"""A split as tensors of row numbers, the input of training and evaluation.

Row r of the image table is the r-th image of `Dataset.images`, in every module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cirray.data.captions import query_caption, training_captions
from cirray.data.labels import QueryLabels
from cirray.data.records import Dataset, Split


@dataclass(frozen=True, slots=True)
class TripletTable:
    """One split. T triplets, V distinct caption strings.

    Attributes:
        reference, target: int64 [T], rows of the image table; -1 for an unpublished target.
        captions: the distinct caption strings, V of them.
        variants: for each triplet the rows of `captions` that training samples from.
        query: int64 [T], the row of `captions` used in validation.
        categories: category -> (int64 [Tc] rows of its triplets, int64 [Nc] image rows of its gallery); categories
            without triplets are left out.
        subset: int64 [T, 5], image rows of CIRR's image sets, padded with -1; [T, 0] without image sets.
        gallery: int64 [N], the images of the split's galleries, except those that only other splits' triplets use.
        positives: int64 [T, P], image rows of all right answers, padded with -1; None if only targets are known.
        hard_negatives: int64 [T, H], image rows, padded with -1; None if none are known.
        labels: the paraphrases and aspects of the T queries.
    """

    reference: Tensor
    target: Tensor
    captions: tuple[str, ...]
    variants: tuple[tuple[int, ...], ...]
    query: Tensor
    categories: Mapping[str, tuple[Tensor, Tensor]]
    subset: Tensor
    gallery: Tensor
    positives: Tensor | None = None
    hard_negatives: Tensor | None = None
    labels: QueryLabels = field(default_factory=QueryLabels)

    def __len__(self) -> int:
        return len(self.reference)


def build_table(dataset: Dataset, split: str) -> TripletTable:
    """Converts a split of `dataset` to row numbers; images are numbered in the order of `dataset.images`."""
    rows = {image: row for row, image in enumerate(dataset.images)}
    part = dataset.splits[split]
    captions: dict[str, int] = {}
    variants = tuple(
        tuple(captions.setdefault(text, len(captions)) for text in training_captions(triplet.captions))
        for triplet in part.triplets
    )
    queries = [captions[query_caption(triplet.captions)] for triplet in part.triplets]
    return TripletTable(
        reference=torch.tensor([rows[triplet.reference] for triplet in part.triplets], dtype=torch.long),
        target=torch.tensor(
            [-1 if triplet.target is None else rows[triplet.target] for triplet in part.triplets],
            dtype=torch.long,
        ),
        captions=tuple(captions),
        variants=variants,
        query=torch.tensor(queries, dtype=torch.long),
        categories=_categories(part, rows),
        subset=_padded([triplet.subset for triplet in part.triplets], rows),
        gallery=torch.tensor([rows[image] for image in _split_gallery(dataset, split)], dtype=torch.long),
        positives=_positives(part, rows),
        hard_negatives=_hard_negatives(part, rows),
        labels=QueryLabels.of(part.triplets),
    )


def _split_gallery(dataset: Dataset, split: str) -> list[str]:
    """Returns the distinct images of a split's galleries, except those that only other splits' triplets use."""
    used = {name: _used_images(part) for name, part in dataset.splits.items()}
    others = set().union(*(images for name, images in used.items() if name != split)) - used[split]
    members = [image for gallery in dataset.splits[split].galleries.values() for image in gallery]
    return [image for image in dict.fromkeys(members) if image not in others]


def _used_images(split: Split) -> set[str]:
    return {image for triplet in split.triplets for image in (triplet.reference, triplet.target) if image is not None}


def _categories(split: Split, rows: Mapping[str, int]) -> dict[str, tuple[Tensor, Tensor]]:
    tables = {}
    for category, gallery in split.galleries.items():
        members = [row for row, triplet in enumerate(split.triplets) if triplet.category == category]
        images = [rows[image] for image in gallery]
        if members:
            tables[category] = (torch.tensor(members, dtype=torch.long), torch.tensor(images, dtype=torch.long))
    return tables


def _positives(split: Split, rows: Mapping[str, int]) -> Tensor | None:
    if not any(triplet.positives for triplet in split.triplets):
        return None
    return _padded([triplet.answers for triplet in split.triplets], rows)


def _hard_negatives(split: Split, rows: Mapping[str, int]) -> Tensor | None:
    negatives = [triplet.hard_negatives for triplet in split.triplets]
    return _padded(negatives, rows) if any(negatives) else None


def _padded(ids: Sequence[Sequence[str]], rows: Mapping[str, int]) -> Tensor:
    """Returns the rows of lists of images, int64 [lists, longest list], padded with -1."""
    width = max(map(len, ids), default=0)
    padded = [[rows[image] for image in images] + [-1] * (width - len(images)) for images in ids]
    return torch.tensor(padded, dtype=torch.long).reshape(len(ids), width)
