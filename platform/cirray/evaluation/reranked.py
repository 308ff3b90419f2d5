"""A retriever whose first results are scored again by a reranker.

Shapes: Q queries of a category, T of all, K reranked results of each, d feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cirray.evaluation.cosine import CosineRetriever
from cirray.evaluation.retriever import Ranking, Retriever
from cirray.models.reranking import Reranker

_BATCH = 256


@dataclass(frozen=True, slots=True)
class RerankedTop:
    """A second stage.

    Attributes:
        reranker: the reranker.
        top: K, the number of first results that it scores again.
    """

    reranker: Reranker
    top: int

    @torch.inference_mode()
    def order(self, image: Tensor, text: Tensor, query: Tensor, candidates: Tensor, scores: Tensor) -> Tensor:
        """Returns the new order of each query's candidates, int64 [Q, K]: their positions, best first.

        Equal scores stay in the first stage's order.

        Args:
            image, text, query: as in `Reranker.score`, [Q, d].
            candidates: raw image features [Q, K, d], in the first stage's order.
            scores: their scores in the first stage [Q, K]. Those that are -inf, excluded images, stay last.

        Raises:
            FloatingPointError: a score is not finite.
        """
        found = self.reranker.score(image, text, query, candidates)
        if not bool(torch.isfinite(found).all()):
            raise FloatingPointError("the reranker's scores contain NaN or infinity: train it again")
        found = found.masked_fill(torch.isneginf(scores), float("-inf"))
        return found.sort(dim=1, descending=True, stable=True).indices


class RerankedRetriever(Retriever):
    """Reranks the first K results of each query; the ranks after them are those of the first stage.

    Args:
        first: the first stage.
        images: raw image features [I, d], rows as in the first stage's table.
        inputs: raw features of the reference images and of the captions of its T queries, each [T, d].
        second: the second stage.
    """

    def __init__(
        self, first: CosineRetriever, images: Tensor, inputs: tuple[Tensor, Tensor], second: RerankedTop
    ) -> None:
        self.first = first
        self.table = first.table
        self.images = images
        self.inputs = inputs
        self.second = second

    def categories(self) -> Sequence[str]:
        return self.first.categories()

    def rank(self, category: str, exclude_reference: bool) -> Ranking:
        """See `Retriever`. Raises as `CosineRetriever.rank` and `RerankedTop.order`."""
        ranking = self.first.rank(category, exclude_reference)
        places, ranks = self._places(category, exclude_reference), ranking.best
        target = moved(ranks.target[:, None], places)
        subset = None if ranks.subset is None else self._subset_ranks(category, exclude_reference, target, places)
        reranked = replace(
            ranks,
            target=target[:, 0],
            subset=subset,
            positives=None if ranks.positives is None else moved(ranks.positives, places),
            hard_negatives=None if ranks.hard_negatives is None else moved(ranks.hard_negatives, places),
        )
        return Ranking(ranking.gallery, best=reranked, worst=reranked)

    def best(self, category: str, k: int, exclude_reference: bool) -> tuple[Tensor, Tensor]:
        """Returns the k best images of each query, as `CosineRetriever.best`, with the scores of the first stage."""
        scores, rows = self.first.best(category, max(k, self.second.top), exclude_reference)
        places = torch.from_numpy(self._places(category, exclude_reference)).to(rows.device)
        order, top = places.argsort(dim=1), places.shape[1]
        scores, rows = (
            torch.cat([found[:, :top].gather(1, order), found[:, top:]], dim=1)[:, :k] for found in (scores, rows)
        )
        return scores, rows

    def _places(self, category: str, exclude_reference: bool) -> NDArray[np.int64]:
        """Returns the new rank of the result at each of the first K ranks, int64 [Q, K]."""
        scores, rows = self.first.best(category, self.second.top, exclude_reference)
        members = self.first.table.categories[category][0].to(self.images.device)
        image, text = self.inputs
        parts = [torch.zeros(0, rows.shape[1], dtype=torch.long)]
        for part in torch.arange(len(members), device=members.device).split(_BATCH):
            queries = members[part]
            order = self.second.order(
                image[queries], text[queries], self.first.queries[queries], self.images[rows[part]], scores[part]
            )
            parts.append(order.argsort(dim=1).cpu())
        places: NDArray[np.int64] = torch.cat(parts).numpy()
        return places

    def _subset_ranks(
        self, category: str, exclude_reference: bool, target: NDArray[np.int64], places: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Returns the rank of each target in its query's image set, int64 [Q].

        Args:
            target: int64 [Q, 1], the reranked ranks of the targets.
            places: as `_places` returns.
        """
        images = self.first.table.subset[self.first.table.categories[category][0]]
        members = moved(self.first.ranks_of(category, images, exclude_reference).cpu().numpy(), places)
        better: NDArray[np.int64] = ((members >= 0) & (members < target)).sum(axis=1)
        return better


def moved(ranks: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns ranks after reranking, int64 [Q, n]; ranks from K on, and the padding, -1, stay.

    Args:
        ranks: int64 [Q, n], ranks in the first stage, from 0.
        places: int64 [Q, K], the new rank of the result at each of the first K ranks.
    """
    top = places.shape[1]
    inside = (ranks >= 0) & (ranks < top)
    return np.where(inside, np.take_along_axis(places, ranks.clip(0, top - 1), axis=1), ranks)
