"""A retriever that ranks by cosine similarity of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cirray.data.table import TripletTable
from cirray.evaluation.ranking import answer_ranks, gallery_positions, subset_ranks, top_k
from cirray.evaluation.ranks import Ranks
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
        query, ranked, position, exclude = self._searched(category, exclude_reference)
        target, subset, positives, negatives = (
            _positions(position, rows[members]).to(ranked.device)
            for rows in (self.table.target.unsqueeze(1), *self._known())
        )
        if exclude is not None:  # an excluded reference cannot be retrieved
            negatives = torch.where(negatives == exclude.unsqueeze(1), -1, negatives)
        found = answer_ranks(query, ranked, torch.cat([target, positives, negatives], dim=1), exclude).cpu().numpy()
        first_negative = 1 + positives.shape[1]
        ranks = Ranks(
            target=found[:, 0],
            subset=subset_ranks(query, ranked, target[:, 0], subset).cpu().numpy() if subset.shape[1] else None,
            positives=None if self.table.positives is None else found[:, 1:first_negative],
            hard_negatives=None if self.table.hard_negatives is None else found[:, first_negative:],
            labels=self.table.labels.rows(members.cpu().numpy()),
        )
        return Ranking(len(gallery), best=ranks, worst=ranks)

    def best(self, category: str, k: int, exclude_reference: bool) -> tuple[Tensor, Tensor]:
        """Returns the k best images of a category's Q queries, best first: scores [Q, k] and image rows, int64 [Q, k].

        k is at most the number of images in the gallery. An excluded reference scores -inf, and is last.
        """
        query, ranked, _, exclude = self._searched(category, exclude_reference)
        scores, rows = top_k(query, ranked, k, exclude)
        return scores, self.table.categories[category][1].to(rows.device)[rows]

    def _searched(self, category: str, exclude_reference: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Returns a category's query features [Q, d], gallery features [M, d], the gallery position of each image row,
        and the position excluded from each query's ranking, if references are."""
        members, gallery = self.table.categories[category]
        device, position = self.images.device, gallery_positions(gallery, len(self.images))
        exclude = position[self.table.reference[members]].to(device) if exclude_reference else None
        return self.queries[members.to(self.queries.device)], self.images[gallery.to(device)], position, exclude

    def _known(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the image rows of image sets, right answers and hard negatives; [T, 0] if there are none."""
        none = torch.zeros(len(self.table), 0, dtype=torch.long)
        positives, negatives = self.table.positives, self.table.hard_negatives
        return self.table.subset, none if positives is None else positives, none if negatives is None else negatives


def _positions(position: Tensor, rows: Tensor) -> Tensor:
    """Returns the gallery positions of image rows; the padding, -1, stays."""
    return torch.where(rows >= 0, position[rows.clamp(min=0)], rows)
