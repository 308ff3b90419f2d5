"""A retriever that ranks by cosine similarity of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.evaluation.metrics import Ranks
from cirray.evaluation.ranking import gallery_positions, subset_ranks, target_ranks
from cirray.evaluation.retriever import Ranking, Retriever


class CosineRetriever(Retriever):
    """Ranks each category's gallery by the cosine similarity of query and image features.

    Args:
        table: the T queries, their targets, and the galleries by category.
        images: unit-length features of I images, [I, d], rows as in `table`.
        queries: unit-length query features [T, d].
    """

    def __init__(self, table: TripletTable, images: Tensor, queries: Tensor) -> None:
        self.table = table
        self.images = images
        self.queries = queries

    def categories(self) -> Sequence[str]:
        return tuple(self.table.categories)

    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """See `Retriever`.

        Raises:
            ValueError: a query of the category has no target.
            FloatingPointError: a feature is not finite.
        """
        members, gallery = self.table.categories[category]
        if bool((self.table.target[members] < 0).any()):
            raise ValueError("this split has no targets: it can be ranked, but not scored")
        device, position = self.images.device, gallery_positions(gallery, len(self.images))
        query, ranked = self.queries[members.to(self.queries.device)], self.images[gallery.to(device)]
        target = position[self.table.target[members]].to(device)
        exclude = position[self.table.reference[members]].to(device) if exclude_reference else None
        rows = self.table.subset[members]
        subset = torch.where(rows >= 0, position[rows.clamp(min=0)], rows).to(device)
        ranks = Ranks(
            target_ranks(query, ranked, target, exclude).cpu().numpy(),
            subset_ranks(query, ranked, target, subset).cpu().numpy() if rows.shape[1] else None,
        )
        return Ranking(len(gallery), best=ranks, worst=ranks)
